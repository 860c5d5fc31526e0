"""Parallel text. `languages` of the task names the two: input and output.

JSON lines with one field per language, plain or packed:

    {"page": "raid.html", "line": 3, "en": "Disks fail.", "de": "Platten gehen kaputt."}
    {"en": ["A game", "Of ancient warfare."], "de": ["Ein Spiel", "Antike Kriege."]}

Two aligned files, as Europarl has them (europarl-v7.de-en.en, europarl-v7.de-en.de): line 3 of one translates line 3 of the
other. Tab-separated, as News-Commentary has them: input, tab, output; further columns are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from schemas import StudyError
from tasks.examples.record import Found, Refused, Settings, TaskFile, other_encoding, row_id
from tasks.text.lines import excerpt, json_records, lines, text_of


def language_pair(file: TaskFile, settings: Settings) -> tuple[str, str]:
    """The two languages of the task; StudyError if it does not name two."""
    if len(settings["languages"]) != 2:
        raise StudyError(
            f'task for {file.name}: reader {settings["reader"]!r} needs languages, e.g. ["en", "de"]: input and output'
        )
    source, target = settings["languages"]
    return source, target


def read(file: TaskFile, settings: Settings) -> Iterator[Found | Refused]:
    """Examples of one file of JSON lines: x is the text in the first language, y in the second."""
    source, target = language_pair(file, settings)
    for row, line, record in json_records(file.path, settings["encoding"]):
        if isinstance(record, str):
            yield Refused(row, record, excerpt(line))
            continue
        (x, no_x), (y, no_y) = text_of(record, source, paragraphs=True), text_of(record, target, paragraphs=True)
        if no_x or no_y:
            yield Refused(row, no_x or no_y, excerpt(line))
        else:
            yield Found(row, row_id(file.name, row), x, y, f"{source}-{target}", record=record)


def read_aligned(file: TaskFile, settings: Settings) -> Iterator[Found | Refused]:
    """Examples of two files, line by line. StudyError if one has more lines: some rows would then be beside wrong ones."""
    language_pair(file, settings)
    assert file.reference is not None
    for x, y in zip_longest(lines(file.path), lines(file.reference)):
        if x is None or y is None:
            longer, shorter, row = (file.reference, file.path, y[0]) if x is None else (file.path, file.reference, x[0])
            raise StudyError(
                f"{longer}: row {row} has no counterpart: {shorter} ends at row {row - 1}. Aligned files have as "
                "many lines as each other; get them again, from one archive."
            )
        yield _pair(file, x[0], x[1], y[1], settings)


def read_tsv(file: TaskFile, settings: Settings) -> Iterator[Found | Refused]:
    """Examples of one file: x is the first column, y the second."""
    language_pair(file, settings)
    for row, line in lines(file.path):
        cells = line.split(b"\t")
        if len(cells) < 2:
            yield Refused(
                row, "one column, not two: input, tab, output" if line.strip() else "the line is empty", excerpt(line)
            )
        else:
            yield _pair(file, row, cells[0], cells[1], settings)


def _pair(file: TaskFile, row: int, x: bytes, y: bytes, settings: Settings) -> Found | Refused:
    try:
        source, target = x.decode(settings["encoding"]), y.decode(settings["encoding"])
    except UnicodeError:
        return Refused(row, other_encoding(settings["encoding"]), excerpt(x + b"\t" + y))
    return pair(row, row_id(file.name, row), source, [target], settings)


def pair(
    row: int, identifier: str, source: str, targets: list[str], settings: Settings, record: Mapping[str, Any] | None = None
) -> Found | Refused:
    """A sentence and its translations: the first is the output, the others are aliases."""
    languages = settings["languages"]
    source, targets = source.strip(), [t.strip() for t in targets]
    for language, text in zip(languages, (source, targets[0]), strict=True):
        if not text:
            return Refused(row, f"no text in {language}", excerpt(f"{source}\t{targets[0]}"))
    others = tuple(dict.fromkeys(t for t in targets[1:] if t and t != targets[0]))
    return Found(row, identifier, source, targets[0], "-".join(languages), others, record=record or {})
