"""The trace page: every evaluated example with its evidence."""
