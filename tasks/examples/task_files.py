"""Which files a task is read from, and what each is for: all that is known before one is opened."""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schemas import Study, StudyError
from schemas.settings.reader_versions import READER_VERSIONS, reader_kind
from schemas.settings.study_file import Task
from tasks.examples.model_prompts import prompt_template
from tasks.examples.readers import reader_module, takes_setting, takes_two_files
from tasks.examples.readers.hf import folder_of, plan_hub
from tasks.examples.readers.mmlu import subject_of, subjects_of
from tasks.examples.readers.pararel import cloze, relation_of
from tasks.examples.record import TaskFile
from tasks.step import Inputs, Job, Work
from tasks.storage.source_files import outside_file, resolve_files
from tasks.storage.store import SourceFile

USES = {"evaluate": ("evaluate",), "mine": ("mine",), "shots_from": ("shots",)}
OF_SOME_READERS = ("fields", "revision", "subjects", "templates", "translator")  # settings that the others do not take
AS_SET = {"reader", "family", "languages", "encoding", "limit", "mine_limit", "fields", "translator", "instruction", "shots"}
AS_SET |= {"shots_seed"}
Names = list[list[str]]  # one entry per source: its file, or its two files


def plan(study: Study, inputs: Inputs) -> list[Job]:
    return [_plan_task(study, task, inputs) for task in study.tasks]


def _plan_task(study: Study, task: Task, inputs: Inputs) -> Job:
    split = study.splits[task.split].model_dump() if task.split else None
    within = task.shots_within_group
    within = getattr(reader_module(task.reader), "GROUPS_SHARE_SHOTS", False) if within is None else within
    settings: dict[str, Any] = task.model_dump(mode="json", include=AS_SET)
    settings |= {"prompt": prompt_template(task), "seed": study.seed, "split": split}
    settings |= {"version": task.full_version, "shots_within_group": within}
    settings |= {"templates": {}, "evaluate": [], "mine": [], "shots_from": [], "hub": {}}
    if not task.record_prompts:
        settings["record_prompts"] = False  # only then in the key, so that the keys of most tasks stay the same
    _check(task)
    if task.reader == "planted":
        parts = tuple(p for p in inputs["planted_files"] if p.labels["kind"] == "tasks")
        if not parts:
            raise StudyError(f'task {task.name!r}: reader "planted" needs [corpus.planted]; name another reader')
        return Job({"task": task.name}, settings, {"planted_files": parts})
    of_hub = reader_kind(task.reader) == "hf"
    if not task.evaluate:
        raise StudyError(f"task {task.name!r}: `evaluate` names no {'split' if of_hub else 'file'}")
    if of_hub:
        settings["hub"], files = plan_hub(task.reader, task.revision, study.data, task.name)
        settings |= {use: [[name] for name in getattr(task, use)] for use in USES}
        return Job({"task": task.name}, settings, {}, files)
    source_files: list[SourceFile] = []
    for use in USES:
        settings[use], files_of_use = _files(getattr(task, use), study, task)
        source_files += files_of_use
    if task.reader == "pararel" and not task.prompt:
        names = [name for use in USES for (name,) in settings[use]]
        settings["templates"] = {r: cloze(r, task.templates, task.name) for r in sorted({relation_of(n) for n in names})}
    return Job({"task": task.name}, settings, {}, tuple(source_files))


def _check(task: Task) -> None:
    """Raise StudyError for settings that contradict each other, whatever the files contain."""
    for setting in OF_SOME_READERS:
        if getattr(task, setting) and not takes_setting(task.reader, setting):
            readers = " or ".join(name for name in READER_VERSIONS if takes_setting(name, setting))
            problem = f"`{setting}` is for reader {readers}, and its reader is {task.reader!r}"
            raise StudyError(f"task {task.name!r}: {problem}; leave it out")
    if task.shots_from and not task.shots:
        raise StudyError(f"task {task.name!r}: `shots_from` without `shots`; set how many, or leave it out")
    if task.shots_from and task.reader == "planted":
        raise StudyError(f"task {task.name!r}: planted tasks have their mined examples for shots; leave out `shots_from`")
    if task.mine and task.split:
        raise StudyError(f"task {task.name!r}: `mine` and `split` both decide what is mined; leave one of them out")
    try:
        name = codecs.lookup(task.encoding).name
        bytes(range(256)).decode(name, "surrogateescape")  # a stateless one: any bytes either fit it or do not
        if "\n".encode(name) == b"\n":
            return
    except (LookupError, TypeError, ValueError):
        pass
    remedy = "name one such as utf-8, latin-1 or cp1252, or convert the file"
    raise StudyError(f"task {task.name!r}: {task.encoding!r} is no encoding in which a line ends with one byte; {remedy}")


def _files(patterns: tuple[str, ...], study: Study, task: Task) -> tuple[Names, list[SourceFile]]:
    """The names of each source's files, and the files one after the other."""
    if not patterns:
        return [], []
    what = f"task {task.name!r}"
    if takes_two_files(task.reader):
        if len(patterns) != 2:
            takes = "takes two files: first the inputs, then the outputs"
            raise StudyError(f"{what}: reader {task.reader!r} {takes}; {len(patterns)} named")
        sides = [resolve_files([pattern], study.data, what) for pattern in patterns]
        x, y = map(len, sides)
        if x != y:
            named = f"{patterns[0]!r} names {x} files of inputs and {patterns[1]!r} {y} of outputs"
            raise StudyError(f"{what}: {named}; each needs its counterpart")
        both = [list(pair) for pair in zip(*sides, strict=True)]
    else:
        both = [[file] for file in resolve_files(patterns, study.data, what)]
    if task.subjects:
        chosen = subjects_of(task.subjects)
        both = [[file] for (file,) in both if subject_of(file[0]) in chosen]
        missing = sorted(chosen - {subject_of(name) for ((name, _),) in both})
        if missing:
            lacking = f"no file of subject {missing[0]!r}, nor of {len(missing) - 1} others of `subjects`"
            raise StudyError(f"{what}: {', '.join(patterns)}: {lacking}; MMLU has 57 files a split")
    return [[name for name, _ in files] for files in both], [outside_file(path) for files in both for _, path in files]


def task_files(work: Work) -> Iterator[tuple[TaskFile, tuple[str, ...]]]:
    """Each file of a task, and the splits its examples serve; ("shots",) for files that only solved examples are drawn from."""
    settings = work.settings
    if settings["reader"] == "planted":
        name = f"{work.labels['task']}.jsonl"
        path = work.folder_of(work.parts("planted_files")[0]) / name
        if not path.exists():
            names = ", ".join(sorted(p.stem for p in path.parent.glob("*.jsonl")))
            raise StudyError(f"task {work.labels['task']!r}: the planted world has no such task; it has {names}")
        yield TaskFile(name, path), ("evaluate", "mine")
        return
    files = iter(work.job.files)
    for use, roles in USES.items():
        for names in settings[use]:
            paths = [folder_of(work.job.files)] if settings["hub"] else [Path(next(files).path) for _ in names]
            both = use == "evaluate" and not settings["mine"]
            yield TaskFile(names[0], paths[0], *paths[1:]), ("evaluate", "mine") if both else roles
