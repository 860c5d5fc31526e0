"""Data sets of the `datasets` library: `reader = "hf:NAME"` or "hf:NAME:CONFIG", from the hub or from a folder.

    reader = "hf:allenai/ai2_arc:ARC-Challenge"
    revision = "210d026faf9955653af8916fad021475a3f00453"
    evaluate = ["test"]                                # splits of the data set
    fields = {input = "question", options = "choices.text", labels = "choices.label", answer = "answerKey", id = "id"}

A data set of the hub is named by its commit, because "main" may change under the same key. A folder is one that
`save_to_disk` wrote, or one of parquet, JSON or CSV files; its files' hashes are in the key. No script of a data set is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from schemas import StudyError
from schemas.settings.base import is_hub_name
from tasks.examples.fields import mapped_example
from tasks.examples.record import Example, NotAnExample, ReadSettings, Reject, TaskFile
from tasks.storage.source_files import outside_file
from tasks.storage.store import SourceFile
from tasks.text.lines import excerpt

SETTINGS = ("fields", "revision")


def plan_hub(reader: str, revision: str, data: str, task: str) -> tuple[dict[str, Any], tuple[SourceFile, ...]]:
    """What identifies a data set in the key: its name and commit, or the files of its folder. Uses no network.

    Raises StudyError for a name that is neither a folder nor a data set of the hub with a commit.
    """
    name, _, config = reader.removeprefix("hf:").partition(":")
    folder = (Path(data) / name).absolute()
    if not folder.is_dir():
        if not re.fullmatch(r"[0-9a-f]{40}", revision) or not is_hub_name(name):
            raise StudyError(
                f"task {task!r}: {folder} is no folder, and revision = {revision!r} is no commit of a data set on "
                f"the hub; name in `revision` the 40 hex digits of the commit of {name!r}"
            )
        return {"name": name, "config": config, "revision": revision}, ()
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not _is_cache(p.relative_to(folder)))
    if not files:
        raise StudyError(f"task {task!r}: {folder} has no file; save the data set there with its save_to_disk")
    named = (replace(outside_file(p), name=p.relative_to(folder).as_posix(), path=str(p)) for p in files)
    return {"name": "", "config": config, "revision": ""}, tuple(named)


def _is_cache(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts) or path.name.startswith("cache-")


def folder_of(files: tuple[SourceFile, ...]) -> Path:
    """The folder whose files these are; "." for a data set of the hub."""
    return Path(files[0].path).parents[len(Path(files[0].name).parts) - 1] if files else Path()


def read(file: TaskFile, settings: ReadSettings) -> Iterator[Example | Reject]:
    """Examples of one split of a data set: the file's name is the split's. Row: the record's number, from 1."""
    if not settings["fields"]:
        raise StudyError(f'reader "hf" needs fields = {{input = "…", output = "…"}}; {_columns(file, settings)}')
    for row, record in enumerate(_records(file, settings), 1):
        try:
            item: Example | Reject = mapped_example(record, settings["fields"], row, f"{file.name}/{row:07d}")
        except NotAnExample as reason:
            item = Reject(row, str(reason), excerpt(str(record)))
        yield item


def _columns(file: TaskFile, settings: ReadSettings) -> str:
    first = next(iter(_records(file, settings)), {})
    return f"its columns are {', '.join(first)}"


def _records(file: TaskFile, settings: ReadSettings) -> Iterator[Mapping[str, Any]]:
    """The records of a split, in order. StudyError for a library that is missing, a hub that does not answer, a wrong name."""
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
            splits = datasets.load_dataset(str(file.path), hub["config"] or None, streaming=True)
        if isinstance(splits, datasets.Dataset):
            splits = {str(splits.split or "train"): splits}
        if file.name in splits:
            yield from splits[file.name]
            return
        missing = f"no split {file.name!r}; it has {', '.join(map(str, splits))}"
    except Exception as error:  # whatever the library raises, the remedies are the same
        remedy = (
            "check name, config and revision, and that the hub can be reached; without a network, give a folder that the data "
            "set's save_to_disk wrote"
            if hub["name"]
            else "save the data set again with its save_to_disk, or as parquet"
        )
        raise StudyError(f"data set {what}: {type(error).__name__}: {error}. Remedy: {remedy}") from None
    raise StudyError(f"data set {what}: {missing}")
