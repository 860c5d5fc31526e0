"""The commands of `taskgram`."""
