"""What else could make Mem_n or Mem_Δ: one remedy a row, next to the measure it is a remedy for (docs/method.md §6c).

    within s_y                 same output, different s_x: pooled mid-ranks, centred within s_y
    partial: …                 partial ρ at equal length (characters and words), df(s_y), model tokens of s_y, or all of them
    without templates          without s_x that occurs in more than 5 % of the examples
    window                     C counted within `level` words
    each example weighs 1      a row weighs 1 / rows of its example
    within group               mid-ranks inside a subject, relation or language pair, pooled
    mined elsewhere            with the pairs that the task named by `repeat_of` was mined for, from other files
    common examples            examples with rows at every n
    equal N                    draws of [measures] equal_rows rows, so that tasks can be compared: mean and spread
    without contaminated       counts without the documents that hold test text, at the first n
    reliability                ρ / √r, r: Spearman of the same log-probabilities under two prompts (`repeat_of`) on these rows
A remedy that does not apply to a task is a row that says why. Every number has the bootstrap of whole examples.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas import Study
from schemas.settings.study_file import Task
from schemas.settings.task_settings import MINED, PROMPTED
from tasks.measures import Measure, MetricRows, ModelCheckpoint, gammas_of, orders_of, settings_of_all_orders
from tasks.metrics.placebo import CorpusCounts, log_probs_of
from tasks.pair_evidence import (
    NO_EVIDENCE,
    NO_SCORE,
    PAIR,
    PAIRS_AND_SCORES,
    SpanScores,
    TaskEvidence,
    codes_of,
    floats,
    gamma_of_spans,
    log_p,
    log_pmi,
    partner_similarities,
    read_evidence,
)
from tasks.statistics import Estimate, Floats, Rows, bootstrap_many, correlate, undefined, with_interval
from tasks.statistics.partial import partial_correlation, rank_correlations
from tasks.statistics.stratified import equal_rows, pooled, pooled_draws
from tasks.step import Work

TEMPLATE = 0.05
CLEAN = "without contaminated documents"
Remedy = tuple[str, Estimate, Rows]


def settings(study: Study, task: Task) -> dict[str, Any]:
    other = study.task(task.repeat_of) if task.repeat_of else None
    return settings_of_all_orders(study, task) | {
        "first_order": task.first_order,
        "windows": sorted(study.counting.windows),
        "equal_rows": study.measures.equal_rows,
        "repeat_of": task.repeat_of,
        "other_prompt": other is not None and not task.agrees(other, PROMPTED),
        "other_mining": other is not None and not task.agrees(other, MINED),
    }


def run(work: Work, rows: MetricRows) -> None:
    """Every remedy for Mem_n and Mem_Δ, for every order and each model's last checkpoint."""
    evidence, other = read_evidence(work, rows.task, last=True), work.settings["repeat_of"]
    again = _other_prompt(work, evidence, other, rows.task) if work.settings["other_prompt"] else {}
    elsewhere = _mined_elsewhere(work, evidence, other) if work.settings["other_mining"] else None
    pairs = {n: evidence.supported(n) for n in orders_of(work)}
    common = set.intersection(*(set(table["example"].to_list()) for table in pairs.values()))
    for order in pairs:
        for checkpoint in evidence.models:
            for measure in ("mem_n", "mem_delta"):
                about = (work.settings, order, checkpoint, measure)
                repeated = again.get(checkpoint.key)
                check = Check.of(*about, evidence, elsewhere=elsewhere, common=common, again=repeated)
                more: dict[str, Any] = {"of": checkpoint, "order": order, "unit": "pair", "of_measure": measure}
                for detail, level, estimate, kept in check.remedies():
                    remedy: dict[str, Any] = {"detail": detail, "level": level}
                    size: dict[str, Any] = {"rows": len(kept), "examples": kept.examples, "clusters": kept.clusters}
                    rows.add("confound", "spearman", estimate, **size, **more, **remedy)
    _without_contaminated(work, rows, evidence)


def _without_contaminated(work: Work, rows: MetricRows, evidence: TaskEvidence) -> None:
    """Mem at the first n by counts without the documents that hold test text: what Mem owes to these goes with them."""
    order = work.settings["first_order"]
    phi = evidence.phi(order)
    every, clean = CorpusCounts.of(phi), CorpusCounts.of(phi, "clean_")
    clean.exclude(rows, "confound", CLEAN, order, every.supported)
    fewer = int((every.supported & (clean.pair < every.pair)).sum())
    note = f"{fewer} of {int(every.supported.sum())} rows are counted in fewer documents"
    for checkpoint in evidence.models:
        for measure in ("mem_n", "mem_delta"):
            y = log_probs_of(evidence, checkpoint, phi, measure)
            kept = evidence.rows(phi, clean.x(measure), y).take(np.isfinite(y) & clean.supported)
            why = clean.why_none(y)
            draws = (work.settings["draws"], work.settings["seed"])
            estimate = Estimate(None, note=why) if why else correlate(kept, *draws)
            more: dict[str, Any] = {"of": checkpoint, "order": order, "unit": "pair", "of_measure": measure, "note": note}
            more |= {"corpus": "clean", "detail": CLEAN}
            rows.add("confound", "spearman", estimate, rows=len(kept), examples=kept.examples, **more)


