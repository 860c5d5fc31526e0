"""The rows of CSV files as texts: no cell becomes a number, a date, or nothing, as "007", "1e5" and "None" do elsewhere."""

import csv
from collections.abc import Iterator
from pathlib import Path

from tasks.examples.record import other_encoding
from tasks.text.lines import decoded, has_surrogates, lines


def csv_rows(path: Path, encoding: str, delimiter: str = ",") -> Iterator[tuple[int, list[str], str]]:
    """(row, cells, "") or (row, cells, reason why it is none), rows from 1. Cells may contain line breaks."""
    texts = (decoded(line, encoding) + "\n" for _, line in lines(path))
    reader, row = csv.reader(texts, delimiter=delimiter, strict=True), 0
    while True:
        row += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield row, [], f"not CSV: {error}; double the quotation marks inside a cell"
        else:
            yield row, cells, other_encoding(encoding) if any(map(has_surrogates, cells)) else ""
