"""Step `plant`: writes a synthetic corpus, tasks about it, and the truth: the exact counts of every planted pair, and every
planted sequence with its membership. The counts are computed from the plan; nothing is counted in the text. Of a controlled
corpus it writes the sequences, what is known about them, and a tokenizer.json.

    {"id": "planted-00000007", "text": "Question: What is the capital of Maron Velk?\\nAnswer: Torin", "lang": "en"}
    {"id": "p08-x0064-y00128-0000/seen-0", "split": "evaluate", "input": "What is …", "output": "Torin", …}
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from schemas import CONTROLLED_SEQUENCES, INSERTIONS, PLANTED_FILES, PLANTED_SEQUENCES, TRUTH, Study
from schemas.settings.ensemble_settings import Controlled
from schemas.settings.study_file import Planted
from tasks.corpus.planted.controlled import ControlledCorpus, tokenizer_json
from tasks.corpus.planted.world import World
from tasks.cost import Cost, Rate, Sizes, on_each_corpus
from tasks.step import Inputs, Job, Stage, Step, Work, for_each_corpus
from tasks.storage.writing import whole_file

TASK_COST = 0.2


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per corpus shard, and one for tasks and truth, which do not depend on distractors and shards."""
    planted = study.corpus.planted
    if planted is None:
        return _plan_controlled(study)
    settings = planted.model_dump(mode="json", exclude=None if planted.redrawn else {"redrawn"})
    corpus = {k: v for k, v in settings.items() if k != "examples"}
    tasks = {k: v for k, v in settings.items() if k not in ("tokens", "shards", "insertions")}
    labels = [{"kind": "corpus", "source": "planted", "file": f"shard-{n:04d}.jsonl"} for n in range(planted.shards)]
    shards = [{"planted": corpus, "seed": study.seed, "shard": n} for n in range(planted.shards)]
    jobs = [Job(of, shard, cost=1 / planted.shards) for of, shard in zip(labels, shards, strict=True)]
    if planted.redrawn:
        return jobs  # a placebo corpus is queried with the tasks of the original
    return [*jobs, Job({"kind": "tasks"}, {"planted": tasks, "seed": study.seed}, cost=TASK_COST)]


def _plan_controlled(study: Study) -> list[Job]:
    if study.corpus.controlled is None:
        return []
    settings = {"controlled": study.corpus.controlled.model_dump(mode="json"), "seed": study.seed}
    tokenizer = settings | {"end_of_document": study.tokenizer.end_of_document}
    corpus = Job({"kind": "corpus", "source": "controlled", "file": "sequences.jsonl"}, settings)
    return [corpus, Job({"kind": "tokenizer", "file": "tokenizer.json"}, tokenizer, cost=TASK_COST)]


def plan_sequences(study: Study, inputs: Inputs) -> list[Job]:
    return [replace(job, labels={"kind": "sequences"}) for job in _plan_controlled(study)[:1]]


def plan_insertions(study: Study, inputs: Inputs) -> list[Job]:
    """One job for the inserted texts and where they are; none without [corpus.planted.insertions]."""
    planted = study.corpus.planted
    if planted is None or planted.insertions is None or planted.redrawn:
        return []
    settings = planted.model_dump(mode="json", exclude={"redrawn", "examples", "shards"})
    return [Job({"kind": "insertions"}, {"planted": settings, "seed": study.seed}, cost=TASK_COST)]


def run(work: Work) -> None:
    if "controlled" in work.settings:
        _write_controlled(work)
        return
    world = World(Planted.model_validate(work.settings["planted"]), work.settings["seed"])
    if work.labels["kind"] == "corpus":
        _write_shard(work, world)
    else:
        _write_tasks(work, world)


def _write_shard(work: Work, world: World) -> None:
    documents = world.texts(*world.shard(work.settings["shard"]))
    lines = (json.dumps({"id": document_id(i), "text": text, "lang": language}) for i, text, language in documents)
    files = [_write_lines(work.folder() / work.labels["file"], "corpus", lines)]
    work.write("planted_files", pa.Table.from_pylist(files, PLANTED_FILES.schema))


