"""Task files become examples: those that task-grams are mined from, and those that are put to the models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from schemas import EXAMPLE_REJECTS, EXAMPLES, StudyError
from schemas.settings.reader_versions import reader_kind
from tasks.cost import DEBIAN, Cost, Rate, Sizes
from tasks.examples.prompts import Shots
from tasks.examples.readers.by_name import READERS
from tasks.examples.record import Found, Refused, Settings, TaskFile, checked
from tasks.examples.task_files import plan, sources
from tasks.step import Stage, Step, Work
from tasks.text.split import in_evaluated_half, seeded_hash

Chosen = dict[str, tuple[int, str, Found]]  # by id: hash, file, example


def run(work: Work) -> None:
    """Write examples and rejects; sums: records (one per record and split it would serve), beyond_limit;
    with shots: shots_pool and shots_refused (records of shots_from), fewer_shots (examples that lack one, their own).
    """
    work.add("records", 0)
    rejects: list[dict[str, Any]] = []
    chosen: dict[str, Chosen] = {"evaluate": {}, "mine": {}}
    pool: list[Found] = []
    for file, roles in sources(work):
        if roles == ("shots",):
            pool += _solved(work, file)
            continue
        taken = len(chosen["evaluate"]) + len(chosen["mine"])
        first = ""
        for item in _items(work, file):
            for role, outcome in _assign(item, roles, work.settings):
                work.add("records")
                if isinstance(outcome, Found) and outcome.id in chosen[role]:
                    double = f"the id {outcome.id!r:.80} stands in this split already"
                    outcome = Refused(outcome.row, double, outcome.input[:200])
                if isinstance(outcome, Refused):
                    first = first or f"row {outcome.row}: {outcome.reason}"
                    rejects.append(
                        {
                            "split": role,
                            "source": work.labels["task"],
                            "file": file.name,
                            "row": outcome.row,
                            "reason": outcome.reason,
                            "excerpt": outcome.excerpt,
                        }
                    )
                else:
                    rank = seeded_hash(work.settings["seed"], "limit", work.labels["task"], outcome.id)
                    chosen[role][outcome.id] = (rank, file.name, outcome)
        if len(chosen["evaluate"]) + len(chosen["mine"]) == taken:
            raise _no_example(work, file, first)
    pool = pool or [found for _, _, found in chosen["mine"].values()]
    settings = work.settings
    shots = Shots(pool, settings["prompt"], settings["shots"], settings["shots_seed"], settings["shots_within_group"])
    for role in ("evaluate", "mine"):
        _write(work, role, chosen[role], shots)
    if not chosen["evaluate"]:
        raise StudyError(f"task {work.labels['task']!r}: no example is evaluated; look at its files, split and limit")
    rejects.sort(key=lambda r: (r["split"], r["file"], r["row"]))
    work.write("example_rejects", {name: [r[name] for r in rejects] for name in EXAMPLE_REJECTS.schema.names})


def _items(work: Work, file: TaskFile) -> Iterator[Found | Refused]:
    """What the task's reader finds in a file."""
    for item in READERS[reader_kind(work.settings["reader"])](file, work.settings):
        found = checked(item, work.settings["family"])
        if isinstance(found, Found) and not work.settings.get("record_prompts", True):
            found = replace(found, prompt="")
        yield found


def _no_example(work: Work, file: TaskFile, first: str) -> StudyError:
    what = f"{first}. Mend it or set the task's `reader`" if first else "it is empty"
    return StudyError(f"{file.path}: no record of it is an example for reader {work.settings['reader']!r}; {what}")


def _solved(work: Work, file: TaskFile) -> list[Found]:
    """The examples of a file that shots are drawn from. Its rejects are counted; they would have served no split."""
    first, found = "", []
    for item in _items(work, file):
        work.add("shots_refused" if isinstance(item, Refused) else "shots_pool")
        if isinstance(item, Found):
            found.append(item)
        else:
            first = first or f"row {item.row}: {item.reason}"
    if not found:
        raise _no_example(work, file, first)
    return found


def _assign(item: Found | Refused, roles: tuple[str, ...], settings: Settings) -> Iterator[tuple[str, Found | Refused]]:
    """The splits one record serves: what it says itself, else what a [splits.NAME] says, else what its file is for."""
    if isinstance(item, Found) and item.split:
        roles = (item.split,)
    elif isinstance(item, Found) and settings["split"] is not None:
        evaluated = in_evaluated_half(settings["split"], {"id": item.id, **item.record})
        if isinstance(evaluated, str):
            item = Refused(item.row, evaluated, item.input[:200])
        roles = ("evaluate",) if evaluated else ("mine",)
    elif settings["split"] is not None:
        roles = roles[:1]
    yield from ((role, item) for role in roles)


def _write(work: Work, split: str, chosen: Chosen, shots: Shots) -> None:
    """Write the examples of one split: all, or as many as the limit allows, by smallest hash."""
    limit = work.settings["limit" if split == "evaluate" else "mine_limit"]
    by_hash = sorted(chosen, key=lambda identifier: (chosen[identifier][0], identifier))
    kept = by_hash[:limit] if limit else by_hash
    work.add("beyond_limit", len(by_hash) - len(kept))
    zero = Shots((), work.settings["prompt"], 0, 0, False)  # nobody asks the mined examples
    if shots.count and split == "evaluate":
        work.add("fewer_shots", sum(len(shots.before(chosen[i][2])) < shots.count for i in kept))
    rows = [_row(work, *chosen[i][1:], split, shots if split == "evaluate" else zero) for i in sorted(kept)]
    work.write("examples", {name: [r[name] for r in rows] for name in EXAMPLES.schema.names})


def _row(work: Work, file: str, found: Found, split: str, shots: Shots) -> dict[str, Any]:
    """One row of `examples`."""
    whole = shots.prompt(found, work.settings["instruction"])
    prompt = whole.rstrip()
    content = {
        "prompt": prompt,
        "separator": whole[len(prompt) :],
        "input": found.input,
        "output": found.output,
        "aliases": list(found.aliases),
        "options": list(found.options),
    }
    sha256 = hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    return {
        "task": work.labels["task"],
        "split": split,
        "example": found.id,
        "file": file,
        "row": found.row,
        "version": work.settings["version"],
        "group": found.group,
        **content,
        "answer": found.answer,
        "sha256": sha256,
    }


RATES = {"read": Rate(38e3, "records /s", DEBIAN), "bytes of an example": Rate(260.0, "bytes for an example", DEBIAN)}


def cost(sizes: Sizes) -> Cost:
    """The examples of each task."""
    examples = sum(t.evaluated + t.mined for t in sizes.tasks)
    written, core = examples * RATES["bytes of an example"], examples / RATES["read"]
    return Cost(len(sizes.tasks), examples, "examples", written=written, core=core, rates=RATES)


READ = Step(
    "read",
    version=2,
    about="task files as examples; what cannot be one is a reject with its reason",
    reads=("planted_files",),
    stages=(Stage(writes=(EXAMPLES, EXAMPLE_REJECTS), plan=plan, run=run),),
    cost=cost,
)
