"""Everything the report shows, read from the tables once. Tables of corpus size are read in batches and only summed."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import polars as pl
import pyarrow.compute as pc

from tasks.report.ensemble_data import EnsembleData, gather_ensembles
from tasks.report.numbers import PRIMARY, MetricRow, ResultsLine, first_orders, last_checkpoints, pick, results_line, sizes
from tasks.step import Work
from tasks.storage.store import fingerprint
from tasks.text.gamma import resolved

PAIRS_PER_TASK = 3
DOCUMENTS_PER_PAIR = 2
PAIR = ["input_ngram", "output_ngram"]


@dataclass(frozen=True)
class ExamplePair:
    """A pair and some documents that contain it (rows of pair_documents)."""

    task: str
    input_ngram: str
    output_ngram: str
    count: int
    documents: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class ReportData:
    """The tables as the report needs them. Lists are rows as dictionaries, in a fixed order."""

    settings: Mapping[str, Any]
    metrics: list[dict[str, Any]]
    family: list[dict[str, Any]]
    exclusions: list[dict[str, Any]]
    models: list[dict[str, Any]]
    training: list[dict[str, Any]]
    sources: list[dict[str, Any]]
    examples: Mapping[tuple[str, str], int]  # by task and split
    document_rejects: Mapping[tuple[str, str], int]  # by source and reason
    example_rejects: Mapping[tuple[str, str], int]
    gammas: Mapping[str, Mapping[str, float]]  # γ of each task and n as numbers, where the study may name percentiles
    mining: list[dict[str, Any]]
    distribution: Mapping[int, Mapping[int, int]]  # distinct n-grams by n and occurrences, in doubling bins
    truth: Mapping[str, int]  # planted pairs by kind
    planted: Mapping[tuple[str, bool], int]  # planted sequences by kind and membership
    pairs: list[ExamplePair]
    contaminated: list[dict[str, Any]]
    tables: list[tuple[str, int, str]]
    ensembles: EnsembleData = field(default_factory=EnsembleData)

    @property
    def without_tasks(self) -> bool:
        """Whether the study asks about sequences alone: it has no word on tasks."""
        return not self.settings["tasks"] and bool({"ensembles", "memorization"} & self.settings.keys())

    def measured(self, *measures: str) -> list[dict[str, Any]]:
        return [r for measure in measures for r in self.by_measure.get((measure,), [])]

    def latest(self, *measures: str) -> list[MetricRow]:
        """The rows of these measures at the last checkpoint of each model."""
        return last_checkpoints(self.measured(*measures))

    def line(self, task: str, model: str) -> ResultsLine:
        """The primary numbers of one task and model, at the task's primary n."""
        return results_line(self._by_model.get((task, model), []), self.family, task, model, self.order_of(task))

    def row(self, measure: str, task: str, model: str, order: int, **which: Any) -> MetricRow | None:
        """The rank correlation of a primary measure at one n; `which`: columns in which it is not plain."""
        return pick(self._by_model.get((task, model), []), which, measure=measure, order=order, statistic="spearman")

    def order_of(self, task: str) -> int:
        """n of the results table: as the family fixed it, else the smallest n that was measured, else the study's first."""
        first = {t["name"]: int(t["first_order"]) for t in self.settings["tasks"]}
        return self._orders.get(task, first.get(task, 1))

    def tasks_of(self, rows: Iterable[MetricRow]) -> list[str]:
        """The tasks of these rows, in the study's order."""
        present = {r["task"] for r in rows}
        named = [t["name"] for t in self.settings["tasks"]]
        return [t for t in named if t in present] + sorted(present - set(named))

    def by_task(self, rows: Iterable[MetricRow]) -> Iterator[tuple[str, list[MetricRow]]]:
        """Each task of these rows, in the study's order, and its rows."""
        kept = list(rows)
        yield from ((task, [r for r in kept if r["task"] == task]) for task in self.tasks_of(kept))

    def order_among(self, task: str, rows: Iterable[MetricRow]) -> int:
        """n of the results table where these rows have it, else their smallest n."""
        orders = {r["order"] for r in rows}
        return self.order_of(task) if self.order_of(task) in orders else min(orders)

    def ladder_of(self, rows: Iterable[MetricRow]) -> dict[str, int]:
        """The models of these rows, smallest first, with their parameters (0: unknown)."""
        present = {r["model"] for r in rows}
        return {m: n for m, n in self.ladder.items() if m in present}

    @cached_property
    def ladder(self) -> dict[str, int]:
        """Every model of the study with its parameters, smallest first; those of unknown size (0) last."""
        measured = {r["model"] for r in self.metrics if r["checkpoint"] >= 0 and r["model"]}
        return sizes(self.models, [*self.settings["models"], *sorted(measured)])

    @cached_property
    def _orders(self) -> dict[str, int]:
        return first_orders(self.metrics, self.family)

    @cached_property
    def by_measure(self) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
        """The rows of each (measure,)."""
        return grouped(self.metrics, "measure")

    @cached_property
    def _by_model(self) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
        return grouped(self.measured(*PRIMARY, "score"), "task", "model")


