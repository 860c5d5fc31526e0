"""The one exception that a user may see: it says what was wrong, where, and what to do about it."""


class StudyError(Exception):
    """Something a user can fix. The message names the file, the row and the remedy."""
