"""Step `read`: task files become examples, those that task-grams are mined from and those that models are evaluated on."""

import codecs
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from schemas import EXAMPLE_REJECTS, EXAMPLES, Study, StudyError
from schemas.settings.reader_versions import READER_VERSIONS, reader_kind
from schemas.settings.study_file import Task
from tasks.cost import DEBIAN, Cost, Rate, Sizes
from tasks.examples.model_prompts import Shots, prompt_template
from tasks.examples.readers import reader_module, takes_setting, takes_two_files
from tasks.examples.readers.hf import folder_of, plan_hub
from tasks.examples.readers.mmlu import subject_of, subjects_of
from tasks.examples.readers.pararel import cloze, relation_of
from tasks.examples.record import Example, Items, ReadSettings, Reject, TaskFile, checked
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.storage.source_files import outside_file, resolve_files
from tasks.storage.store import SourceFile
from tasks.text.split import in_evaluated_half, seeded_hash

USES = {"evaluate": ("evaluate",), "mine": ("mine",), "shots_from": ("shots",)}
OF_SOME_READERS = ("fields", "revision", "subjects", "templates", "translator")  # settings that the others do not take
AS_SET = {"reader", "family", "languages", "encoding", "limit", "mine_limit", "fields", "translator", "instruction", "shots"}
AS_SET |= {"shots_seed"}
Names = list[list[str]]  # one entry per source: its file, or its two files
CHECKED = 2_000_000  # bytes of a task file that is looked at before a run starts
SplitExamples = dict[str, tuple[int, str, Example]]  # by id: hash, file, example


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


def run(work: Work) -> None:
    """Write examples and rejects; sums: records (one per record and split it would serve), beyond_limit; with shots: shots_pool and
    shots_refused (records of shots_from), fewer_shots (examples that have one fewer than `shots`)."""
    work.add("records", 0)
    settings, task = work.settings, work.labels["task"]
    rejects: list[dict[str, Any]] = []
    splits: dict[str, SplitExamples] = {"evaluate": {}, "mine": {}}
    pool: list[Example] = []
    for file, roles in task_files(work):
        if roles == ("shots",):
            for item in _items(work, file):  # rejects are only counted: they would have served no split
                work.add("shots_refused" if isinstance(item, Reject) else "shots_pool")
                pool += [item] if isinstance(item, Example) else []
            continue
        before, first_reason = sum(map(len, splits.values())), ""
        for record in _items(work, file):
            for split, item in _assign(record, roles, settings):
                work.add("records")
                if isinstance(item, Example) and item.id in splits[split]:
                    item = Reject(item.row, f"duplicate id {item.id!r:.80} in this split", item.input[:200])
                if isinstance(item, Example):
                    rank = seeded_hash(settings["seed"], "limit", task, item.id)
                    splits[split][item.id] = (rank, file.name, item)
                    continue
                first_reason = first_reason or f"row {item.row}: {item.reason}"
                rejects.append({"split": split, "source": task, "file": file.name, **asdict(item)})
        if sum(map(len, splits.values())) == before:
            raise _no_example(work, file, first_reason)
    pool = pool or [example for _, _, example in splits["mine"].values()]
    shots = Shots(pool, settings["prompt"], settings["shots"], settings["shots_seed"], settings["shots_within_group"])
    _write(work, "evaluate", splits["evaluate"], shots)
    _write(work, "mine", splits["mine"], Shots((), settings["prompt"], 0, 0, False))  # these are never put to a model
    if not splits["evaluate"]:
        raise StudyError(f"task {task!r}: no example is evaluated; check its files, split and limit")
    rejects.sort(key=lambda r: (r["split"], r["file"], r["row"]))
    work.write("example_rejects", {name: [r[name] for r in rejects] for name in EXAMPLE_REJECTS.schema.names})


def check_files(work: Work) -> None:
    """Raises StudyError for a task file without an example, as `run` would. Large, hub and planted files are not opened."""
    if work.settings["hub"] or work.settings["reader"] == "planted":
        return
    for file, _ in task_files(work):
        if file.path.stat().st_size <= CHECKED:
            any(isinstance(item, Example) for item in _items(work, file))  # stops at the first one