# -- the task named by `repeat_of` ---------------------------------------------------------------------------------------
def _with_partners(work: Work, evidence: TaskEvidence, mined_for: str, scores: SpanScores) -> SpanScores:
    """Scores whose other inputs are judged by the pairs that another task was mined for."""
    mined = work.frame("task_grams", "task", "order", *PAIR, "similarity").filter(task=mined_for)
    mined = mined.select(pl.col("order").cast(pl.Int64), *PAIR, pl.col("similarity").cast(pl.Float64))
    similarity = partner_similarities(evidence.inputs, evidence.spans, mined, scores.given, scores.span, len(evidence.examples))
    return replace(scores, similarity=similarity, gamma=gamma_of_spans(evidence.spans, gammas_of(work, mined_for)))


def _mined_elsewhere(work: Work, evidence: TaskEvidence, other: str) -> TaskEvidence:
    """The task with the pairs that the other one was mined for; both have the same evaluated examples."""
    key = ["example", "order", "output_ngram"]
    theirs = read_evidence(work, other, scored=False)
    pairs = theirs.pairs.drop("span").join(evidence.spans.select(*key, "span"), on=key).sort("order", "example", *PAIR)
    scores = {k: _with_partners(work, evidence, other, s) for k, s in evidence.scores.items()}
    return replace(evidence, pairs=pairs, scores=scores)


def _other_prompt(work: Work, evidence: TaskEvidence, other: str, task: str) -> dict[tuple[str, int], dict[str, Floats]]:
    """log P_LLM and Δ of the task's spans under the other task's prompt; NaN where that lacks the span."""
    theirs = read_evidence(work, other, last=True)
    key = ["name", "order", "output_ngram"]
    named = [
        e.spans.join(e.examples.select(name="example", example="code"), on="example", how="left", maintain_order="left")
        for e in (evidence, theirs)
    ]
    matched = named[0].join(named[1].select(*key, other="span"), on=key, how="left", maintain_order="left")
    at = matched["other"].fill_null(-1).to_numpy()
    scores = {k: _with_partners(work, theirs, task, s) for k, s in theirs.scores.items()}
    return {k: {"mem_n": np.append(s.log_prob, np.nan)[at], "mem_delta": np.append(s.delta, np.nan)[at]} for k, s in scores.items()}


