"""Distributional memorization: do a model's probabilities follow the corpus's? (arXiv 2407.14985, Def. 3; docs/method.md §6-8)

    Mem_n = ρ_Spearman( log P_n(s_y | s_x), log P_LLM(s_y | u ⊕ x ⊕ y_<) ) over Φ,   P_n = C(s_x, s_y) / df(s_x)
    Mem_Δ = ρ_Spearman( log [C(s_x, s_y) / (df(s_x) · df(s_y))], Δ ),   Δ = log P_LLM after x - mean after other inputs
    Mem_∞ = ρ_Spearman( log P_∞(s_y | ctx), log P_LLM )

Mem_n alone cannot tell a model that knows the pair from one that knows how frequent s_y is; Mem_Δ can (docs/method.md §6a). A task whose
pairs have no support in the corpus has no Mem: null with the reason, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas import Study
from tasks.metrics import loaded
from tasks.metrics.answers import Answers
from tasks.metrics.evidence import by_output, evidence_of, exclude_pairs, first_rows, floats, log_p, log_pmi, rho
from tasks.metrics.inference import Recorder
from tasks.metrics.loaded import load
from tasks.metrics.pairs import drawn_settings
from tasks.metrics.probabilities import read_infinigram
from tasks.statistics import Estimate, Rows, kendall_order
from tasks.step import Work

READS = (*loaded.READS, "infinigram", "truth")
OTHER_TOKENS = "the model's tokens are not those the corpus was counted in; name its tokenizer.json under [tokenizer]"
LEAST_COUNTS = (2, 5, 10)
PERMUTATIONS = (
    20  # for each test of the family, so that Benjamini-Hochberg's smallest step can be reached (docs/method.md §6b)
)


def settings(study: Study, task: str) -> dict[str, Any]:
    """What decides these measures."""
    t = study.task(task)
    family = 2 * len(study.tasks) * len(study.models)  # Mem_n and Mem_Δ
    return {
        **drawn_settings(study, t, t.orders),
        "first_order": t.first_order,
        "whole_answer": t.whole_answer,
        "permutations": max(1_000, -(-PERMUTATIONS * family // 1_000) * 1_000),  # one more model need not change it
    }


def run(work: Work, answers: Answers) -> None:
    """Mem_n, Mem_∞, Mem_Δ, the ablations and generalization for every order and model."""
    task = load(work, answers.task)
    infinigram = read_infinigram(work, answers.task, task.examples, task.spans)
    for order in sorted({int(n) for n in work.settings["gamma"]} | {work.settings["first_order"]}):
        found = task.phi(order)
        evidence = evidence_of(work, answers.task, order, found, infinigram)
        exclude_pairs(answers, work, task.examples, evidence, found)
        for asked in task.models:
            Measurement(work.settings, answers, asked, task, evidence, task.of(asked)).take()


@dataclass(frozen=True)
class Measurement(Recorder):
    """One model at one order."""

    def take(self) -> None:
        """All measures, and what each left out."""
        found, order = self.evidence.found, self.evidence.order
        span = found["span"].to_numpy()
        own, delta = self.scores.own[span], self.scores.delta[span]
        scored, contrasted = np.isfinite(own), np.isfinite(delta)
        rows = self.rows_of(found, log_p(found), own)
        names = ("log P_n", "log P_LLM")
        unscored = {"no score": np.isnan(own), "infinite log-probability": np.isinf(own)}
        self.count("mem_n", unscored, scored)
        self.count("mem_delta", unscored | {"no other input without a partner": scored & ~contrasted}, contrasted)
        self._both_units("mem_n", rows, scored, names)
        self._both_units("mem_delta", self.rows_of(found, log_pmi(found), delta), contrasted, ("log PMI", "Δ"))
        self._infinity(rows.take(scored), span[scored])
        self._generalization(rows.take(scored))
        self._selections(rows, scored, names)
        if order == self.settings["first_order"]:
            self._ablations(found.filter(pl.Series(scored)), rows.take(scored))

    # -- measures ---------------------------------------------------------------------------------------------------
    def _both_units(self, measure: str, rows: Rows, keep: NDArray[np.bool_], names: tuple[str, str]) -> None:
        kept, planted = rows.take(keep), np.isfinite(self.evidence.optimal) & np.isfinite(self.evidence.planted) & keep
        truth = None
        if planted.any():
            # The generator's own Δ: after an input without a partner it gives every output the same small probability.
            evidence = self.evidence.planted if measure == "mem_n" else rows.x
            optimal = self.evidence.optimal[planted]
            truth = rho(Rows(evidence[planted], optimal, rows.example[planted], rows.output[planted]))
            note = f"rows of planted pairs: {int(planted.sum())} of {len(kept)}"
            self.spearman(measure, "pair", rows.take(planted), names, detail="planted", truth=truth, note=note)
        self.primary(measure, "pair", kept, names, truth=truth)
        self.primary(measure, "example_output", by_output(kept), names)

    def _infinity(self, rows: Rows, span: NDArray[np.int64]) -> None:
        """Mem_∞, one row per (example, s_y), beside Mem_n on the same rows (docs/method.md §7)."""
        merged, first = by_output(rows), first_rows(rows)
        at, infinigram, same_tokens = span[first], self.evidence.infinigram, self.task.shares_tokens(self.asked)
        for detail, values in (("", infinigram.backoff[at]), ("paper", infinigram.paper[at])):
            values = values if same_tokens else np.full(len(values), np.nan)
            known = np.isfinite(values)
            reasons = {
                "no ∞-gram count" if same_tokens else OTHER_TOKENS: np.isnan(values),
                "a token of s_y stands nowhere in the corpus": np.isneginf(values),
            }
            if not detail:
                self.count("mem_infinity", reasons, known)
            else:
                unseen = {"paper: all tokens of s_y unseen after their longest suffix": np.isneginf(values)}
                self.count("mem_infinity", unseen, known, kept_as="paper: kept")
            common = merged.take(known)
            infinite = replace(common, x=values[known])
            names = ("log P_∞", "log P_LLM")
            missing = "no row has an ∞-gram probability" if len(merged) and not known.any() else ""
            missing = missing if same_tokens else OTHER_TOKENS
            if detail:
                self.spearman("mem_infinity", "example_output", infinite, names, detail=detail, note=missing)
            else:
                self.primary("mem_infinity", "example_output", infinite, names, note=missing)
                self.spearman("mem_n", "example_output", common, ("log P_n", "log P_LLM"), detail="common with mem_infinity")

    def _generalization(self, rows: Rows) -> None:
        """The opposite of memorization (docs/method.md §8): the normalised Kendall distance, and the true discordant shares."""
        why = self.why(rows, ("log P_n", "log P_LLM"))
        order = None if why else kendall_order(rows.x, rows.y)
        decided = order.concordant + order.discordant if order else 0
        values = {
            "kendall_distance": (1 - order.tau_b) / 2 if order else None,
            "discordant_share": order.discordant / order.pairs if order else None,
            "discordant_share_untied": order.discordant / decided if order and decided else None,
        }
        for statistic, value in values.items():
            note = why if value is None else ""
            self.add(
                "generalization",
                statistic,
                Estimate(value, note=note or ("all pairs are tied" if value is None else "")),
                "pair",
                rows,
            )

    def _selections(self, rows: Rows, scored: NDArray[np.bool_], names: tuple[str, str]) -> None:
        """Mem_n by the paper's denominators at every n; other selections of rows at the first n (docs/method.md §4, §6a)."""
        found = self.evidence.found
        paper = np.log(floats(found["count"]) / np.maximum(floats(found["input_occurrences"]), 1))
        self.spearman("mem_n", "pair", replace(rows, x=paper).take(scored), names, detail="occurrences")
        if self.evidence.order != self.settings["first_order"]:
            return
        for least in LEAST_COUNTS:
            enough = scored & (floats(found["count"]) >= least)
            self.spearman("mem_n", "pair", rows.take(enough), names, detail=f"count>={least}")
        counted = self.evidence.all.filter(pl.col("count").is_not_null() & pl.col("input_documents").is_not_null())
        count, inputs = floats(counted["count"]), floats(counted["input_documents"])
        own = self.scores.own[counted["span"].to_numpy()]
        known = np.isfinite(own)
        lowest = self.rows_of(counted, count / np.maximum(inputs, 1), own)  # ranks need no logarithm
        self.spearman("mem_n", "pair", lowest.take(known), names, detail="zeros_lowest")
        self.spearman(
            "mem_n", "pair", replace(lowest, x=np.log((count + 0.5) / (inputs + 1))).take(known), names, detail="add_half"
        )

    def _ablations(self, found: pl.DataFrame, rows: Rows) -> None:
        """What log P_n is made of, each part alone on the same rows (docs/method.md §6a)."""
        parts = {
            "log_count": ("count", 1),
            "neg_log_input_documents": ("input_documents", -1),
            "log_output_documents": ("output_documents", 1),
        }
        for detail, (column, sign) in parts.items():
            values = sign * np.log(floats(found[column]))
            self.spearman("mem_ablation", "pair", replace(rows, x=values), (detail, "log P_LLM"), detail=detail)
