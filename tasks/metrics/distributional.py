"""Distributional memorization: do a model's probabilities follow the corpus's? (arXiv 2407.14985, Def. 3; task-grams §6-8)

    Mem_n = ρ_Spearman( log P_n(s_y | s_x), log P_LLM(s_y | u ⊕ x ⊕ y_<) ) over Φ,   P_n = C(s_x, s_y) / df(s_x)
    Mem_Δ = ρ_Spearman( log [C(s_x, s_y) / (df(s_x) · df(s_y))], Δ ),   Δ = log P_LLM after x - mean after other inputs
    Mem_∞ = ρ_Spearman( log P_∞(s_y | ctx), log P_LLM )

Mem_n alone cannot tell a model that knows the pair from one that knows how frequent s_y is; Mem_Δ can (§6a). A task whose
pairs have no support in the corpus has no Mem: null with the reason, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas import Study
from tasks.metrics.answers import Answers, Asked, models_of
from tasks.metrics.evidence import Evidence, by_output, evidence_of, exclude_pairs, first_rows, floats, rho
from tasks.metrics.pairs import evaluated, gamma_settings, gammas_of, mined, phi
from tasks.metrics.probabilities import Scores, Spans, read_infinigram, read_scores, spans_of
from tasks.metrics.statistics import Estimate, Rows, correlate, kendall_order, undefined
from tasks.step import Work
from tasks.text.bpe import identity

READS = (
    "examples",
    "example_ngrams",
    "task_grams",
    "ngram_stats",
    "pair_counts",
    "infinigram",
    "models",
    "token_scores",
    "tokenizer",
    "truth",
)
OTHER_TOKENS = "the model's tokens are not those the corpus was counted in; name its tokenizer.json under [tokenizer]"
NO_EVIDENCE = "no evidence: no pair of this task has support in the corpus"
NO_SCORE = "no score: the model has no log-probability of any of these outputs"
LEAST_COUNTS = (2, 5, 10)
Floats = NDArray[np.float64]


def settings(study: Study, task: str) -> dict[str, Any]:
    """What decides these measures."""
    t = study.task(task)
    return {
        **gamma_settings(t, t.orders),
        "first_order": t.first_order,
        "whole_answer": t.whole_answer,
        "draws": study.measures.bootstrap,
        "seed": study.seed,
    }


def run(work: Work, answers: Answers) -> None:
    """Mem_n, Mem_∞, Mem_Δ, the ablations and generalization for every order and model."""
    gammas = gammas_of(work, answers.task)
    examples, pairs = evaluated(work, answers.task), mined(work, answers.task, gammas)
    spans = spans_of(examples, pairs)
    scores, infinigram = (
        read_scores(work, answers.task, examples, spans),
        read_infinigram(work, answers.task, examples, spans),
    )
    models, tokens = models_of(work), {identity(text) for text in work.read("tokenizer", "json").column("json").to_pylist()}
    for order in sorted({int(n) for n in gammas} | {work.settings["first_order"]}):
        found = phi(examples, pairs, order)
        evidence = evidence_of(work, answers.task, order, found, infinigram)
        exclude_pairs(answers, work, examples, evidence, found)
        for asked in models:
            given = scores.get((asked.model, asked.checkpoint)) or _silent(len(spans.start))
            same = not tokens or asked.tokenizer in tokens
            Measurement(work.settings, answers, asked, evidence, given, spans, same).take()


@dataclass(frozen=True)
class Measurement:
    """One model at one order."""

    settings: Mapping[str, Any]
    answers: Answers
    asked: Asked
    evidence: Evidence
    scores: Scores
    spans: Spans
    same_tokens: bool = True

    def take(self) -> None:
        """All measures, and what each left out."""
        found, order = self.evidence.found, self.evidence.order
        span = found["span"].to_numpy()
        own, delta = self.scores.own[span], self.scores.delta[span]
        scored, contrasted = np.isfinite(own), np.isfinite(delta)
        log_p = np.log(floats(found["count"]) / floats(found["input_documents"]))
        rows = self._rows(found, log_p, own)
        names = ("log P_n", "log P_LLM")
        # one division of exact integers, so that equal values stay tied
        pmi = np.log(floats(found["count"]) / (floats(found["input_documents"]) * floats(found["output_documents"])))

        self._count("mem_n", {"no score": ~scored}, scored)
        self._count("mem_delta", {"no score": ~scored, "no other input without a partner": scored & ~contrasted}, contrasted)
        self._both_units("mem_n", rows, scored, names)
        self._both_units("mem_delta", self._rows(found, pmi, delta), contrasted, ("log PMI", "Δ"))
        self._infinity(rows.take(scored), span[scored])
        self._generalization(rows.take(scored))
        self._selections(rows, scored, names)
        if order == self.settings["first_order"]:
            self._ablations(found.filter(pl.Series(scored)), rows.take(scored))

    # -- measures ---------------------------------------------------------------------------------------------------
    def _both_units(self, measure: str, rows: Rows, keep: NDArray[np.bool_], names: tuple[str, str]) -> None:
        kept, planted = rows.take(keep), np.isfinite(self.evidence.optimal) & np.isfinite(self.evidence.planted) & keep
        truth = None
        if measure == "mem_n" and planted.any():
            ideal = Rows(
                self.evidence.planted[planted], self.evidence.optimal[planted], rows.example[planted], rows.output[planted]
            )
            truth = rho(ideal)
            note = f"rows of planted pairs: {int(planted.sum())} of {len(kept)}"
            self._spearman(measure, "pair", rows.take(planted), names, detail="planted", truth=truth, note=note)
        self._spearman(measure, "pair", kept, names, truth=truth)
        self._others(measure, "pair", kept, names)
        merged = by_output(kept)
        self._spearman(measure, "example_output", merged, names)
        self._others(measure, "example_output", merged, names)
        if self.evidence.order == self.settings["first_order"]:
            self._spearman(
                measure,
                "pair",
                kept,
                names,
                detail="pigeonhole",
                new_outputs=True,
                note="interval over new examples and new output n-grams",
            )

    def _infinity(self, rows: Rows, span: NDArray[np.int64]) -> None:
        """Mem_∞, one row per (example, s_y), beside Mem_n on the same rows (§7)."""
        merged, first = by_output(rows), first_rows(rows)
        at, infinigram = span[first], self.evidence.infinigram
        for detail, values in (("", infinigram.backoff[at]), ("paper", infinigram.paper[at])):
            values = values if self.same_tokens else np.full(len(values), np.nan)
            known = np.isfinite(values)
            reasons = {
                "no ∞-gram count" if self.same_tokens else OTHER_TOKENS: np.isnan(values),
                "a token of s_y stands nowhere in the corpus": np.isneginf(values),
            }
            if not detail:
                self._count("mem_infinity", reasons, known)
            else:
                unseen = {"paper: all tokens of s_y unseen after their longest suffix": np.isneginf(values)}
                self._count("mem_infinity", unseen, known, kept_as="paper: kept")
            common = merged.take(known)
            infinite = replace(common, x=values[known])
            names = ("log P_∞", "log P_LLM")
            missing = "no row has an ∞-gram probability" if len(merged) and not known.any() else ""
            missing = missing if self.same_tokens else OTHER_TOKENS
            self._spearman("mem_infinity", "example_output", infinite, names, detail=detail, note=missing)
            if not detail:
                self._others("mem_infinity", "example_output", infinite, names)
                self._spearman(
                    "mem_n", "example_output", common, ("log P_n", "log P_LLM"), detail="common with mem_infinity"
                )

    def _generalization(self, rows: Rows) -> None:
        """The opposite of memorization (§8): the normalised Kendall distance, and the true discordant shares."""
        why = self._why(rows, ("log P_n", "log P_LLM"))
        order = None if why else kendall_order(rows.x, rows.y)
        decided = order.concordant + order.discordant if order else 0
        values = {
            "kendall_distance": (1 - order.tau_b) / 2 if order else None,
            "discordant_share": order.discordant / order.pairs if order else None,
            "discordant_share_untied": order.discordant / decided if order and decided else None,
        }
        for statistic, value in values.items():
            note = why if value is None else ""
            self._add(
                "generalization",
                statistic,
                Estimate(value, note=note or ("all pairs are tied" if value is None else "")),
                "pair",
                rows,
            )

    def _selections(self, rows: Rows, scored: NDArray[np.bool_], names: tuple[str, str]) -> None:
        """Mem_n by the paper's denominators at every n; other selections of rows at the first n (§4, §6a)."""
        found = self.evidence.found
        paper = np.log(floats(found["count"]) / np.maximum(floats(found["input_occurrences"]), 1))
        self._spearman("mem_n", "pair", replace(rows, x=paper).take(scored), names, detail="occurrences")
        if self.evidence.order != self.settings["first_order"]:
            return
        for least in LEAST_COUNTS:
            enough = scored & (floats(found["count"]) >= least)
            self._spearman("mem_n", "pair", rows.take(enough), names, detail=f"count>={least}")
        counted = self.evidence.all.filter(pl.col("count").is_not_null() & pl.col("input_documents").is_not_null())
        count, inputs = floats(counted["count"]), floats(counted["input_documents"])
        own = self.scores.own[counted["span"].to_numpy()]
        known = np.isfinite(own)
        lowest = self._rows(counted, count / np.maximum(inputs, 1), own)  # ranks need no logarithm
        self._spearman("mem_n", "pair", lowest.take(known), names, detail="zeros_lowest")
        self._spearman(
            "mem_n", "pair", replace(lowest, x=np.log((count + 0.5) / (inputs + 1))).take(known), names, detail="add_half"
        )

    def _ablations(self, found: pl.DataFrame, rows: Rows) -> None:
        """What log P_n is made of, each part alone on the same rows (§6a)."""
        parts = {
            "log_count": ("count", 1),
            "neg_log_input_documents": ("input_documents", -1),
            "log_output_documents": ("output_documents", 1),
        }
        for detail, (column, sign) in parts.items():
            values = sign * np.log(floats(found[column]))
            self._spearman("mem_ablation", "pair", replace(rows, x=values), (detail, "log P_LLM"), detail=detail)

    # -- rows of the answer -------------------------------------------------------------------------------------------
    def _spearman(
        self,
        measure: str,
        unit: str,
        rows: Rows,
        names: tuple[str, str],
        *,
        detail: str = "",
        truth: float | None = None,
        note: str = "",
        new_outputs: bool = False,
    ) -> None:
        why = self._why(rows, names)
        estimate = (
            Estimate(None, note=why)
            if why
            else correlate(
                rows,
                self.settings["draws"],
                self.settings["seed"],
                x_name=names[0],
                y_name=names[1],
                new_outputs=new_outputs,
            )
        )
        self._add(measure, "spearman", estimate, unit, rows, detail=detail, truth=truth, note=note)

    def _others(self, measure: str, unit: str, rows: Rows, names: tuple[str, str]) -> None:
        """Pearson, Kendall τ_b, and the share of rows tied on either side."""
        why = self._why(rows, names)
        pearson = (
            Estimate(None, note=why) if why else correlate(rows, self.settings["draws"], self.settings["seed"], ranked=False)
        )
        self._add(measure, "pearson", pearson, unit, rows)
        self._add(
            measure,
            "kendall",
            Estimate(None, note=why) if why else Estimate(kendall_order(rows.x, rows.y).tau_b),
            unit,
            rows,
        )
        for side, values in (("ties_x", rows.x), ("ties_y", rows.y)):
            sizes = np.unique(values, return_counts=True)[1]
            share = Estimate(float(sizes[sizes > 1].sum() / len(rows))) if len(rows) else Estimate(None, note=why)
            self._add(measure, side, share, unit, rows)

    def _why(self, rows: Rows, names: tuple[str, str]) -> str:
        """Why there is no number: no support in the corpus comes before all else."""
        if not len(self.evidence.found):
            return NO_EVIDENCE
        if not len(rows) and not np.isfinite(self.scores.own).any():
            return NO_SCORE
        return undefined(rows, *names)

    def _add(self, measure: str, statistic: str, estimate: Estimate, unit: str, rows: Rows, **more: Any) -> None:
        self.answers.add(
            measure,
            statistic,
            estimate,
            asked=self.asked,
            order=self.evidence.order,
            unit=unit,
            rows=len(rows),
            examples=rows.examples,
            **more,
        )

    def _count(
        self, measure: str, reasons: dict[str, NDArray[np.bool_]], kept: NDArray[np.bool_], kept_as: str = "kept"
    ) -> None:
        for reason, rows in (reasons | {kept_as: kept}).items():
            self.answers.exclude(measure, reason, int(rows.sum()), "rows", asked=self.asked, order=self.evidence.order)

    def _rows(self, table: pl.DataFrame, x: Floats, y: Floats) -> Rows:
        return Rows(x, y, table["example"].to_numpy(), self.spans.output[table["span"].to_numpy()])


def _silent(spans: int) -> Scores:
    """The scores of a model that was never asked."""
    return Scores(np.full(spans, np.nan), np.zeros(spans), np.zeros(spans, dtype=np.int64))
