"""Tab-separated sentence pairs, as News-Commentary has them: input, tab, output; further columns are ignored.

Wiederaufnahme der Sitzungsperiode<TAB>Resumption of the session
"""

from tasks.examples.record import Items, ReadSettings, Reject, TaskFile, encoded_pair, language_pair
from tasks.text.lines import excerpt, lines


def read(file: TaskFile, settings: ReadSettings) -> Items:
    """Examples of one file: x is the first column, y the second."""
    language_pair(file, settings)
    for row, line in lines(file.path):
        cells = line.split(b"\t")
        if len(cells) >= 2:
            yield encoded_pair(file, row, cells[0], cells[1], settings)
        else:
            reason = "one column, not two: input, tab, output" if line.strip() else "the line is empty"
            yield Reject(row, reason, excerpt(line))
