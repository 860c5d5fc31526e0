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
from tasks.pair_evidence import PAIRS_AND_SCORES, TaskEvidence, read_evidence
from tasks.pair_measures import MEM_DELTA, MEM_N, PairMeasure, SpanScores, by_output, codes_of, first_rows, floats, why_none
from tasks.statistics.bootstrap import bootstrap_many
from tasks.statistics.correlation import Estimate, Rows, kendall_order, spearman, undefined
from tasks.statistics.intervals import bca_interval, cluster_sizes, correlate, join, permutation_p, two_way, with_interval
from tasks.step import Work

OTHER_TOKENS = "the model's tokens are not those the corpus was counted in; name its tokenizer.json under [tokenizer]"
LEAST_COUNTS = (2, 5, 10)
INTERVALS = ("", "two_way", "pigeonhole", "bca", "permutation")
# for each test of the family, so that Benjamini-Hochberg's smallest step can be reached (docs/method.md §6b)
PERMUTATIONS = 20
Mask = NDArray[np.bool_]
MEM_INFINITY = PairMeasure("mem_infinity", ("log P_∞", "log P_LLM"))


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
            Correlations(*about, phi, evidence.supported(order)).add_all()


def _exclude_pairs(work: Work, rows: MetricRows, evidence: TaskEvidence, order: int) -> None:
    """What was left out whatever the model."""
    from tasks.text.words.analyzer import normalise

    phi, outputs = evidence.phi(order), evidence.examples["output"]
    with_output = set(evidence.spans.filter(order=order)["example"].to_list())
    without = [i for i in range(len(outputs)) if i not in with_output]
    short = 0 if work.settings["whole_answer"] else sum(len(normalise(outputs[i]).split()) < order for i in without)
    uncounted, zero = phi["pair_documents"].null_count(), int((phi["pair_documents"] == 0).sum())
    lost = len(phi) - uncounted - zero - len(evidence.supported(order))  # a broken contract of the counts, if not 0
    examples = {"output shorter than n": short, "no n-gram of the output left": len(without) - short}
    pairs = {"pair not mined above γ": evidence.candidates(order) - len(phi), "pair never counted": uncounted}
    pairs |= {"zero corpus count": zero, "n-gram never counted": lost}
    for counted, reasons in (("examples", examples), ("rows", pairs)):
        for reason, number in reasons.items():
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
        rows = self.evidence.rows(self.pairs, MEM_N.x(self.pairs), log_prob)
        unscored = {"no score": np.isnan(log_prob), "infinite log-probability": np.isinf(log_prob)}
        self.count("mem_n", unscored | {"kept": scored})
        no_other = {"no other input without a partner": scored & ~contrasted}
        self.count("mem_delta", unscored | no_other | {"kept": contrasted})
        self.both_units(MEM_N, rows, scored)
        self.both_units(MEM_DELTA, self.evidence.rows(self.pairs, MEM_DELTA.x(self.pairs), delta), contrasted)
        self.infinity(rows.take(scored), span[scored])
        self.selections(rows, scored)
        if self.order == self.settings["first_order"]:
            self.ablations(self.pairs.filter(pl.Series(scored)), rows.take(scored))

    # -- measures ---------------------------------------------------------------------------------------------------
    def both_units(self, measure: PairMeasure, rows: Rows, keep: Mask) -> None:
        """Mem_n or Mem_Δ; in a planted world also next to the generator's own correlation."""
        optimal, plan = floats(self.pairs["optimal_log_probability"]), floats(self.pairs["planted_pair_documents"])
        with np.errstate(divide="ignore"):
            planned = np.log(plan / floats(self.pairs["planted_input_documents"]))
        kept, planted = rows.take(keep), np.isfinite(optimal) & np.isfinite(planned) & keep
        truth = None
        if planted.any():
            # The generator's own Δ: after an input without a partner it gives every output the same small probability.
            x = planned if measure == MEM_N else rows.x
            of_plan = Rows(x[planted], optimal[planted], rows.example[planted], rows.output[planted])
            truth = None if undefined(of_plan) else spearman(of_plan.x, of_plan.y)
            note = f"rows of planted pairs: {int(planted.sum())} of {len(kept)}"
            self.spearman(measure, "pair", rows.take(planted), detail="planted", truth=truth, note=note)
        self.primary(measure, "pair", kept, truth=truth)
        self.primary(measure, "example_output", by_output(kept))

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
            if detail:
                self.count("mem_infinity", {unseen: np.isneginf(values), "paper: kept": finite})
                self.spearman(MEM_INFINITY, "example_output", infinite, detail=detail, note=missing)
            else:
                self.count("mem_infinity", {no_count: np.isnan(values), nowhere: np.isneginf(values), "kept": finite})
                self.primary(MEM_INFINITY, "example_output", infinite, note=missing)
                self.spearman(MEM_N, "example_output", common, detail="common with mem_infinity")

    def selections(self, rows: Rows, scored: Mask) -> None:
        """Mem_n by the paper's denominators at every n; other selections of rows at the first n (docs/method.md §4, §6a)."""
        pairs = self.pairs
        paper = np.log(floats(pairs["pair_documents"]) / np.maximum(floats(pairs["input_occurrences"]), 1))
        self.spearman(MEM_N, "pair", replace(rows, x=paper).take(scored), detail="occurrences")
        if self.order != self.settings["first_order"]:
            return
        for least in LEAST_COUNTS:
            enough = scored & (floats(pairs["pair_documents"]) >= least)
            self.spearman(MEM_N, "pair", rows.take(enough), detail="count_at_least", level=least)
        counted = self.phi.drop_nulls(["pair_documents", "input_documents"])
        count, inputs = floats(counted["pair_documents"]), floats(counted["input_documents"])
        log_prob = self.scores.log_prob[counted["span"].to_numpy()]
        lowest = self.evidence.rows(counted, count / np.maximum(inputs, 1), log_prob)  # ranks need no logarithm
        add_half = replace(lowest, x=np.log((count + 0.5) / (inputs + 1)))
        for detail, smoothed in (("zeros_lowest", lowest), ("add_half", add_half)):
            self.spearman(MEM_N, "pair", smoothed.take(np.isfinite(log_prob)), detail=detail)

    def ablations(self, pairs: pl.DataFrame, rows: Rows) -> None:
        """What log P_n is made of, each part alone on the same rows (docs/method.md §6a)."""
        parts = (("log_count", "pair", 1), ("neg_log_input_documents", "input", -1), ("log_output_documents", "output", 1))
        for detail, side, sign in parts:
            part = replace(rows, x=sign * np.log(floats(pairs[f"{side}_documents"])))
            self.spearman(PairMeasure("mem_ablation", (detail, "log P_LLM")), "pair", part, detail=detail)

    # -- how a correlation is reported --------------------------------------------------------------------------------
    def primary(self, measure: PairMeasure, unit: str, rows: Rows, *, truth: float | None = None, note: str = "") -> None:
        """Every estimate of one measure in one unit."""
        if why := why_none(self.pairs, rows, self.scores, measure.names):
            estimates = {interval: Estimate(None, note=why) for interval in INTERVALS}
        else:
            estimates = self._intervals(rows) | {"permutation": self._permutation(rows)}
        for interval, estimate in estimates.items():
            about = {"truth": truth, "note": note} if not interval else {}
            self.add(measure.name, "spearman", estimate, unit, rows, interval=interval, **about)
        self.others(measure.name, unit, rows, why)

    def _intervals(self, rows: Rows) -> dict[str, Estimate]:
        value, (examples, outputs, note) = spearman(rows.x, rows.y), cluster_sizes(rows)
        numbers = {"two_way": two_way(rows, value)}
        if rows.examples < 2:
            alone = replace(with_interval(value, None), clusters=examples)
            return numbers | {"": replace(alone, note=join(note, alone.note)), "pigeonhole": alone, "bca": alone}
        columns = np.array([rows.x, rows.y])
        drawn, both = (bootstrap_many(columns, rows.example, o, *self._draws)[:, 0, 1] for o in (None, rows.output))
        wide = with_interval(value, both, join("interval over new examples and new output n-grams", note))
        low, high, missing = bca_interval(rows, drawn, value)
        numbers[""] = replace(with_interval(value, drawn, note), clusters=examples)
        numbers["pigeonhole"] = replace(wide, clusters=min(examples, outputs))
        return numbers | {"bca": Estimate(value, low, high, note=missing, clusters=examples)}

    def _permutation(self, rows: Rows) -> Estimate:
        if self.order != self.settings["first_order"]:
            return Estimate(None, note="taken at the task's first n alone, for which the permutations are enough")
        groups = codes_of(self.evidence.examples["group"].to_numpy().astype(str)[rows.example])
        return permutation_p(rows, groups, self.settings["permutations"], self.settings["seed"])

    @property
    def _draws(self) -> tuple[int, int]:
        return self.settings["draws"], self.settings["seed"]

    def spearman(self, measure: PairMeasure, unit: str, rows: Rows, **more: Any) -> None:
        """One correlation with its interval over examples."""
        why = why_none(self.pairs, rows, self.scores, measure.names)
        estimate = Estimate(None, note=why) if why else correlate(rows, *self._draws)
        self.add(measure.name, "spearman", estimate, unit, rows, **more)

    def others(self, measure: str, unit: str, rows: Rows, why: str) -> None:
        """Pearson, Kendall τ_b, the share of rows tied on either side, and the spread of log P_n, for comparing tasks."""
        none = Estimate(None, note=why)
        self.add(measure, "pearson", none if why else correlate(rows, *self._draws, ranked=False), unit, rows)
        self.add(measure, "kendall", none if why else Estimate(kendall_order(rows.x, rows.y).tau_b), unit, rows)
        for side, values in (("ties_x", rows.x), ("ties_y", rows.y)):
            sizes = np.unique(values, return_counts=True)[1]
            self.add(measure, side, Estimate(float(sizes[sizes > 1].sum() / len(rows))) if len(rows) else none, unit, rows)
        if measure == "mem_n":
            spread = Estimate(float(rows.x.std(ddof=1))) if len(rows) > 1 else Estimate(None, note=why or "one row")
            self.add(measure, "sd_log_p", spread, unit, rows)

    def add(self, measure: str, statistic: str, estimate: Estimate, unit: str, rows: Rows, **more: Any) -> None:
        size: dict[str, Any] = {"rows": len(rows), "examples": rows.examples}
        self.out.add(measure, statistic, estimate, of=self.checkpoint, order=self.order, unit=unit, **size, **more)

    def count(self, measure: str, reasons: dict[str, Mask]) -> None:
        for reason, here in reasons.items():
            self.out.exclude(measure, reason, int(here.sum()), "rows", of=self.checkpoint, order=self.order)


READS = (*PAIRS_AND_SCORES, "tokenizer")
MEASURE = Measure("distributional_memorization", READS, settings, run, cost=10.0)