@dataclass(frozen=True)
class Check:
    """One measure of one model at one order: its rows, and what the remedies need besides."""

    settings: Mapping[str, Any]
    evidence: TaskEvidence
    measure: str
    pairs: pl.DataFrame
    """the pairs that have a score"""
    rows: Rows
    missing: str
    """why there is no row at all"""
    tokens: Floats
    again: Floats
    """the same log-probabilities under another prompt"""
    common: set[int] = field(default_factory=set)
    elsewhere: "Check | None" = None

    @classmethod
    def of(
        cls,
        settings: Mapping[str, Any],
        order: int,
        checkpoint: ModelCheckpoint,
        measure: str,
        evidence: TaskEvidence,
        *,
        elsewhere: TaskEvidence | None = None,
        common: set[int] | None = None,
        again: dict[str, Floats] | None = None,
    ) -> "Check":
        """Select the rows that have a score; elsewhere: the same task with pairs mined from other files."""
        pairs, scores = evidence.supported(order), evidence.of(checkpoint)
        span = pairs["span"].to_numpy()
        y = (scores.log_prob if measure == "mem_n" else scores.delta)[span]
        kept = np.isfinite(y)
        rows = evidence.rows(pairs, log_p(pairs) if measure == "mem_n" else log_pmi(pairs), y).take(kept)
        missing = NO_EVIDENCE if not len(pairs) else NO_SCORE if not len(rows) and not np.isfinite(scores.log_prob).any() else ""
        repeated = np.full(len(span), np.nan) if again is None else again[measure][span]
        tokens = scores.tokens[span].astype(np.float64)
        mined = cls.of(settings, order, checkpoint, measure, elsewhere) if elsewhere else None
        scored = pairs.filter(pl.Series(kept))
        return cls(settings, evidence, measure, scored, rows, missing, tokens[kept], repeated[kept], common or set(), mined)

    def remedies(self) -> Iterator[tuple[str, float, Estimate, Rows]]:
        """Every remedy: its name, the width of a window (else -1), the number, and the rows it rests on."""
        none = self.rows.take(np.zeros(len(self.rows), dtype=bool))
        why = self.missing or undefined(self.rows, *self.names)
        each = (
            self._within_output,
            self._partials,
            self._templates,
            self._weighted,
            self._group,
            self._elsewhere,
            self._common,
            self._equal,
            self._reliability,
        )
        for level, (detail, estimate, rows) in chain(((-1.0, r) for remedy in each for r in remedy()), self._windows()):
            yield (detail, level, Estimate(None, note=why), none) if why else (detail, level, estimate, rows)

    @property
    def names(self) -> tuple[str, str]:
        return ("log P_n", "log P_LLM") if self.measure == "mem_n" else ("log PMI", "Δ")

    # -- the same numbers under other ranks --------------------------------------------------------------------------
    def _within_output(self) -> Iterator[Remedy]:
        pairs = np.unique(np.column_stack([self.rows.output, self.rows.example]), axis=0)
        outputs, examples = np.unique(pairs[:, 0], return_counts=True)
        rows = self.rows.take(np.isin(self.rows.output, outputs[examples > 1]))
        yield self._pooled("within s_y", rows, rows.output, "no output n-gram occurs in two examples", inside=False)

    def _group(self) -> Iterator[Remedy]:
        groups = self.evidence.examples["group"].to_numpy().astype(str)
        code = codes_of(groups[self.rows.example]) if len(self.rows) else self.rows.example
        one = "" if len(np.unique(code)) > 1 else "all examples are of one group"
        yield self._pooled("within group", self.rows, code, one, inside=True)

    def _pooled(self, detail: str, rows: Rows, group: NDArray[np.int64], why: str, *, inside: bool) -> Remedy:
        """A pooled correlation within groups; `why` is given where there is nothing to pool, or nothing varies in it."""
        if not len(rows) or (inside and why):
            return detail, Estimate(None, note=why), rows
        columns = (rows.x, rows.y, codes_of(group), codes_of(rows.example))
        value = float(pooled(*columns, np.ones((1, rows.examples), dtype=np.int32), ranked_inside=inside)[0])
        if not np.isfinite(value):
            return detail, Estimate(None, note=f"{self.names[0]} or {self.names[1]} does not vary within the groups"), rows
        drawn = pooled_draws(*columns, self.settings["draws"], self.settings["seed"], ranked_inside=inside)
        return detail, _interval(value, drawn, rows), rows

    def _partials(self) -> Iterator[Remedy]:
        text = self.pairs["output_ngram"]
        characters, words = floats(text.str.len_chars()), floats(text.str.count_matches(" ") + 1)
        controls = {
            "length of s_y": [characters, words],
            "frequency of s_y": [floats(self.pairs["output_documents"])],
            "tokens of s_y": [self.tokens],
        }
        varying = {name: [v for v in values if len(np.unique(v)) > 1] for name, values in controls.items()}
        used = np.array([self.rows.x, self.rows.y, *(v for values in varying.values() for v in values)])
        at, place = {}, 2
        for name, values in varying.items():
            at[name] = list(range(place, place + len(values)))
            place += len(values)
        at["all"] = list(range(2, place))
        point = drawn = np.empty((0, 0, 0))
        if not self.missing and not undefined(self.rows):
            point = rank_correlations(used)[None]
            drawn = bootstrap_many(used, self.rows.example, None, self.settings["draws"], self.settings["seed"])
        for name, controlled in at.items():
            if not len(point):
                estimate = Estimate(None, note="nothing to correlate")
            elif not controlled:
                estimate = Estimate(None, note=f"{name} is the same in all rows" if name != "all" else "no control varies")
            else:
                value = float(partial_correlation(point, controlled)[0])
                estimate = _interval(value, partial_correlation(drawn, controlled), self.rows)
            yield f"partial: {name}", estimate, self.rows

    def _weighted(self) -> Iterator[Remedy]:
        rows, detail = self.rows, "each example weighs 1"
        each = np.bincount(rows.example)[rows.example] if len(rows) else np.empty(0)
        if not len(rows) or each.max() == each.min():
            yield detail, Estimate(None, note="every example has as many rows"), rows
        elif not undefined(rows):
            columns, weights = np.array([rows.x, rows.y]), 1 / each
            drawn = bootstrap_many(columns, rows.example, None, self.settings["draws"], self.settings["seed"], weights=weights)
            yield detail, _interval(float(rank_correlations(columns, weights)[0, 1]), drawn[:, 0, 1], rows), rows
        else:
            yield detail, Estimate(None, note=undefined(rows, *self.names)), rows

    # -- other rows, or other counts ---------------------------------------------------------------------------------
    def _rho(self, detail: str, rows: Rows) -> Remedy:
        x, y = self.names
        return detail, correlate(rows, self.settings["draws"], self.settings["seed"], x_name=x, y_name=y), rows

    def _templates(self) -> Iterator[Remedy]:
        held = self.evidence.inputs.group_by("input_ngram").agg(pl.col("example").n_unique())
        often = held.filter(pl.col("example") > TEMPLATE * len(self.evidence.examples))["input_ngram"]
        keep = ~self.pairs["input_ngram"].is_in(often.implode()).to_numpy()
        detail = "without templates"
        if keep.all():
            yield detail, Estimate(None, note="no s_x occurs in more than 5 % of the examples"), self.rows
        else:
            yield self._rho(detail, self.rows.take(keep))

    def _windows(self) -> Iterator[tuple[float, Remedy]]:
        for i, width in enumerate(self.settings["windows"]):
            within = self.pairs.with_columns(near=pl.col("window_documents").list.get(i))
            near = within["near"].to_numpy() > 0
            of = log_p if self.measure == "mem_n" else log_pmi
            rows = replace(self.rows.take(near), x=of(within.filter(pl.Series(near)), "near"))
            yield float(width), self._rho("window", rows)
        if not self.settings["windows"]:
            none = Estimate(None, note="no window is counted; name widths under [counting] windows")
            yield -1.0, ("window", none, self.rows)

    def _elsewhere(self) -> Iterator[Remedy]:
        note = "name under `repeat_of` a task with the same examples, mined from other files"
        if self.elsewhere is None:
            yield "mined elsewhere", Estimate(None, note=note), self.rows
        else:
            detail, estimate, rows = self._rho("mined elsewhere", self.elsewhere.rows)
            yield detail, Estimate(None, note=NO_EVIDENCE) if not len(rows) else estimate, rows

    def _common(self) -> Iterator[Remedy]:
        if len(self.settings["gamma"]) < 2:
            yield "common examples", Estimate(None, note="the task has one n"), self.rows
        else:
            yield self._rho("common examples", self.rows.take(np.isin(self.rows.example, sorted(self.common))))

    def _equal(self) -> Iterator[Remedy]:
        wanted, rows, detail = self.settings["equal_rows"], self.rows, "equal N"
        if not wanted or len(rows) < wanted or undefined(rows):
            why = f"fewer than {wanted} rows" if wanted else "name [measures] equal_rows: the rows of the smallest task"
            yield detail, Estimate(None, note=why), rows
            return
        columns = (rows.x, rows.y, codes_of(rows.example))
        drawn = equal_rows(*columns, wanted, self.settings["draws"], self.settings["seed"])
        value = float(np.nanmean(drawn)) if np.isfinite(drawn).any() else float("nan")
        note = f"mean and spread of ρ over draws of about {wanted} rows"
        yield detail, _interval(value, drawn, rows, note), rows

    def _reliability(self) -> Iterator[Remedy]:
        detail, both = "reliability", np.isfinite(self.again)
        rows, again = self.rows.take(both), self.again[both]
        if not self.settings["other_prompt"]:
            note = "name under `repeat_of` a task with the same examples and another prompt"
        elif not len(rows):
            note = "no log-probability under the other prompt"
        else:
            note = undefined(rows, *self.names) or undefined(replace(rows, x=again), f"{self.names[1]} again")
        if note:
            yield detail, Estimate(None, note=note), rows
            return
        columns = np.array([rows.x, rows.y, again])
        point = rank_correlations(columns)
        drawn = bootstrap_many(columns, rows.example, None, self.settings["draws"], self.settings["seed"])
        with np.errstate(invalid="ignore", divide="ignore"):
            value, corrected = point[0, 1] / np.sqrt(point[1, 2]), drawn[:, 0, 1] / np.sqrt(drawn[:, 1, 2])
        note = f"reliability {point[1, 2]:.4f}"
        if not abs(value) <= 1:
            yield detail, Estimate(None, note=f"{note}: too low to divide by"), rows
        else:  # draws beyond 1 are those whose reliability is too low: the interval ends at 1
            corrected = np.where(np.isnan(corrected), corrected, np.clip(corrected, -1, 1))
            yield detail, _interval(float(value), corrected, rows, note), rows


def _interval(value: float, drawn: Floats, rows: Rows, note: str = "") -> Estimate:
    """A number with the interval of its draws."""
    if not np.isfinite(value):
        return Estimate(None, note="not defined: what is held fixed leaves nothing to vary")
    return with_interval(value, drawn if rows.examples > 1 else None, note)


READS = (*PAIRS_AND_SCORES, "task_grams")
MEASURE = Measure("confounds", READS, settings, run, cost=10.0)
