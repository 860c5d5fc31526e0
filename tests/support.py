"""What tests share: running one step without Prefect, and checking its tables as the flow does."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from flows.study_files import shipped_studies
from schemas import CONTRACTS, Study, StudyError
from tasks.step import Step, keyed, parts_of, run_job
from tasks.storage.store import Part, Store
from tests.rules import check_rules


def run_step(step: Step, study: Study, root: Path, inputs: Mapping[str, tuple[Part, ...]]) -> dict[str, tuple[Part, ...]]:
    """Run all jobs of a step in this process; every table is checked against its contract. Returns inputs and outputs."""
    store = Store(str(root))
    tables: dict[str, tuple[Part, ...]] = {t: inputs.get(t, ()) for t in step.reads} | dict(inputs)
    for number, stage in enumerate(step.stages):
        seen = tables if step.variants else parts_of(tables)
        planned = [keyed(step, number, job) for job in stage.plan(study, seen)]
        assert len({p.key for p in planned}) == len(planned), "two jobs of a step have the same key"
        for job in planned:
            # As the engine sends them, so that a table missing in `tables` is missing for the job, too.
            result = run_job(store, job, stage, {name: CONTRACTS[name] for name in job.tables(stage)})
            if "error" in result:
                raise (AssertionError(result["traceback"]) if result["traceback"] else StudyError(result["error"]))
        for index, contract in enumerate(stage.writes):
            tables[contract.name] = tuple(job.parts(stage)[index] for job in planned)
        for contract in stage.writes:
            problems = check_rules(store, contract, tables, CONTRACTS)
            assert not problems, problems
    return tables


def write_part(root: Path, table: str, rows: Mapping[str, list], labels: Mapping[str, str] | None = None, key: str = "") -> Part:
    """A hand-made part of a table, for a test's input."""
    import pyarrow as pa

    store, contract = Store(str(root)), CONTRACTS[table]
    count = len(next(iter(rows.values()), []))
    origin = {"file": [""] * count, "version": [""] * count} if table == "examples" else {}  # values that few tests care about
    origin |= {"tokenizer": [""] * count, "ends": [""] * count} if table == "models" else {}
    origin |= {"unrelated": [[]] * count} if table == "sequence_scores" else {}
    key = key or f"{table}-{'-'.join((labels or {}).values()) or 'all'}"
    with store.writing({table: contract}, key, {"sums": {}}) as writer:
        writer.write(table, pa.table(origin | dict(rows), schema=contract.schema))
    return Part(table, key, dict(labels or {}))


def read_rows(root: Path, parts: tuple[Part, ...]) -> list[dict]:
    """All rows of a table's parts."""
    store = Store(str(root))
    return [row for p in parts for row in store.read([p], CONTRACTS[p.table].schema).to_pylist()]


def shipped_text(name: str) -> str:
    """A shipped study."""
    return shipped_studies()[name].read_text(encoding="utf-8")


# The corpus of small studies that a test writes: JSON lines in one folder, and a small tokenizer learnt from them.
NOTES = """[[corpus.sources]]
name = "notes"
files = ["corpus/*.jsonl"]
[tokenizer]
vocabulary = 300
"""
# One task over such a corpus.
RIVERS = """[[tasks]]
name = "rivers"
family = "qa"
evaluate = ["rivers.jsonl"]
orders = [1]
"""


def write_corpus(folder: Path, documents: Sequence[int], *, words: int, length: int, seed: int) -> None:
    """Write the files of NOTES: documents of equal length, in each file as many as given, of words drawn from a vocabulary."""
    draw, known = random.Random(seed), [f"w{i}" for i in range(words)]
    (folder / "corpus").mkdir()
    for number, count in enumerate(documents):
        lines = (json.dumps({"id": f"{number}-{i}", "text": " ".join(draw.choices(known, k=length))}) for i in range(count))
        (folder / "corpus" / f"{number}.jsonl").write_text("\n".join(lines))


def span_sums(starts, ends, values, span_starts, span_ends):
    """Σ of the values of the tokens that overlap each span [start, end) of one text, in code points; NaN where none does."""
    from tasks.text.span_kernels import sum_over_spans

    zero, tokens, spans = np.zeros(1, np.int64), np.full(1, len(starts)), np.full(1, len(span_starts))
    return sum_over_spans(zero, tokens, starts, ends, values, zero, spans, span_starts, span_ends)[0]
