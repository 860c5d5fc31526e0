"""Ready-made studies; `taskgram run NAME` finds them here."""
