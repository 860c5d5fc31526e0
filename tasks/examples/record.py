"""What a reader takes, a task file, and what it yields: examples, and rejects with their reasons."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from schemas import StudyError
from tasks.text.display import brief
from tasks.text.lines import decoded, excerpt, has_surrogates, json_records, lines, text_of
from tasks.text.words.analyzer import words_of

ReadSettings = Mapping[str, Any]  # of one job of step `read`
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CALCULATOR = re.compile(r"<<.*?>>")
HALF_A_CHARACTER = "half of a surrogate pair, which is no character"


class TaskFile(NamedTuple):
    """A file of a task. `reference` is the one with the outputs, where a format keeps inputs and outputs in two files."""

    name: str
    path: Path
    reference: Path | None = None


@dataclass(frozen=True)
class Example:
    """One example. `split` is set where the file itself names it; `record` is what a [splits.NAME] takes its key from."""

    row: int
    id: str
    input: str
    output: str
    group: str = ""
    aliases: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    answer: int = -1
    prompt: str = ""
    split: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reject:
    """One malformed record, and why it is no example."""

    row: int
    reason: str
    excerpt: str


Items = Iterator[Example | Reject]
Reader = Callable[[TaskFile, ReadSettings], Items]


class NotAnExample(Exception):
    """Why a record is no example; becomes the reason of a Reject."""


class IndexTooLarge(NotAnExample):
    """An answer is the number of options, as the last one is where they are counted from 1."""


def each_json_line(example: Callable[[TaskFile, ReadSettings, int, dict[str, Any]], Example]) -> Reader:
    """A reader of JSON lines from what makes an example of a record; a Reject where the line or the record is malformed."""
    return lambda file, settings: examples_of(json_lines(file, settings), partial(example, file, settings))


def json_lines(file: TaskFile, settings: ReadSettings) -> Iterator[tuple[int, bytes | None, dict[str, Any] | str]]:
    return ((row, line or None, record) for row, line, record in json_records(file.path, settings["encoding"]))


def examples_of(records: Iterable[tuple[int, bytes | str | None, Any]], example: Callable[[int, Any], Example]) -> Items:
    """example(row, record) of any records: row, excerpt (None: of the record), and the record, or the reason why there is none."""
    for row, line, record in records:
        try:
            if isinstance(record, str):
                raise NotAnExample(record)
            item: Example | Reject = example(row, record)
        except NotAnExample as reason:
            item = Reject(row, str(reason), excerpt(brief(record, 200) if line is None else line))
        yield item


def text(record: dict[str, Any], name: str, *, paragraphs: bool = False) -> str:
    """The text in a field; with `paragraphs` a list of texts is joined by line breaks. NotAnExample if there is none."""
    value, problem = text_of(record, name, paragraphs=paragraphs)
    if problem:
        raise NotAnExample(problem)
    return value


def texts(record: Mapping[str, Any], name: str) -> list[str]:
    """The list of texts in a field, empty if there is no such field. NotAnExample if it holds anything else."""
    value = record.get(name, [])
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise NotAnExample(f"field {name!r} is not a list of texts")
    return value


def row_id(name: str, row: int) -> str:
    """The id of a record without one. The file's name keeps rows of several files apart."""
    return f"{Path(name).name}/{row:07d}"


def other_encoding(encoding: str) -> str:
    return f"bytes that are not {encoding}; set the task's `encoding`"


def csv_rows(path: Path, encoding: str, delimiter: str = ",") -> Iterator[tuple[int, list[str], str]]:
    """(row, cells, "") or (row, cells, reason why it is none) of a CSV file, rows from 1. Cells may contain line breaks, and are
    texts as they are: none becomes a number, a date, or nothing, as "007", "1e5" and "None" do elsewhere."""
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


