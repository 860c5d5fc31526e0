"""Distributional memorization: do a model's probabilities follow the corpus's? (arXiv 2407.14985, Def. 3; docs/method.md §6-8)

    Mem_n = ρ_Spearman( log P_n(s_y | s_x), log P_LLM(s_y | u ⊕ x ⊕ y_<) ) over Φ,   P_n = C(s_x, s_y) / df(s_x)
    Mem_Δ = ρ_Spearman( log [C(s_x, s_y) / (df(s_x) · df(s_y))], Δ ),   Δ = log P_LLM after x - mean after other inputs
    Mem_∞ = ρ_Spearman( log P_∞(s_y | ctx), log P_LLM )

Mem_n alone cannot tell a model that knows the pair from one that knows how frequent s_y is; Mem_Δ can (docs/method.md §6a). A
task whose pairs have no support in the corpus has no Mem: null with the reason, never 0.

A correlation is reported by both estimands of docs/method.md §6b, with the other coefficients next to Spearman's (`interval`):

    ""            percentile bootstrap over whole examples: these facts, new examples
    "two_way"     ρ ± t · SE, clustered by example and by s_y: new facts too; with the p that belongs to it
    "pigeonhole"  bootstrap over examples × s_y: new facts too, cautious
    "bca"         the first, corrected for bias and skewness (Efron 1987)
    "permutation" one row per distinct s_y, permuted within the example's group: only where each example has one s_y
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas import Study
from schemas.settings.study_file import Task
from tasks.measures import Measure, MetricRows, ModelCheckpoint, orders_of, settings_of_all_orders
from tasks.pair_evidence import (
    NO_EVIDENCE,
    NO_SCORE,
    PAIRS_AND_SCORES,
    SpanScores,
    TaskEvidence,
    by_output,
    codes_of,
    first_rows,
    floats,
    log_p,
    log_pmi,
    read_evidence,
    rho,
    supported,
)
from tasks.statistics import (
    Estimate,
    Rows,
    bca_interval,
    bootstrap_many,
    cluster_sizes,
    correlate,
    kendall_order,
    percentile_interval,
    permutation_p,
    spearman,
    two_way,
    undefined,
)
from tasks.step import Work

OTHER_TOKENS = "the model's tokens are not those the corpus was counted in; name its tokenizer.json under [tokenizer]"
LEAST_COUNTS = (2, 5, 10)
INTERVALS = ("", "two_way", "pigeonhole", "bca", "permutation")
# for each test of the family, so that Benjamini-Hochberg's smallest step can be reached (docs/method.md §6b)
PERMUTATIONS = 20
Mask = NDArray[np.bool_]
Names = tuple[str, str]
MEM_N, MEM_DELTA, MEM_INFINITY = ("log P_n", "log P_LLM"), ("log PMI", "Δ"), ("log P_∞", "log P_LLM")


def settings(study: Study, task: Task) -> dict[str, Any]:
    family = 2 * len(study.tasks) * len(study.models)  # Mem_n and Mem_Δ
    permutations = max(1_000, -(-PERMUTATIONS * family // 1_000) * 1_000)  # one more model need not change it
    more = {"first_order": task.first_order, "whole_answer": task.whole_answer, "permutations": permutations}
    return settings_of_all_orders(study, task) | more


def run(work: Work, rows: MetricRows) -> None:
    """Mem_n, Mem_∞, Mem_Δ and the ablations for every order and model."""
    evidence = read_evidence(work, rows.task)
    for order in sorted({*orders_of(work), work.settings["first_order"]}):
        _exclude_pairs(work, rows, evidence, order)
        phi = evidence.phi(order)
        for checkpoint in evidence.models:
            about = (work.settings, rows, checkpoint, order, evidence, evidence.of(checkpoint))
            Correlations(*about, phi, supported(phi)).add_all()


def _exclude_pairs(work: Work, rows: MetricRows, evidence: TaskEvidence, order: int) -> None:
    """What was left out whatever the model."""
    from tasks.text.words.analyzer import normalise

    phi, outputs = evidence.phi(order), evidence.examples["output"]
    with_output = set(evidence.spans.filter(order=order)["example"].to_list())
    without = [i for i in range(len(outputs)) if i not in with_output]
    short = 0 if work.settings["whole_answer"] else sum(len(normalise(outputs[i]).split()) < order for i in without)
    uncounted, zero = phi["pair_documents"].null_count(), int((phi["pair_documents"] == 0).sum())
    lost = len(phi) - uncounted - zero - len(supported(phi))  # a broken contract of the counts, if not 0
    for reason, number, counted in (
        ("output shorter than n", short, "examples"),
        ("no n-gram of the output left", len(without) - short, "examples"),
        ("pair not mined above γ", evidence.candidates(order) - len(phi), "rows"),
        ("pair never counted", uncounted, "rows"),
        ("zero corpus count", zero, "rows"),
        ("n-gram never counted", lost, "rows"),
    ):
        rows.exclude("mem_n", reason, number, counted, order=order)


@dataclass(frozen=True)
class Correlations:
    """All correlations of one model at one order, as rows of `metrics`."""

    settings: Mapping[str, Any]
    out: MetricRows
    checkpoint: ModelCheckpoint
    order: int
    evidence: TaskEvidence
    scores: SpanScores
    phi: pl.DataFrame
    pairs: pl.DataFrame
    """the rows of Φ with support in the corpus"""

    def add_all(self) -> None:
        """All measures, and what each left out."""
        span = self.pairs["span"].to_numpy()
        log_prob, delta = self.scores.log_prob[span], self.scores.delta[span]
        scored, contrasted = np.isfinite(log_prob), np.isfinite(delta)
        rows = self.evidence.rows(self.pairs, log_p(self.pairs), log_prob)
        unscored = {"no score": np.isnan(log_prob), "infinite log-probability": np.isinf(log_prob)}
        self.count("mem_n", unscored | {"kept": scored})
        no_other = {"no other input without a partner": scored & ~contrasted}
        self.count("mem_delta", unscored | no_other | {"kept": contrasted})
        self.both_units("mem_n", rows, scored, MEM_N)
        self.both_units("mem_delta", self.evidence.rows(self.pairs, log_pmi(self.pairs), delta), contrasted, MEM_DELTA)
        self.infinity(rows.take(scored), span[scored])
        self.selections(rows, scored)
        if self.order == self.settings["first_order"]:
            self.ablations(self.pairs.filter(pl.Series(scored)), rows.take(scored))

    # -- measures ---------------------------------------------------------------------------------------------------
    def both_units(self, measure: str, rows: Rows, keep: Mask, names: Names) -> None:
        """Mem_n or Mem_Δ; in a planted world also next to the generator's own correlation."""
        optimal, plan = floats(self.pairs["optimal_log_probability"]), floats(self.pairs["planted_pair_documents"])
        with np.errstate(divide="ignore"):
            planned = np.log(plan / floats(self.pairs["planted_input_documents"]))
        kept, planted = rows.take(keep), np.isfinite(optimal) & np.isfinite(planned) & keep
        truth = None
        if planted.any():
            # The generator's own Δ: after an input without a partner it gives every output the same small probability.
            x = planned if measure == "mem_n" else rows.x
            truth = rho(Rows(x[planted], optimal[planted], rows.example[planted], rows.output[planted]))
            note = f"rows of planted pairs: {int(planted.sum())} of {len(kept)}"
            self.spearman(measure, "pair", rows.take(planted), names, detail="planted", truth=truth, note=note)
        self.primary(measure, "pair", kept, names, truth=truth)
        self.primary(measure, "example_output", by_output(kept), names)

    def infinity(self, rows: Rows, span: NDArray[np.int64]) -> None:
        """Mem_∞, one row per (example, s_y), next to Mem_n on the same rows (docs/method.md §7)."""
        merged, at = by_output(rows), span[first_rows(rows)]
        same_tokens = self.evidence.shares_tokens(self.checkpoint)
        nowhere = "a token of s_y does not occur in the corpus"
        unseen = "paper: all tokens of s_y unseen after their longest suffix"
        for detail, column in (("", "log_infinity"), ("paper", "log_infinity_paper")):
            values = self.evidence.spans[column].to_numpy()[at] if same_tokens else np.full(len(at), np.nan)
            finite = np.isfinite(values)
            no_count = "no ∞-gram count" if same_tokens else OTHER_TOKENS
            common = merged.take(finite)
            infinite = replace(common, x=values[finite])
            missing = "no row has an ∞-gram probability" if len(merged) and not finite.any() else ""
            missing = missing if same_tokens else OTHER_TOKENS
            about = ("mem_infinity", "example_output", infinite, MEM_INFINITY)
            if detail:
                self.count("mem_infinity", {unseen: np.isneginf(values), "paper: kept": finite})
                self.spearman(*about, detail=detail, note=missing)
            else:
                self.count("mem_infinity", {no_count: np.isnan(values), nowhere: np.isneginf(values), "kept": finite})
                self.primary(*about, note=missing)
                self.spearman("mem_n", "example_output", common, MEM_N, detail="common with mem_infinity")

    def selections(self, rows: Rows, scored: Mask) -> None:
        """Mem_n by the paper's denominators at every n; other selections of rows at the first n (docs/method.md §4, §6a)."""
        pairs = self.pairs
        paper = np.log(floats(pairs["pair_documents"]) / np.maximum(floats(pairs["input_occurrences"]), 1))
        self.spearman("mem_n", "pair", replace(rows, x=paper).take(scored), MEM_N, detail="occurrences")
        if self.order != self.settings["first_order"]:
            return
        for least in LEAST_COUNTS:
            enough = scored & (floats(pairs["pair_documents"]) >= least)
            self.spearman("mem_n", "pair", rows.take(enough), MEM_N, detail="count_at_least", level=least)
        counted = self.phi.drop_nulls(["pair_documents", "input_documents"])
        count, inputs = floats(counted["pair_documents"]), floats(counted["input_documents"])
        log_prob = self.scores.log_prob[counted["span"].to_numpy()]
        lowest = self.evidence.rows(counted, count / np.maximum(inputs, 1), log_prob)  # ranks need no logarithm
        add_half = replace(lowest, x=np.log((count + 0.5) / (inputs + 1)))
        for detail, smoothed in (("zeros_lowest", lowest), ("add_half", add_half)):
            self.spearman("mem_n", "pair", smoothed.take(np.isfinite(log_prob)), MEM_N, detail=detail)

    def ablations(self, pairs: pl.DataFrame, rows: Rows) -> None:
        """What log P_n is made of, each part alone on the same rows (docs/method.md §6a)."""
        for detail, column, sign in (
            ("log_count", "pair_documents", 1),
            ("neg_log_input_documents", "input_documents", -1),
            ("log_output_documents", "output_documents", 1),
        ):
            part = replace(rows, x=sign * np.log(floats(pairs[column])))
            self.spearman("mem_ablation", "pair", part, (detail, "log P_LLM"), detail=detail)

    # -- how a correlation is reported --------------------------------------------------------------------------------
    def primary(self, measure: str, unit: str, rows: Rows, names: Names, *, truth: float | None = None, note: str = "") -> None:
        """Every estimate of one measure in one unit."""
        if why := self.why(rows, names):
            estimates = {interval: Estimate(None, note=why) for interval in INTERVALS}
        else:
            estimates = self._intervals(rows) | {"permutation": self._permutation(rows)}
        for interval, estimate in estimates.items():
            about = {"truth": truth, "note": note} if not interval else {}
            self.add(measure, "spearman", estimate, unit, rows, interval=interval, **about)
        self.others(measure, unit, rows, names)

    def _intervals(self, rows: Rows) -> dict[str, Estimate]:
        draws = (self.settings["draws"], self.settings["seed"])
        value, about = spearman(rows.x, rows.y), "interval over new examples and new output n-grams"
        examples, outputs, note = cluster_sizes(rows)
        cautious = two_way(rows, value)
        if rows.examples < 2:
            alone = "no interval: one example"
            without = {interval: Estimate(value, note=alone, clusters=examples) for interval in ("pigeonhole", "bca")}
            return {"": Estimate(value, note=_join(note, alone), clusters=examples), "two_way": cautious, **without}
        columns = np.array([rows.x, rows.y])
        drawn = bootstrap_many(columns, rows.example, None, *draws)[:, 0, 1]
        both = bootstrap_many(columns, rows.example, rows.output, *draws)[:, 0, 1]
        low, high, missing = percentile_interval(drawn)
        wide_low, wide_high, wide_missing = percentile_interval(both)
        bca_low, bca_high, bca_missing = bca_interval(rows, drawn, value)
        wide_note = _join(about, note, wide_missing)
        return {
            "": Estimate(value, low, high, note=_join(note, missing), clusters=examples),
            "two_way": cautious,
            "pigeonhole": Estimate(value, wide_low, wide_high, note=wide_note, clusters=min(examples, outputs)),
            "bca": Estimate(value, bca_low, bca_high, note=bca_missing, clusters=examples),
        }

    def _permutation(self, rows: Rows) -> Estimate:
        if self.order != self.settings["first_order"]:
            return Estimate(None, note="taken at the task's first n alone, for which the permutations are enough")
        groups = codes_of(self.evidence.examples["group"].to_numpy().astype(str)[rows.example])
        return permutation_p(rows, groups, self.settings["permutations"], self.settings["seed"])

    def spearman(self, measure: str, unit: str, rows: Rows, names: Names, **more: Any) -> None:
        """One correlation with its interval over examples."""
        why = self.why(rows, names)
        estimate = Estimate(None, note=why) if why else correlate(rows, self.settings["draws"], self.settings["seed"])
        self.add(measure, "spearman", estimate, unit, rows, **more)

    def others(self, measure: str, unit: str, rows: Rows, names: Names) -> None:
        """Pearson, Kendall τ_b, the share of rows tied on either side, and the spread of log P_n, for comparing tasks."""
        why = self.why(rows, names)
        pearson = kendall = none = Estimate(None, note=why)
        if not why:
            pearson = correlate(rows, self.settings["draws"], self.settings["seed"], ranked=False)
            kendall = Estimate(kendall_order(rows.x, rows.y).tau_b)
        self.add(measure, "pearson", pearson, unit, rows)
        self.add(measure, "kendall", kendall, unit, rows)
        for side, values in (("ties_x", rows.x), ("ties_y", rows.y)):
            sizes = np.unique(values, return_counts=True)[1]
            self.add(measure, side, Estimate(float(sizes[sizes > 1].sum() / len(rows))) if len(rows) else none, unit, rows)
        if measure == "mem_n":
            spread = Estimate(float(rows.x.std(ddof=1))) if len(rows) > 1 else Estimate(None, note=why or "one row")
            self.add(measure, "sd_log_p", spread, unit, rows)

    def why(self, rows: Rows, names: Names) -> str:
        """Why there is no number: no support in the corpus comes before all else."""
        return why_none(self.pairs, rows, self.scores, names)

    def add(self, measure: str, statistic: str, estimate: Estimate, unit: str, rows: Rows, **more: Any) -> None:
        size: dict[str, Any] = {"rows": len(rows), "examples": rows.examples}
        self.out.add(measure, statistic, estimate, of=self.checkpoint, order=self.order, unit=unit, **size, **more)

    def count(self, measure: str, reasons: dict[str, Mask]) -> None:
        for reason, here in reasons.items():
            self.out.exclude(measure, reason, int(here.sum()), "rows", of=self.checkpoint, order=self.order)


def why_none(pairs: pl.DataFrame, rows: Rows, scores: SpanScores, names: Names) -> str:
    """Why a correlation of these rows has no value; empty if it has one."""
    if not len(pairs):
        return NO_EVIDENCE
    if not len(rows) and not np.isfinite(scores.log_prob).any():
        return NO_SCORE
    return undefined(rows, *names)


def _join(*notes: str) -> str:
    return "; ".join(n for n in notes if n)


READS = (*PAIRS_AND_SCORES, "tokenizer")
MEASURE = Measure("distributional_memorization", READS, settings, run, cost=10.0)
