"""The one exception a person may see: it says what was wrong, where, and what to do about it."""


class StudyError(Exception):
    """Something a person can mend. The message names the file, the row and the remedy."""
