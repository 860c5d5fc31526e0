"""What all readers of parallel text share: the task's two languages, and a sentence with its translations as an example."""

from collections.abc import Mapping
from typing import Any

from schemas import StudyError
from tasks.examples.record import Example, ReadSettings, Reject, TaskFile, other_encoding, row_id
from tasks.text.lines import excerpt


def language_pair(file: TaskFile, settings: ReadSettings) -> tuple[str, str]:
    """The two languages of the task, input and output. StudyError if it does not name two."""
    if len(settings["languages"]) != 2:
        needs = f'reader {settings["reader"]!r} needs languages, e.g. ["en", "de"]: input and output'
        raise StudyError(f"task for {file.name}: {needs}")
    source, target = settings["languages"]
    return source, target


def sentence_pair(
    row: int, identifier: str, source: str, targets: list[str], settings: ReadSettings, record: Mapping[str, Any] | None = None
) -> Example | Reject:
    """A sentence and its translations: the first is the output, the others are aliases."""
    languages = settings["languages"]
    source, targets = source.strip(), [t.strip() for t in targets]
    for language, text in zip(languages, (source, targets[0]), strict=True):
        if not text:
            return Reject(row, f"no text in {language}", excerpt(f"{source}\t{targets[0]}"))
    others = tuple(dict.fromkeys(t for t in targets[1:] if t and t != targets[0]))
    return Example(row, identifier, source, targets[0], "-".join(languages), others, record=record or {})


def encoded_pair(file: TaskFile, row: int, source: bytes, target: bytes, settings: ReadSettings) -> Example | Reject:
    encoding = settings["encoding"]
    try:
        return sentence_pair(row, row_id(file.name, row), source.decode(encoding), [target.decode(encoding)], settings)
    except UnicodeError:
        return Reject(row, other_encoding(encoding), excerpt(source + b"\t" + target))
