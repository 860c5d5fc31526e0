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
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from schemas import Study
from schemas.settings.study_file import Task
from schemas.settings.task_settings import MINED, PROMPTED
from tasks.measures import Measure, MetricRows, gammas_of, orders_of, settings_of_all_orders
from tasks.metrics.attribution import length_of
from tasks.metrics.placebo import exclude_unsupported, why_no_counts
from tasks.pair_evidence import PAIR, PAIRS_AND_SCORES, TaskEvidence, gamma_of_spans, partner_similarities, read_evidence
from tasks.pair_measures import MEM_DELTA, MEM_N, NO_EVIDENCE, PairMeasure, SpanScores, codes_of, floats, is_supported, why_none
from tasks.statistics import Estimate, Floats, Ints, Rows, bootstrap_many, correlate, undefined, with_interval
from tasks.statistics.partial import partial_correlation, rank_correlations
from tasks.statistics.stratified import equal_rows, pooled, pooled_draws
from tasks.step import Work

TEMPLATE = 0.05
OTHERS = {"prompt": PROMPTED, "mining": MINED}  # in what a repeated task may differ
CLEAN = "without contaminated documents"
NOTHING_VARIES = "not defined: what is held fixed leaves nothing to vary"
Remedy = tuple[Estimate, Rows]


def settings(study: Study, task: Task) -> dict[str, Any]:
    other = study.task(task.repeat_of) if task.repeat_of else None
    differs = {f"other_{what}": other is not None and not task.agrees(other, of) for what, of in OTHERS.items()}
    more = {"first_order": task.first_order, "windows": sorted(study.counting.windows), "equal_rows": study.measures.equal_rows}
    return settings_of_all_orders(study, task) | more | {"repeat_of": task.repeat_of} | differs


def run(work: Work, rows: MetricRows) -> None:
    """Every remedy for Mem_n and Mem_Δ, for every order and each model's last checkpoint."""
    evidence, other = read_evidence(work, rows.task, last=True), work.settings["repeat_of"]
    again = _other_prompt(work, evidence, other, rows.task) if work.settings["other_prompt"] else {}
    elsewhere = _mined_elsewhere(work, evidence, other) if work.settings["other_mining"] else None
    pairs = {n: evidence.supported(n) for n in orders_of(work)}
    common = set.intersection(*(set(table["example"].to_list()) for table in pairs.values()))
    for order, supported in pairs.items():
        for checkpoint in evidence.models:
            for measure in (MEM_N, MEM_DELTA):
                scores, repeated = evidence.of(checkpoint), again.get(checkpoint.key, {}).get(measure.name)
                mined = None
                if elsewhere:
                    mined = Check(work.settings, elsewhere, measure, elsewhere.supported(order), elsewhere.of(checkpoint))
                check = Check(work.settings, evidence, measure, supported, scores, repeated, common, mined)
                more: dict[str, Any] = {"of": checkpoint, "order": order, "unit": "pair", "of_measure": measure.name}
                for detail, level, estimate, kept in check.remedies():
                    rows.add("confound", "spearman", estimate, over=kept, detail=detail, level=level, **more)
    _without_contaminated(work, rows, evidence)


def _without_contaminated(work: Work, rows: MetricRows, evidence: TaskEvidence) -> None:
    """Mem at the first n by counts without the documents that hold test text: what Mem owes to these goes with them."""
    order = work.settings["first_order"]
    phi = evidence.phi(order)
    every = is_supported(phi)
    exclude_unsupported(rows, "confound", CLEAN, order, phi, "clean_", every)
    fewer = int((every & (floats(phi["clean_pair_documents"]) < floats(phi["pair_documents"]))).sum())
    note = f"{fewer} of {int(every.sum())} rows are counted in fewer documents"
    for checkpoint in evidence.models:
        for measure in (MEM_N, MEM_DELTA):
            y = measure.y(evidence.of(checkpoint))[phi["span"].to_numpy()]
            kept = evidence.rows(phi, measure.x(phi, "clean_"), y).take(np.isfinite(y) & is_supported(phi, "clean_"))
            why = why_no_counts(phi, "clean_", y)
            estimate = Estimate(None, note=why) if why else correlate(kept, work.settings["draws"], work.settings["seed"])
            more: dict[str, Any] = {"of": checkpoint, "order": order, "unit": "pair", "of_measure": measure.name}
            rows.add("confound", "spearman", estimate, over=kept, note=note, corpus="clean", detail=CLEAN, **more)


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
    names = [(e.spans, e.examples.select(name="example", example="code")) for e in (evidence, theirs)]
    named = [spans.join(of, on="example", how="left", maintain_order="left") for spans, of in names]
    matched = named[0].join(named[1].select(*key, other="span"), on=key, how="left", maintain_order="left")
    at = matched["other"].fill_null(-1).to_numpy()
    scores = {k: _with_partners(work, theirs, task, s) for k, s in theirs.scores.items()}
    return {k: {"mem_n": np.append(s.log_prob, np.nan)[at], "mem_delta": np.append(s.delta, np.nan)[at]} for k, s in scores.items()}


