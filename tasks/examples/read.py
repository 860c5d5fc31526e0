"""Step `read`: task files become examples, those that task-grams are mined from and those that models are evaluated on."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from schemas import EXAMPLE_REJECTS, EXAMPLES, StudyError
from tasks.cost import DEBIAN, Cost, Rate, Sizes
from tasks.examples.model_prompts import Shots
from tasks.examples.readers import reader_module
from tasks.examples.record import Example, Items, ReadSettings, Reject, TaskFile, checked
from tasks.examples.task_files import plan, task_files
from tasks.step import Stage, Step, Work
from tasks.text.split import in_evaluated_half, seeded_hash

CHECKED = 2_000_000  # bytes of a task file that is looked at before a run starts
SplitExamples = dict[str, tuple[int, str, Example]]  # by id: hash, file, example


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