def _write_tasks(work: Work, world: World) -> None:
    tasks = {task: (json.dumps(r, ensure_ascii=False) for r in records) for task, records in sorted(world.tasks().items())}
    files = [_write_lines(work.folder() / f"{task}.jsonl", "task", lines) for task, lines in tasks.items()]
    work.write("planted_files", pa.Table.from_pylist(files, PLANTED_FILES.schema))
    work.write("truth", pa.Table.from_pylist([asdict(pair) for pair in world.truth()], TRUTH.schema))
    sequences = [asdict(s) | {"member": s.copies > 0} for s in world.sequences]
    work.write("planted_sequences", pa.Table.from_pylist(sequences, PLANTED_SEQUENCES.schema))


def _write_controlled(work: Work) -> None:
    controlled, path = Controlled.model_validate(work.settings["controlled"]), work.folder() / work.labels["file"]
    if work.labels["kind"] == "tokenizer":
        lines = [tokenizer_json(controlled, work.settings["end_of_document"])]
    else:
        texts = ControlledCorpus(controlled, work.settings["seed"]).documents()
        lines = [json.dumps({"id": f"controlled-{i:08d}", "text": text, "lang": ""}) for i, text in enumerate(texts)]
    files = [_write_lines(path, work.labels["kind"], lines)]
    work.write("planted_files", pa.Table.from_pylist(files, PLANTED_FILES.schema))


def run_sequences(work: Work) -> None:
    corpus = ControlledCorpus(Controlled.model_validate(work.settings["controlled"]), work.settings["seed"])
    rows = [asdict(sequence) for sequence in corpus.sequences]
    work.write("controlled_sequences", pa.Table.from_pylist(rows, CONTROLLED_SEQUENCES.schema))


def run_insertions(work: Work) -> None:
    """Write the texts that are inserted, with the documents that they are, and those that are not."""
    world = World(Planted.model_validate(work.settings["planted"]), work.settings["seed"])
    names = iter([document_id(i) for i in world.positions("insertions").tolist()])
    rows = [asdict(text) | {"documents": sorted(islice(names, text.copies))} for text in world.insertions]
    work.write("insertions", pa.Table.from_pylist(rows, INSERTIONS.schema))


def document_id(position: int) -> str:
    return f"planted-{position:08d}"


def _write_lines(path: Path, kind: str, lines: Iterable[str]) -> dict[str, Any]:
    sha256, size, records = hashlib.sha256(), 0, 0
    with whole_file(path) as out:
        for line in lines:
            data = line.encode() + b"\n"
            sha256.update(data)
            out.write(data)
            size, records = size + len(data), records + 1
    return {"file": path.name, "kind": kind, "sha256": sha256.hexdigest(), "bytes": size, "records": records}


RATES = {"plant": Rate(200e3, "words /s", "the sample study")}


def cost(sizes: Sizes) -> Cost:
    """A part for each shard, and one for the task files, which a redrawn world has not."""
    planted, words = sizes.study.corpus.planted, sizes.corpus.words
    if planted is None:
        parts, read = (3, words * 5.0) if sizes.study.corpus.controlled else (0, 0.0)
        return Cost(parts, words if parts else 0.0, "words", read, rates=RATES)
    parts = planted.shards + (0 if planted.redrawn else 1 + (planted.insertions is not None))
    return Cost(parts, words, "words", written=sizes.corpus.text, core=words / RATES["plant"], rates=RATES)


ABOUT = "writes a planted corpus: corpus shards, task files and the exact truth about them"
STAGES = (
    Stage((PLANTED_FILES, TRUTH, PLANTED_SEQUENCES), for_each_corpus(plan), run),
    Stage((INSERTIONS,), plan_insertions, run_insertions),
    Stage((CONTROLLED_SEQUENCES,), plan_sequences, run_sequences),
)
PLANT = Step("plant", version=1, about=ABOUT, reads=(), stages=STAGES, cost=on_each_corpus(cost))