def gather(work: Work) -> ReportData:
    similarities = work.frame("similarities")
    tasks = work.settings["tasks"]
    gammas = {t["name"]: resolved(t["gamma"], similarities, t["lowest_gamma"], t["name"]) for t in tasks}
    whole = {table: table for table in ("metrics", "exclusions", "models")}
    whole |= {"family": "metric_family", "training": "training_log", "contaminated": "contamination"}
    return ReportData(
        settings=work.settings,
        **{name: work.read(table).to_pylist() for name, table in whole.items()},
        sources=_sources(work),
        examples=_tally(work, "examples", "task", "split"),
        document_rejects=_tally(work, "document_rejects", "source", "reason"),
        example_rejects=_tally(work, "example_rejects", "source", "reason"),
        gammas=gammas,
        mining=_mining(work, gammas),
        distribution=_distribution(work),
        truth={kind: n for (kind,), n in _tally(work, "truth", "kind").items()},
        planted=_tally(work, "planted_sequences", "kind", "member"),
        pairs=_pairs(work, gammas),
        tables=[(t, len(work.parts(t)), fingerprint(work.parts(t))) for t in sorted(work.job.inputs) if work.parts(t)],
        ensembles=gather_ensembles(work),
    )


def _batches(work: Work, table: str, *columns: str) -> Iterator[pl.DataFrame]:
    for part in work.parts(table):
        yield from (pl.DataFrame(batch) for batch in work.batches(part, *columns, rows=65_536))


def grouped(rows: Iterable[dict[str, Any]], *columns: str) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """The rows by their values in these columns, in their order."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[c] for c in columns), []).append(row)
    return groups


def _tally(work: Work, table: str, *columns: str) -> dict[tuple[Any, ...], int]:
    counts: Counter[tuple[Any, ...]] = Counter()
    for batch in _batches(work, table, *columns):
        counts.update({row[:-1]: row[-1] for row in batch.group_by(columns).len().iter_rows()})
    return dict(sorted(counts.items()))


def _sources(work: Work) -> list[dict[str, Any]]:
    """Documents and model tokens of each source. The files' footers hold the number of documents; no document is read."""
    documents, tokens = Counter[str](), Counter[str]()
    for part in work.parts("documents"):
        documents[part.labels.get("source", "")] += work.store.open(part).metadata.num_rows
    for part in work.parts("tokens"):
        for batch in work.batches(part, "ids", rows=8_192):
            tokens[part.labels.get("source", "")] += pc.sum(pc.list_value_length(batch.column(0))).as_py() or 0
    return [{"source": s, "documents": documents[s], "tokens": tokens[s]} for s in sorted({*documents, *tokens})]