def _items(work: Work, file: TaskFile) -> Items:
    """What the task's reader yields for a file, checked. Raises StudyError for a file without an example."""
    first_reason, made = "", False
    for record in reader_module(work.settings["reader"]).read(file, work.settings):
        item = checked(record, work.settings["family"])
        if isinstance(item, Reject):
            first_reason = first_reason or f"row {item.row}: {item.reason}"
        else:
            made, item = True, item if work.settings.get("record_prompts", True) else replace(item, prompt="")
        yield item
    if not made:
        raise _no_example(work, file, first_reason)


def _no_example(work: Work, file: TaskFile, first_reason: str) -> StudyError:
    what = f"{first_reason}. Fix it or set the task's `reader`" if first_reason else "it is empty"
    return StudyError(f"{file.path}: no record of it is an example for reader {work.settings['reader']!r}; {what}")


def _assign(item: Example | Reject, roles: tuple[str, ...], settings: ReadSettings) -> Iterator[tuple[str, Example | Reject]]:
    """The splits one record serves: the one it names itself, else that of a [splits.NAME], else those of its file."""
    if isinstance(item, Example) and item.split:
        roles = (item.split,)
    elif isinstance(item, Example) and settings["split"] is not None:
        evaluated = in_evaluated_half(settings["split"], {"id": item.id, **item.record})
        if isinstance(evaluated, str):
            item = Reject(item.row, evaluated, item.input[:200])
        roles = ("evaluate",) if evaluated else ("mine",)
    elif settings["split"] is not None:
        roles = roles[:1]
    yield from ((role, item) for role in roles)


def _write(work: Work, split: str, examples: SplitExamples, shots: Shots) -> None:
    """Write the examples of one split: all, or as many as the limit allows, by smallest hash."""
    limit = work.settings["limit" if split == "evaluate" else "mine_limit"]
    by_hash = sorted(examples, key=lambda identifier: (examples[identifier][0], identifier))
    kept = by_hash[:limit] if limit else by_hash
    work.add("beyond_limit", len(by_hash) - len(kept))
    if shots.count:
        work.add("fewer_shots", sum(len(shots.before(examples[i][2])) < shots.count for i in kept))
    rows = [_row(work, *examples[i][1:], split, shots) for i in sorted(kept)]
    work.write("examples", {name: [r[name] for r in rows] for name in EXAMPLES.schema.names})


def _row(work: Work, file: str, example: Example, split: str, shots: Shots) -> dict[str, Any]:
    whole = shots.prompt(example, work.settings["instruction"])
    prompt = whole.rstrip()
    hashed: dict[str, Any] = {"prompt": prompt, "separator": whole[len(prompt) :], "input": example.input, "output": example.output}
    hashed |= {"aliases": list(example.aliases), "options": list(example.options)}
    sha256 = hashlib.sha256(json.dumps(hashed, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    about = {"task": work.labels["task"], "split": split, "example": example.id, "file": file, "row": example.row}
    more = {"version": work.settings["version"], "group": example.group, "answer": example.answer, "sha256": sha256}
    return {**about, **more, **hashed}


RATES = {"read": Rate(38e3, "records /s", DEBIAN), "bytes of an example": Rate(260.0, "bytes for an example", DEBIAN)}


def cost(sizes: Sizes) -> Cost:
    examples = sum(t.evaluated + t.mined for t in sizes.tasks)
    written, core = examples * RATES["bytes of an example"], examples / RATES["read"]
    return Cost(len(sizes.tasks), examples, "examples", written=written, core=core, rates=RATES)


ABOUT = "task files as examples; malformed records are rejected, with the reason"
STAGES = (Stage((EXAMPLES, EXAMPLE_REJECTS), plan, run),)
READ = Step("read", version=3, about=ABOUT, reads=("planted_files",), stages=STAGES, cost=cost)
