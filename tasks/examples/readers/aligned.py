"""Two aligned files, as Europarl has them: line 3 of one translates line 3 of the other.

europarl-v7.de-en.de    Wiederaufnahme der Sitzungsperiode
europarl-v7.de-en.en    Resumption of the session
"""

from itertools import zip_longest

from schemas import StudyError
from tasks.examples.record import Items, ReadSettings, TaskFile, encoded_pair, language_pair
from tasks.text.lines import lines

TWO_FILES = True


def read(file: TaskFile, settings: ReadSettings) -> Items:
    """Examples of two files, line by line. StudyError if one has more lines: some rows would be paired with wrong ones."""
    language_pair(file, settings)
    assert file.reference is not None
    for x, y in zip_longest(lines(file.path), lines(file.reference)):
        if x is None or y is None:
            longer, shorter, row = (file.reference, file.path, y[0]) if x is None else (file.path, file.reference, x[0])
            remedy = "Aligned files have as many lines as each other; get them again, from one archive."
            raise StudyError(f"{longer}: row {row} has no counterpart: {shorter} ends at row {row - 1}. {remedy}")
        yield encoded_pair(file, x[0], x[1], y[1], settings)