@dataclass(frozen=True)
class Check:
    """One measure of one model at one order, and what the remedies need besides."""

    settings: Mapping[str, Any]
    evidence: TaskEvidence
    measure: PairMeasure
    supported: pl.DataFrame
    scores: SpanScores
    repeated: Floats | None = None
    """log P_LLM or Δ of each span under another prompt"""
    common: set[int] = field(default_factory=set)
    elsewhere: "Check | None" = None
    """the same task with pairs mined from other files"""

    @cached_property
    def pairs(self) -> pl.DataFrame:
        """The pairs that have a score."""
        scored = np.isfinite(self.measure.y(self.scores)[self.supported["span"].to_numpy()])
        return self.supported.filter(pl.Series(scored, dtype=pl.Boolean))

    @cached_property
    def span(self) -> Ints:
        """Of each pair, its span."""
        return self.pairs["span"].to_numpy()

    @cached_property
    def rows(self) -> Rows:
        """Their counts and scores."""
        return self.evidence.rows(self.pairs, self.measure.x(self.pairs), self.measure.y(self.scores)[self.span])

    @cached_property
    def why(self) -> str:
        """Why there is no number at all."""
        return why_none(self.supported, self.rows, self.scores, self.measure.names)

    def remedies(self) -> Iterator[tuple[str, float, Estimate, Rows]]:
        """Every remedy: its name, the width of a window (else -1), the number, and the rows it rests on."""
        none = self.rows.take(np.zeros(len(self.rows), dtype=bool))
        each = {"within s_y": self._within_output, "without templates": self._templates, "each example weighs 1": self._weighted}
        each |= {"within group": self._group, "mined elsewhere": self._elsewhere, "common examples": self._common}
        each |= {"equal N": self._equal, "reliability": self._reliability}
        done = [(name, -1.0, *remedy()) for name, remedy in each.items()] + [*self._partials(), *self._windows()]
        for name, level, estimate, rows in done:
            yield (name, level, Estimate(None, note=self.why), none) if self.why else (name, level, estimate, rows)

    # -- the same numbers under other ranks --------------------------------------------------------------------------
    def _within_output(self) -> Remedy:
        pairs = np.unique(np.column_stack([self.rows.output, self.rows.example]), axis=0)
        outputs, examples = np.unique(pairs[:, 0], return_counts=True)
        rows = self.rows.take(np.isin(self.rows.output, outputs[examples > 1]))
        return self._pooled(rows, rows.output, "" if len(rows) else "no output n-gram occurs in two examples", inside=False)

    def _group(self) -> Remedy:
        groups = self.evidence.examples["group"].to_numpy().astype(str)
        code = codes_of(groups[self.rows.example]) if len(self.rows) else self.rows.example
        return self._pooled(self.rows, code, "" if len(np.unique(code)) > 1 else "all examples are of one group", inside=True)

    def _pooled(self, rows: Rows, group: Ints, why: str, *, inside: bool) -> Remedy:
        """A pooled correlation within groups; `why` is given where there is nothing to pool, or nothing varies in it."""
        if why:
            return Estimate(None, note=why), rows
        columns = (rows.x, rows.y, codes_of(group), codes_of(rows.example))
        value = float(pooled(*columns, np.ones((1, rows.examples), dtype=np.int32), ranked_inside=inside)[0])
        if not np.isfinite(value):
            return Estimate(None, note=f"{' or '.join(self.measure.names)} does not vary within the groups"), rows
        return self._interval(value, pooled_draws(*columns, *self._draws, ranked_inside=inside), rows)

    def _partials(self) -> Iterator[tuple[str, float, Estimate, Rows]]:
        controls = {
            "length of s_y": length_of(self.pairs),
            "frequency of s_y": [floats(self.pairs["output_documents"])],
            "tokens of s_y": [self.scores.tokens[self.span].astype(np.float64)],
        }
        columns, at = [self.rows.x, self.rows.y], dict[str, list[int]]()
        for name, values in controls.items():
            varying = [v for v in values if len(np.unique(v)) > 1]
            at[name] = list(range(len(columns), len(columns) + len(varying)))
            columns += varying
        at["all"] = list(range(2, len(columns)))
        table, point, drawn = np.array(columns), np.empty((0, 0, 0)), np.empty((0, 0, 0))
        if not self.why:
            point, drawn = rank_correlations(table)[None], bootstrap_many(table, self.rows.example, None, *self._draws)
        for name, controlled in at.items():
            note = f"{name} is the same in all rows" if name != "all" else "no control varies"
            estimate = Estimate(None, note=note if len(point) else "nothing to correlate")
            if len(point) and controlled:
                value = float(partial_correlation(point, controlled)[0])
                estimate, _ = self._interval(value, partial_correlation(drawn, controlled), self.rows)
            yield f"partial: {name}", -1.0, estimate, self.rows

    def _weighted(self) -> Remedy:
        rows = self.rows
        each = np.bincount(rows.example)[rows.example] if len(rows) else np.empty(0)
        alike = not len(rows) or each.max() == each.min()
        if why := "every example has as many rows" if alike else undefined(rows, *self.measure.names):
            return Estimate(None, note=why), rows
        columns, weights = np.array([rows.x, rows.y]), 1 / each
        drawn = bootstrap_many(columns, rows.example, None, *self._draws, weights=weights)
        return self._interval(float(rank_correlations(columns, weights)[0, 1]), drawn[:, 0, 1], rows)

    # -- other rows, or other counts ---------------------------------------------------------------------------------
    @property
    def _draws(self) -> tuple[int, int]:
        return self.settings["draws"], self.settings["seed"]

    def _rho(self, rows: Rows) -> Remedy:
        x, y = self.measure.names
        return correlate(rows, *self._draws, x_name=x, y_name=y), rows

    def _interval(self, value: float, drawn: Floats, rows: Rows, note: str = "") -> Remedy:
        return with_interval(value, drawn if rows.examples > 1 else None, note, NOTHING_VARIES), rows

    def _templates(self) -> Remedy:
        held = self.evidence.inputs.group_by("input_ngram").agg(pl.col("example").n_unique())
        often = held.filter(pl.col("example") > TEMPLATE * len(self.evidence.examples))["input_ngram"]
        keep = ~self.pairs["input_ngram"].is_in(often.implode()).to_numpy()
        none = Estimate(None, note="no s_x occurs in more than 5 % of the examples")
        return (none, self.rows) if keep.all() else self._rho(self.rows.take(keep))

    def _windows(self) -> Iterator[tuple[str, float, Estimate, Rows]]:
        for i, width in enumerate(self.settings["windows"]):
            within = self.pairs.with_columns(near=pl.col("window_documents").list.get(i))
            near = within["near"].to_numpy() > 0
            rows = replace(self.rows.take(near), x=self.measure.x(within.filter(pl.Series(near)), count="near"))
            yield "window", float(width), *self._rho(rows)
        if not self.settings["windows"]:
            yield "window", -1.0, Estimate(None, note="no window is counted; name widths under [counting] windows"), self.rows

    def _elsewhere(self) -> Remedy:
        if self.elsewhere is None:
            note = "name under `repeat_of` a task with the same examples, mined from other files"
            return Estimate(None, note=note), self.rows
        rows = self.elsewhere.rows
        return self._rho(rows) if len(rows) else (Estimate(None, note=NO_EVIDENCE), rows)

    def _common(self) -> Remedy:
        if len(self.settings["gamma"]) < 2:
            return Estimate(None, note="the task has one n"), self.rows
        return self._rho(self.rows.take(np.isin(self.rows.example, sorted(self.common))))

    def _equal(self) -> Remedy:
        wanted, rows = self.settings["equal_rows"], self.rows
        if not wanted or len(rows) < wanted or undefined(rows):
            why = f"fewer than {wanted} rows" if wanted else "name [measures] equal_rows: the rows of the smallest task"
            return Estimate(None, note=why), rows
        drawn = equal_rows(rows.x, rows.y, codes_of(rows.example), wanted, *self._draws)
        value = float(np.nanmean(drawn)) if np.isfinite(drawn).any() else float("nan")
        return self._interval(value, drawn, rows, f"mean and spread of ρ over draws of about {wanted} rows")

    def _reliability(self) -> Remedy:
        again = np.full(len(self.rows), np.nan) if self.repeated is None else self.repeated[self.span]
        rows, again = self.rows.take(np.isfinite(again)), again[np.isfinite(again)]
        if not self.settings["other_prompt"]:
            note = "name under `repeat_of` a task with the same examples and another prompt"
        elif not len(rows):
            note = "no log-probability under the other prompt"
        else:
            note = undefined(rows, *self.measure.names) or undefined(replace(rows, x=again), f"{self.measure.names[1]} again")
        if note:
            return Estimate(None, note=note), rows
        columns = np.array([rows.x, rows.y, again])
        point, drawn = rank_correlations(columns), bootstrap_many(columns, rows.example, None, *self._draws)
        with np.errstate(invalid="ignore", divide="ignore"):
            value, corrected = point[0, 1] / np.sqrt(point[1, 2]), drawn[:, 0, 1] / np.sqrt(drawn[:, 1, 2])
        note = f"reliability {point[1, 2]:.4f}"
        if not abs(value) <= 1:
            return Estimate(None, note=f"{note}: too low to divide by"), rows
        # draws beyond 1 are those whose reliability is too low: the interval ends at 1
        return self._interval(float(value), np.where(np.isnan(corrected), corrected, np.clip(corrected, -1, 1)), rows, note)


READS = (*PAIRS_AND_SCORES, "task_grams")
MEASURE = Measure("confounds", READS, settings, run, cost=10.0)
