"""Everything the report says, read from the tables once. Tables of corpus size are read in pieces and only summed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tasks.report.numbers import NO_MODELS, PRIMARY, Cells, cells, first_orders, sizes
from tasks.step import Work
from tasks.storage.store import fingerprint
from tasks.text.gamma import resolved

PAIRS_PER_TASK = 3
DOCUMENTS_PER_PAIR = 2


@dataclass(frozen=True)
class ShownPair:
    """A pair and some documents that hold it (rows of pair_documents)."""

    task: str
    input_ngram: str
    output_ngram: str
    count: int
    documents: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Facts:
    """What the page is made of. Lists are rows as dictionaries, in a fixed order."""

    settings: Mapping[str, Any]
    metrics: list[dict[str, Any]]
    family: list[dict[str, Any]]
    exclusions: list[dict[str, Any]]
    models: list[dict[str, Any]]
    training: list[dict[str, Any]]
    sources: list[dict[str, Any]]
    examples: Mapping[tuple[str, str], int]
    document_rejects: list[tuple[str, str, int]]
    example_rejects: list[tuple[str, str, int]]
    gammas: Mapping[str, Mapping[str, float]]  # γ of each task and n as numbers, where the study may name percentiles
    mining: list[dict[str, Any]]
    distribution: Mapping[int, Mapping[int, int]]
    words_kept: int
    below_min_count: int
    truth: Mapping[str, int]
    planted: Mapping[tuple[str, bool], int]
    pairs: list[ShownPair]
    contaminated: list[dict[str, Any]]
    tables: list[tuple[str, int, str]]

    def measured(self, measure: str) -> list[dict[str, Any]]:
        """The rows of one measure."""
        return self._by_measure.get(measure, [])

    def cells(self, task: str, model: str, order: int) -> Cells:
        """The primary numbers of one task and model."""
        return cells(self._by_model.get((task, model), []), self.family, task, model, order)

    def rows_of(self, task: str, model: str) -> list[dict[str, Any]]:
        """The rows of the primary measures of one task and model."""
        return self._by_model.get((task, model), [])

    def order_of(self, task: str) -> int:
        """n of the results table, as the family fixed it; else the smallest n that was measured, else the study's first."""
        named = {t["name"]: int(t["first_order"]) for t in self.settings["tasks"]}
        return self._orders.get(task, named.get(task, 1))

    @cached_property
    def ladder(self) -> dict[str, int]:
        """Every model of the study with its parameters, smallest first; those of unknown size (0) last."""
        asked = {r["model"] for r in self.metrics if r["checkpoint"] >= 0 and r["model"]} - NO_MODELS
        return sizes(self.models, [*self.settings["models"], *sorted(asked)])

    @cached_property
    def _orders(self) -> dict[str, int]:
        return first_orders(self.metrics, self.family)

    @cached_property
    def _by_measure(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self.metrics:
            found.setdefault(row["measure"], []).append(row)
        return found

    @cached_property
    def _by_model(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for measure in PRIMARY:
            for row in self.measured(measure):
                found.setdefault((row["task"], row["model"]), []).append(row)
        return found


def gather(work: Work) -> Facts:
    """Read every table the report declares."""
    spread = _frame(work.read("similarities"))
    gammas = {t["name"]: resolved(t["gamma"], spread, t["lowest_gamma"], t["name"]) for t in work.settings["tasks"]}
    return Facts(
        settings=work.settings,
        metrics=work.read("metrics").to_pylist(),
        family=work.read("metric_family").to_pylist(),
        exclusions=work.read("exclusions").to_pylist(),
        models=work.read("models").to_pylist(),
        training=work.read("training_log").to_pylist(),
        sources=_sources(work),
        examples=_tally(work, "examples", "task", "split"),
        document_rejects=[(*k, n) for k, n in sorted(_tally(work, "document_rejects", "source", "reason").items())],
        example_rejects=[(*k, n) for k, n in sorted(_tally(work, "example_rejects", "source", "reason").items())],
        gammas=gammas,
        mining=_mining(work, gammas),
        distribution=_distribution(work),
        words_kept=sum(b.num_rows for b in _pieces(work, "ngram_vocabulary", "id")),
        below_min_count=int(_sum_of(work, "ngram_counts", "occurrences_below_min_count")),
        truth={k[0]: n for k, n in sorted(_tally(work, "truth", "kind").items())},
        planted=dict(sorted(_tally(work, "planted_sequences", "kind", "member").items())),
        pairs=_pairs(work, gammas),
        contaminated=work.read("contamination").to_pylist(),
        tables=[(t, len(work.parts(t)), fingerprint(work.parts(t))) for t in sorted(work.job.inputs)],
    )


def _frame(rows: pa.Table | pa.RecordBatch) -> pl.DataFrame:
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _pieces(work: Work, table: str, *columns: str) -> Iterator[pa.RecordBatch]:
    for part in work.parts(table):
        yield from work.batches(part, *columns, rows=65_536)


def _tally(work: Work, table: str, *columns: str) -> dict[tuple[Any, ...], int]:
    """How many rows have each combination of values."""
    found: Counter[tuple[Any, ...]] = Counter()
    for batch in _pieces(work, table, *columns):
        for row in _frame(batch).group_by(columns).len().iter_rows():
            found[row[:-1]] += row[-1]
    return dict(found)


def _sum_of(work: Work, table: str, name: str) -> float:
    """A number that the parts of a table reported while they were made."""
    return sum(work.store.footer(p).get("sums", {}).get(name, 0) for p in work.parts(table))


def _sources(work: Work) -> list[dict[str, Any]]:
    """Documents and model tokens of each source. Documents are known from the files' ends; nothing is read."""
    documents: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for part in work.parts("documents"):
        documents[part.labels.get("source", "")] += work.store.open(part).metadata.num_rows
    for part in work.parts("tokens"):
        for batch in work.batches(part, "ids", rows=8_192):
            tokens[part.labels.get("source", "")] += pc.sum(pc.list_value_length(batch.column(0))).as_py() or 0
    return [{"source": s, "documents": documents[s], "tokens": tokens[s]} for s in sorted({*documents, *tokens})]


def _mining(work: Work, gammas: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Per task and n: candidate pairs, those mined above the lowest γ, and those above the study's γ."""
    kept: Counter[tuple[str, int]] = Counter()
    above: Counter[tuple[str, int]] = Counter()
    for batch in _pieces(work, "task_grams", "task", "order", "similarity"):
        for (task, order), group in _frame(batch).group_by("task", "order"):
            kept[task, order] += len(group)
            above[task, order] += int((group["similarity"] > gammas.get(task, {}).get(str(order), -1.0)).sum())
    sums: dict[str, Counter[str]] = {}
    for part in work.parts("task_grams"):
        sums.setdefault(part.labels.get("task", ""), Counter()).update(work.store.footer(part).get("sums", {}))
    asked = {(t, int(name.rpartition("_n")[2])) for t, found in sums.items() for name in found if "candidates_n" in name}
    return [
        {
            "task": t,
            "order": n,
            "gamma": gammas.get(t, {}).get(str(n)),
            "kept": kept[t, n],
            "above": above[t, n],
            "candidates_of_order": int(sums[t][f"candidates_n{n}"]) if t in sums else 0,
        }
        | {name: int(sums[t][name]) if t in sums else 0 for name in ("candidates", "below_gamma", "contained")}
        for t, n in sorted({*kept, *asked})
    ]


def _distribution(work: Work) -> dict[int, dict[int, int]]:
    """Per n: how many distinct n-grams stand 2^k to 2^(k+1) − 1 times, by 2^k."""
    found: dict[int, Counter[int]] = {}
    for batch in _pieces(work, "ngram_counts", "order", "occurrences"):
        frame = _frame(batch).group_by("order", "occurrences").len()
        for order, occurrences, distinct in frame.iter_rows():
            found.setdefault(order, Counter())[1 << (int(occurrences).bit_length() - 1)] += distinct
    return {order: dict(sorted(found[order].items())) for order in sorted(found)}


def _pairs(work: Work, gammas: Mapping[str, Mapping[str, float]]) -> list[ShownPair]:
    """Per task: the most frequent, a middling and the rarest pair of the first order that has documents to show."""
    if not (work.parts("pair_documents") and work.parts("task_grams") and work.parts("pair_counts")):
        return []
    key = ["input_ngram", "output_ngram"]
    shown = _frame(work.read("pair_documents", *key, "rank")).filter(pl.col("rank") == 0).drop("rank")
    counted = _frame(work.read("pair_counts")).join(shown, on=key, how="semi")
    chosen: list[tuple[str, str, str, int]] = []
    for task in work.settings["tasks"]:
        gamma = gammas[task["name"]].get(str(task["first_order"]), -1.0)
        mined = [
            _frame(b)
            .filter(
                (pl.col("task") == task["name"]) & (pl.col("order") == task["first_order"]) & (pl.col("similarity") > gamma)
            )
            .select(key)
            for b in _pieces(work, "task_grams", "task", "order", "similarity", *key)
        ]
        if not mined:
            continue
        rows = (
            counted.join(pl.concat(mined).unique(), on=key, how="semi")
            .sort("documents", *key, descending=[True, False, False])
            .rows()
        )
        last = len(rows) - 1
        for index in sorted({math.floor(last * i / (PAIRS_PER_TASK - 1)) for i in range(PAIRS_PER_TASK)} if rows else ()):
            chosen.append((task["name"], *rows[index]))
    return _fill(work, chosen)


def _fill(work: Work, chosen: list[tuple[str, str, str, int]]) -> list[ShownPair]:
    """Read the excerpts of the chosen pairs."""
    key = ["input_ngram", "output_ngram"]
    wanted = pl.DataFrame([c[1:3] for c in chosen], schema=dict.fromkeys(key, pl.String), orient="row").unique()
    texts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for batch in _pieces(work, "pair_documents"):
        found = _frame(batch).filter(pl.col("rank") < DOCUMENTS_PER_PAIR)
        for row in found.join(wanted, on=key, how="semi", maintain_order="left").to_dicts():
            texts.setdefault((row["input_ngram"], row["output_ngram"]), []).append(row)
    return [
        ShownPair(task, x, y, n, tuple(sorted(texts.get((x, y), []), key=lambda r: r["rank"]))) for task, x, y, n in chosen
    ]