def _mining(work: Work, gammas: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Per task and n: candidate pairs, those mined above the lowest γ, and those above the study's γ."""
    kept, above = Counter[tuple[str, int]](), Counter[tuple[str, int]]()
    for batch in _batches(work, "task_grams", "task", "order", "similarity"):
        for (task, order), group in batch.group_by("task", "order"):
            kept[task, order] += len(group)
            above[task, order] += int((group["similarity"] > gammas.get(task, {}).get(str(order), -1.0)).sum())
    sums: dict[str, Counter[str]] = {}
    for part in work.parts("task_grams"):
        sums.setdefault(part.labels.get("task", ""), Counter()).update(work.store.footer(part).get("sums", {}))
    tried = {(t, int(name.rpartition("_n")[2])) for t, of_task in sums.items() for name in of_task if "candidates_n" in name}
    rows = []
    for task, n in sorted({*kept, *tried}):
        of_task = sums.get(task, Counter())
        row = {"task": task, "order": n, "gamma": gammas.get(task, {}).get(str(n)), "kept": kept[task, n]}
        row |= {"above": above[task, n], "candidates_of_order": int(of_task[f"candidates_n{n}"])}
        rows.append(row | {name: int(of_task[name]) for name in ("candidates", "below_gamma", "contained")})
    return rows


def _distribution(work: Work) -> dict[int, dict[int, int]]:
    """Per n: how many distinct n-grams occur 2^k to 2^(k+1) − 1 times, by 2^k."""
    counts: dict[int, Counter[int]] = {}
    for (order, occurrences), distinct in _tally(work, "ngram_counts", "order", "occurrences").items():
        counts.setdefault(order, Counter())[1 << (int(occurrences).bit_length() - 1)] += distinct
    return {order: dict(sorted(bins.items())) for order, bins in counts.items()}


def _pairs(work: Work, gammas: Mapping[str, Mapping[str, float]]) -> list[ExamplePair]:
    """Per task: the most frequent, a middling and the rarest pair of the first order that has documents to show."""
    if not (work.parts("pair_documents") and work.parts("task_grams") and work.parts("pair_counts")):
        return []
    illustrated = work.frame("pair_documents", *PAIR, "rank").filter(rank=0).drop("rank")
    counted = work.frame("pair_counts").join(illustrated, on=PAIR, how="semi")
    chosen: list[tuple[str, str, str, int]] = []
    for task in work.settings["tasks"]:
        name, order = task["name"], task["first_order"]
        above = pl.col("similarity") > gammas[name].get(str(order), -1.0)
        columns = ("task", "order", "similarity", *PAIR)
        mined = [b.filter(above, task=name, order=order) for b in _batches(work, "task_grams", *columns)]
        if mined:
            pairs = counted.join(pl.concat(mined).select(PAIR).unique(), on=PAIR, how="semi")
            rows = pairs.sort("documents", *PAIR, descending=[True, False, False]).rows()
            places = {(len(rows) - 1) * i // (PAIRS_PER_TASK - 1) for i in range(PAIRS_PER_TASK)} if rows else set()
            chosen += [(name, *rows[place]) for place in sorted(places)]
    wanted = pl.DataFrame([c[1:3] for c in chosen], schema=dict.fromkeys(PAIR, pl.String), orient="row").unique()
    documents: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for batch in _batches(work, "pair_documents"):
        kept = batch.filter(pl.col("rank") < DOCUMENTS_PER_PAIR).join(wanted, on=PAIR, how="semi", maintain_order="left")
        for row in kept.to_dicts():
            documents.setdefault((row["input_ngram"], row["output_ngram"]), []).append(row)
    ranked = {pair: tuple(sorted(rows, key=lambda r: r["rank"])) for pair, rows in documents.items()}
    return [ExamplePair(task, x, y, n, ranked.get((x, y), ())) for task, x, y, n in chosen]
