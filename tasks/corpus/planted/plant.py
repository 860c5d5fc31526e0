"""Step `plant`: writes a synthetic corpus, tasks about it, and the truth: the exact counts of every planted pair, and every
planted sequence with its membership. The counts are computed from the plan; nothing is counted in the text.

    {"id": "planted-00000007", "text": "Question: What is the capital of Maron Velk?\\nAnswer: Torin", "lang": "en"}
    {"id": "p08-x0064-y00128-0000/seen-0", "split": "evaluate", "input": "What is …", "output": "Torin", …}
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from schemas import INSERTIONS, PLANTED_FILES, PLANTED_SEQUENCES, TRUTH, Study
from schemas.settings.study_file import Planted
from tasks.corpus.planted.planted_rows import InsertedText, PlantedSequence, TruePair
from tasks.corpus.planted.world import World
from tasks.cost import Cost, Rate, Sizes, on_each_corpus
from tasks.step import Inputs, Job, Stage, Step, Work, for_each_corpus
from tasks.storage.writing import whole_file

TASK_COST = 0.2


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per corpus shard, and one for tasks and truth, which do not depend on distractors and shards."""
    planted = study.corpus.planted
    if planted is None:
        return []
    settings = planted.model_dump(mode="json", exclude=None if planted.redrawn else {"redrawn"})
    corpus = {k: v for k, v in settings.items() if k != "examples"}
    tasks = {k: v for k, v in settings.items() if k not in ("tokens", "shards", "insertions")}
    jobs = [
        Job(
            {"kind": "corpus", "source": "planted", "file": f"shard-{number:04d}.jsonl"},
            {"planted": corpus, "seed": study.seed, "shard": number},
            cost=1 / planted.shards,
        )
        for number in range(planted.shards)
    ]
    if planted.redrawn:
        return jobs  # a placebo corpus is queried with the tasks of the original
    return [*jobs, Job({"kind": "tasks"}, {"planted": tasks, "seed": study.seed}, cost=TASK_COST)]


def plan_insertions(study: Study, inputs: Inputs) -> list[Job]:
    """One job for the inserted texts and where they are; none without [corpus.planted.insertions]."""
    planted = study.corpus.planted
    if planted is None or planted.insertions is None or planted.redrawn:
        return []
    settings = planted.model_dump(mode="json", exclude={"redrawn", "examples", "shards"})
    return [Job({"kind": "insertions"}, {"planted": settings, "seed": study.seed}, cost=TASK_COST)]


def run(work: Work) -> None:
    """Write one shard, or everything but the corpus."""
    world = World(Planted.model_validate(work.settings["planted"]), work.settings["seed"])
    if work.labels["kind"] == "corpus":
        _write_shard(work, world)
    else:
        _write_tasks(work, world)


def _write_shard(work: Work, world: World) -> None:
    documents = world.texts(*world.shard(work.settings["shard"]))
    lines = (json.dumps({"id": document_id(i), "text": text, "lang": language}) for i, text, language in documents)
    work.write("planted_files", _columns([_write_lines(work.folder() / work.labels["file"], "corpus", lines)]))


def _write_tasks(work: Work, world: World) -> None:
    files = [
        _write_lines(work.folder() / f"{task}.jsonl", "task", (json.dumps(r, ensure_ascii=False) for r in records))
        for task, records in sorted(world.tasks().items())
    ]
    work.write("planted_files", _columns(files))
    work.write("truth", _table(TruePair, world.truth(), TRUTH.schema))
    sequences = world.sequences
    table = _table(PlantedSequence, sequences, PLANTED_SEQUENCES.schema)
    work.write("planted_sequences", table.append_column("member", pa.array([s.member for s in sequences], pa.bool_())))


def run_insertions(work: Work) -> None:
    """Write the texts that are inserted, with the documents that they are, and those that are not."""
    world = World(Planted.model_validate(work.settings["planted"]), work.settings["seed"])
    rows, names = world.insertions, [document_id(i) for i in world.positions("insertions").tolist()]
    table = _table(InsertedText, rows, INSERTIONS.schema)
    ends = np.cumsum([row.copies for row in rows])
    documents = [sorted(names[end - row.copies : end]) for row, end in zip(rows, ends, strict=True)]
    field = INSERTIONS.schema.field("documents")
    work.write("insertions", table.append_column(field, pa.array(documents, field.type)))


def document_id(position: int) -> str:
    """The id of the document at this position of the corpus."""
    return f"planted-{position:08d}"


def _write_lines(path: Path, kind: str, lines: Iterable[str]) -> dict[str, Any]:
    """Write a file atomically; returns its row of planted_files."""
    sha256, size, records = hashlib.sha256(), 0, 0
    with whole_file(path) as out:
        for line in lines:
            data = line.encode() + b"\n"
            sha256.update(data)
            out.write(data)
            size, records = size + len(data), records + 1
    return {"file": path.name, "kind": kind, "sha256": sha256.hexdigest(), "bytes": size, "records": records}


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def _table(
    kind: type, rows: Sequence[TruePair] | Sequence[PlantedSequence] | Sequence[InsertedText], schema: pa.Schema
) -> pa.Table:
    """Dataclass rows as an Arrow table, with all columns even if there are no rows."""
    names = [f.name for f in fields(kind)]
    values = list(zip(*map(astuple, rows), strict=True)) or [()] * len(names)
    return pa.table([pa.array(list(v), schema.field(n).type) for n, v in zip(names, values, strict=True)], names=names)


RATES = {"plant": Rate(200e3, "words /s", "the sample study")}


def cost(sizes: Sizes) -> Cost:
    """A part for each shard, and one for the task files, which a redrawn world has not."""
    planted, words = sizes.study.corpus.planted, sizes.corpus.words
    if planted is None:
        return Cost(unit="words", rates=RATES)
    parts = planted.shards + (0 if planted.redrawn else 1 + (planted.insertions is not None))
    return Cost(parts, words, "words", written=sizes.corpus.text, core=words / RATES["plant"], rates=RATES)


PLANT = Step(
    "plant",
    version=1,
    about="writes a planted corpus: corpus shards, task files and the exact truth about them",
    reads=(),
    stages=(
        Stage(writes=(PLANTED_FILES, TRUTH, PLANTED_SEQUENCES), plan=for_each_corpus(plan), run=run),
        Stage(writes=(INSERTIONS,), plan=plan_insertions, run=run_insertions),
    ),
    cost=on_each_corpus(cost),
)
