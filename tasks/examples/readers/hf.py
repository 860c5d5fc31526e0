"""Data sets of the `datasets` library: `reader = "hf:NAME"` or "hf:NAME:CONFIG", from the hub or from a folder.

    reader = "hf:allenai/ai2_arc:ARC-Challenge"
    revision = "210d026faf9955653af8916fad021475a3f00453"
    evaluate = ["test"]                                # splits of the data set
    fields = {input = "question", options = "choices.text", labels = "choices.label", answer = "answerKey", id = "id"}

GSM8K, TriviaQA, ARC, MMLU, NQ-open and HellaSwag need no `fields`, nor does a data set in taskgram's own format. The first five
give the examples that their own readers make of the official files.

A data set of the hub is named by its commit, because "main" may change under the same key. A folder is one that
`save_to_disk` wrote, or one of parquet, JSON or CSV files; its files' hashes are in the key. No script of a data set is run.
"""

import glob
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from schemas import StudyError
from schemas.settings.base import is_hub_name
from tasks.examples.fields import layout_of, mapped_examples
from tasks.examples.record import Items, ReadSettings, TaskFile, csv_rows
from tasks.storage.source_files import outside_file
from tasks.storage.store import SourceFile
from tasks.text.lines import json_records, open_bytes

SETTINGS = ("fields", "revision")


def plan_hub(reader: str, revision: str, data: str, task: str) -> tuple[dict[str, Any], tuple[SourceFile, ...]]:
    """What identifies a data set in the key: its name and commit, or the files of its folder. Uses no network. Raises StudyError
    for a name that is neither a folder nor a data set of the hub with a commit."""
    name, _, config = reader.removeprefix("hf:").partition(":")
    folder = (Path(data) / name).absolute()
    if not folder.is_dir():
        if not re.fullmatch(r"[0-9a-f]{40}", revision) or not is_hub_name(name):
            problem = f"{folder} is no folder, and revision = {revision!r} is no commit of a data set on the hub"
            remedy = f"name in `revision` the 40 hex digits of the commit of {name!r}"
            raise StudyError(f"task {task!r}: {problem}; {remedy}")
        return {"name": name, "config": config, "revision": revision}, ()
    hidden = re.compile(r"(?:.*/)?(?:\..*|cache-[^/]*)")  # of git, say, and what the library itself keeps there
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not hidden.fullmatch(p.relative_to(folder).as_posix()))
    if not files:
        raise StudyError(f"task {task!r}: {folder} has no file; save the data set there with its save_to_disk")
    named = (replace(outside_file(p), name=p.relative_to(folder).as_posix(), path=str(p)) for p in files)
    return {"name": "", "config": config, "revision": ""}, tuple(named)


def folder_of(files: tuple[SourceFile, ...]) -> Path:
    """The folder whose files these are; "." for a data set of the hub."""
    return Path(files[0].path).parents[len(Path(files[0].name).parts) - 1] if files else Path()


def read(file: TaskFile, settings: ReadSettings) -> Items:
    """Examples of one split of a data set: the file's name is the split's. Row: the record's number, from 1."""
    records = ((row, None, record) for row, record in enumerate(_records(file, settings), 1))
    first = next(records, None)
    if first is None:
        return
    fields = settings["fields"] or (layout_of(first[2]) if isinstance(first[2], Mapping) else None)
    if not fields:
        columns = ", ".join(first[2]) if isinstance(first[2], Mapping) else first[2]
        raise StudyError(f'reader "hf" needs fields = {{input = "…", output = "…"}}; its columns are {columns}')
    yield from mapped_examples(chain([first], records), fields, file.name, settings["hub"]["name"] or str(file.path))


def _records(file: TaskFile, settings: ReadSettings) -> Iterator[dict[str, Any] | str]:
    """The records of a split, in order, or why one is none. StudyError for what is missing, with a remedy."""
    try:
        import datasets
    except ImportError:
        raise StudyError("reader \"hf\" needs the library `datasets`: pip install 'taskgram[hf]'") from None
    hub = settings["hub"]
    what = hub["name"] or str(file.path)
    try:
        splits: Any
        if hub["name"]:
            splits = datasets.load_dataset(hub["name"], hub["config"] or None, revision=hub["revision"])
        elif (file.path / "dataset_dict.json").is_file() or (file.path / "state.json").is_file():
            splits = datasets.load_from_disk(str(file.path))
        else:  # read in place: a copy in the library's cache could be of files that have changed since
            builder = datasets.load_dataset_builder(str(file.path), hub["config"] or None)
            reader = _text_reader(builder, settings["encoding"])
            if reader and file.name in builder.config.data_files:
                yield from (record for path in builder.config.data_files[file.name] for record in reader(Path(path)))
                return
            splits = builder.config.data_files if reader else builder.as_streaming_dataset()
        if isinstance(splits, datasets.Dataset):
            splits = {str(splits.split or "train"): splits}
        if file.name in splits:
            yield from splits[file.name]
            return
        missing = f"no split {file.name!r}; it has {', '.join(map(str, splits))}"
    except StudyError:
        raise
    except Exception as error:  # whatever the library raises, the remedies are the same
        remedy = "save the data set again with its save_to_disk, or as parquet"
        if hub["name"]:
            remedy = "check name, config and revision, and that the hub can be reached; without a network, give a folder that "
            remedy += "the data set's save_to_disk wrote"
        elif glob.escape(str(file.path)) != str(file.path):
            remedy = "rename the folder: the library takes [, * and ? in a name for a pattern"
        raise StudyError(f"data set {what}: {type(error).__name__}: {error}. Remedy: {remedy}") from None
    raise StudyError(f"data set {what}: {missing}")


def _text_reader(builder: Any, encoding: str) -> Callable[[Path], Iterator[dict[str, Any] | str]] | None:
    """How JSON and CSV files are read as they are: the library turns texts such as "007", "None" and "2020-01-01" into others. None
    for files with types of their own, and for those whose layout the data set's card describes."""
    config = builder.config
    if builder.name == "json" and config.field is None:
        return lambda path: _json(path, encoding)
    if builder.name == "csv" and config.names is None and config.column_names is None and config.header == "infer":
        return lambda path: _csv(path, encoding, config.delimiter or config.sep or ",")
    return None


def _json(path: Path, encoding: str) -> Iterator[dict[str, Any] | str]:
    with open_bytes(path) as source:
        if source.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] != b"[":
            yield from (record for _, _, record in json_records(path, encoding))
            return
    with open_bytes(path) as source:
        for record in json.loads(source.read().decode(encoding).removeprefix("\ufeff")):
            yield record if isinstance(record, dict) else "not an object with named fields"


def _csv(path: Path, encoding: str, delimiter: str) -> Iterator[dict[str, Any] | str]:
    names: list[str] = []
    for row, cells, problem in csv_rows(path, encoding, delimiter):
        if row == 1:
            names = cells
        elif cells or problem:  # else an empty line
            wrong = problem or (f"{len(cells)} cells, not {len(names)}" if len(cells) != len(names) else "")
            yield wrong or dict(zip(names, cells, strict=True))
