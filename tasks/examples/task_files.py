"""Which files a task is read from, and what each is for; all that can be known before one is opened."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schemas import Study, StudyError
from schemas.settings.reader_versions import reader_kind
from schemas.settings.study_file import Task
from tasks.examples.prompts import prompt_template
from tasks.examples.readers.by_name import TWO_FILES
from tasks.examples.readers.hub import folder_of, plan_hub
from tasks.examples.readers.mmlu_subjects import subject_of, wanted
from tasks.examples.readers.pararel import cloze, relation_of
from tasks.examples.record import TaskFile
from tasks.step import Inputs, Job, Work
from tasks.storage.source_files import outside_file, resolve_files
from tasks.storage.store import SourceFile

USES = {"evaluate": ("evaluate",), "mine": ("mine",), "shots_from": ("shots",)}
Names = list[list[str]]  # one entry per source: its file, or its two files


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per task."""
    return [_plan_task(study, task, inputs) for task in study.tasks]


def _plan_task(study: Study, task: Task, inputs: Inputs) -> Job:
    split = study.splits[task.split].model_dump() if task.split else None
    within = task.shots_within_group
    settings: dict[str, Any] = {
        "reader": task.reader,
        "family": task.family,
        "languages": list(task.languages),
        "encoding": task.encoding,
        "prompt": prompt_template(task),
        "limit": task.limit,
        "mine_limit": task.mine_limit,
        "seed": study.seed,
        "split": split,
        "version": task.full_version,
        "fields": task.fields,
        "translator": task.translator,
        "templates": {},
        "instruction": task.instruction,
        "shots": task.shots,
        "shots_seed": task.shots_seed,
        "shots_within_group": task.reader in ("mmlu", "pararel") if within is None else within,
        "evaluate": [],
        "mine": [],
        "shots_from": [],
        "hub": {},
    }
    if not task.record_prompts:
        settings["record_prompts"] = False  # not there otherwise, so that the keys of most tasks stay as they were
    _check(task)
    if task.reader == "planted":
        parts = tuple(p for p in inputs["planted_files"] if p.labels["kind"] == "tasks")
        if not parts:
            raise StudyError(f'task {task.name!r}: reader "planted" needs [corpus.planted]; name another reader')
        return Job({"task": task.name}, settings, {"planted_files": parts})
    if not task.evaluate:
        raise StudyError(f"task {task.name!r}: `evaluate` names no " + ("split" if _of_hub(task) else "file"))
    if _of_hub(task):
        settings["hub"], files = plan_hub(task.reader, task.revision, study.data, task.name)
        settings |= {use: [[name] for name in getattr(task, use)] for use in USES}
        return Job({"task": task.name}, settings, {}, files)
    found: list[SourceFile] = []
    for use in USES:
        settings[use], more = _files(getattr(task, use), study, task)
        found += more
    if task.reader == "pararel" and not task.prompt:
        names = [name for use in USES for (name,) in settings[use]]
        settings["templates"] = {r: cloze(r, task.templates, task.name) for r in sorted({relation_of(n) for n in names})}
    return Job({"task": task.name}, settings, {}, tuple(found))


def _of_hub(task: Task) -> bool:
    return reader_kind(task.reader) == "hf"


def _check(task: Task) -> None:
    """What a task may not say, whatever its files hold."""
    only = {
        "fields": ("jsonl", "hf"),
        "revision": ("hf",),
        "subjects": ("mmlu",),
        "templates": ("pararel",),
        "translator": ("wmt_xml",),
    }
    for setting, readers in only.items():
        if getattr(task, setting) and reader_kind(task.reader) not in readers:
            raise StudyError(
                f"task {task.name!r}: `{setting}` is for reader {' or '.join(readers)}, and its reader is "
                f"{task.reader!r}; leave it out"
            )
    if task.shots_from and not task.shots:
        raise StudyError(f"task {task.name!r}: `shots_from` without `shots`; say how many, or leave it out")
    if task.shots_from and task.reader == "planted":
        raise StudyError(f"task {task.name!r}: planted tasks have their mined examples for shots; leave out `shots_from`")
    if task.mine and task.split:
        raise StudyError(f"task {task.name!r}: `mine` and `split` both say what is mined; leave one of them out")
    try:
        name = codecs.lookup(task.encoding).name
        bytes(range(256)).decode(name, "surrogateescape")  # one without states: any bytes can be said to fit it or not
        if "\n".encode(name) == b"\n":
            return
    except (LookupError, TypeError, ValueError):
        pass
    raise StudyError(
        f"task {task.name!r}: {task.encoding!r} is no encoding in which a line ends with one byte; "
        "name one such as utf-8, latin-1 or cp1252, or convert the file"
    )


def _files(patterns: tuple[str, ...], study: Study, task: Task) -> tuple[Names, list[SourceFile]]:
    """The names of each source's files, and the files one after the other."""
    if not patterns:
        return [], []
    what = f"task {task.name!r}"
    if task.reader in TWO_FILES:
        if len(patterns) != 2:
            raise StudyError(
                f"{what}: reader {task.reader!r} takes two files: first the inputs, then the outputs; {len(patterns)} named"
            )
        sides = [resolve_files([pattern], study.data, what) for pattern in patterns]
        if len(sides[0]) != len(sides[1]):
            raise StudyError(
                f"{what}: {patterns[0]!r} names {len(sides[0])} files of inputs and {patterns[1]!r} "
                f"{len(sides[1])} of outputs; each needs its counterpart"
            )
        both = [list(pair) for pair in zip(*sides, strict=True)]
    else:
        both = [[file] for file in resolve_files(patterns, study.data, what)]
    if task.subjects:
        chosen = wanted(task.subjects)
        both = [[file] for (file,) in both if subject_of(file[0]) in chosen]
        missing = sorted(chosen - {subject_of(name) for ((name, _),) in both})
        if missing:
            raise StudyError(
                f"{what}: {', '.join(patterns)}: no file of subject {missing[0]!r}, nor of "
                f"{len(missing) - 1} others of `subjects`; MMLU has 57 files a split"
            )
    return [[name for name, _ in files] for files in both], [outside_file(path) for files in both for _, path in files]


def sources(work: Work) -> Iterator[tuple[TaskFile, tuple[str, ...]]]:
    """Each file of a task, and the splits its examples serve; ("shots",) for those that only solved examples are drawn from."""
    settings = work.settings
    if settings["reader"] == "planted":
        name = f"{work.labels['task']}.jsonl"
        path = work.folder_of(work.parts("planted_files")[0]) / name
        if not path.exists():
            raise StudyError(
                f"task {work.labels['task']!r}: the planted world has no such task; it has "
                + ", ".join(sorted(p.stem for p in path.parent.glob("*.jsonl")))
            )
        yield TaskFile(name, path), ("evaluate", "mine")
        return
    files = iter(work.job.files)
    for use, roles in USES.items():
        for names in settings[use]:
            paths = [folder_of(work.job.files)] if settings["hub"] else [Path(next(files).path) for _ in names]
            both = use == "evaluate" and not settings["mine"]
            yield TaskFile(names[0], paths[0], *paths[1:]), ("evaluate", "mine") if both else roles