def plain(value: Any) -> str:
    """A text, number or truth value as the text by which it is compared: 2, 2.0, "2" and " 2.0 " are "2". Else empty."""
    if not isinstance(value, (str, int, float)):
        return ""
    text = str(value).strip()
    whole = re.fullmatch(r"(-?\d+)\.0+", text)
    return text.lower() if isinstance(value, bool) else whole[1] if whole else text


def choice(answer: Any, options: Sequence[str], labels: Sequence[Any] = ()) -> int:
    """The index of the right option. NotAnExample if the answer names none, or several. An answer is one of the labels ("C", 3), an
    index from 0, a letter, or the option's text, in this order and whatever its type; labels and letters in either case. Labels
    come first because ARC numbers some of its choices from 1; where labels are numbers, no other number is an index."""
    text, names, texts = plain(answer), [plain(label) for label in labels], [option.strip() for option in options]
    if labels and len(labels) != len(options):
        raise NotAnExample(f"{len(labels)} labels for {len(options)} options")
    numbered = any(map(str.isdigit, names))
    ways = [
        [i for i, name in enumerate(names) if name == text],
        [i for i, name in enumerate(names) if name.casefold() == text.casefold()],
        [int(text)] if re.fullmatch(r"\d{1,3}", text) and not numbered else [],
        [LETTERS.find(text.upper())] if len(text) == 1 and not labels else [],
        [i for i, option in enumerate(texts) if option == text] if not labels else [],
    ]
    for way in ways:
        if len(way) == 1 and text and 0 <= way[0] < len(options):
            return way[0]
    listed = f", {', '.join(names)}" if names else ""
    several = next((f"{len(way)} of " for way in ways if len(way) > 1), "none of ")
    hint = "; true and false are no index: add a field of `labels`" if isinstance(answer, bool) and not labels else ""
    kind = IndexTooLarge if text == str(len(options)) and not numbered else NotAnExample
    raise kind(f"answer {brief(answer, 40)} names {several}{len(options)} options{listed}{hint}")


def checked(item: Example | Reject, family: str) -> Example | Reject:
    """The example, or a Reject if it cannot be stored, put to a model, or counted. The same for every reader: aliases are texts
    other than the output, and GSM8K's annotations <<2*3=6>> are no part of a solution."""
    if isinstance(item, Reject):  # its reason may quote the file: an id of stray bytes, say
        return replace(item, reason=item.reason.encode("utf-8", "replace").decode("utf-8"), excerpt=excerpt(item.excerpt))
    aliases: Iterable[str] = item.aliases
    if family == "math" and any("<<" in answer for answer in (item.output, *aliases)):  # GSM8K's calculator, in whatever file
        item, aliases = replace(item, output=_CALCULATOR.sub("", item.output)), (_CALCULATOR.sub("", a) for a in aliases)
    item = replace(item, aliases=tuple(dict.fromkeys(a for a in aliases if a.strip() and a != item.output)))
    everything = (item.id, item.group, item.input, item.output, item.prompt, *item.aliases, *item.options)
    if any(map(has_surrogates, everything)):
        return Reject(item.row, HALF_A_CHARACTER, ascii(item.input)[:200])
    output, options = item.output.strip(), [o.strip() for o in item.options]
    equal = f"the right option is equal to another: {item.output!r:.80}; no model can tell them apart"
    no_words = f"an output without words: nothing of {item.output!r:.40} can be found in a corpus"
    problems = [(not output, "an example without output"), (not words_of(output), no_words)]
    if family == "multiple_choice":
        problems += [(item.answer < 0, "no right option: multiple choice needs options and answer")]
        problems += [(options.count(output) > 1, equal)]  # two equal wrong ones do no harm (MMLU has some)
        problems += [("" in options, "an option without text")]
        problems += [(len(options) < 2, "a question with one option: there is nothing to choose")]
    return next((Reject(item.row, problem, item.input[:200]) for wrong, problem in problems if wrong), item)


# -- parallel text: the task's two languages, and a sentence with its translations as an example ---------------------------
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
