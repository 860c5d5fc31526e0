"""What else could make Mem_n or Mem_Δ: one remedy a row, beside the measure it is a remedy for (docs/method.md §6c).

    within s_y                 same output, different s_x: pooled mid-ranks, centred within s_y
    partial: …                 partial ρ at equal length (characters and words), df(s_y), model tokens of s_y, or all of them
    without templates          without s_x that stands in more than 5 % of the examples
    window=N                   C counted within N words
    each example weighs 1      a row weighs 1 / rows of its example
    within group               mid-ranks inside a subject, relation or language pair, pooled
    mined elsewhere            with the pairs that the task named by `repeat_of` was mined for, from other files
    common examples            examples with rows at every n
    equal N                    draws of [measures] equal_rows rows, so that tasks can be compared: mean and spread
    reliability                ρ / √r, r: Spearman of the same log-probabilities under two prompts (`repeat_of`) on these rows
A remedy that does not apply to a task is a row that says why. Every number has the bootstrap of whole examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas import Study
from tasks.metrics import loaded
from tasks.metrics.answers import Answers, Asked
from tasks.metrics.evidence import NO_EVIDENCE, NO_SCORE, floats, log_p, log_pmi
from tasks.metrics.loaded import Loaded, codes, load
from tasks.metrics.pairs import PAIR, drawn_settings, select_rows
from tasks.statistics import Estimate, Rows, correlate, percentile_interval, undefined
from tasks.statistics.bootstrap import bootstrap_many
from tasks.statistics.partial import partial_correlation, rank_correlations
from tasks.statistics.stratified import equal_rows, pooled, pooled_draws
from tasks.step import Work

READS = (*loaded.READS, "pair_windows")
TEMPLATE = 0.05
Floats = NDArray[np.float64]
Remedy = tuple[str, Estimate, Rows]


def settings(study: Study, task: str) -> dict[str, Any]:
    """What decides this table."""
    t = study.task(task)
    other = study.task(t.repeat_of) if t.repeat_of else None
    return {
        **drawn_settings(study, t, t.orders),
        "windows": sorted(study.counting.windows),
        "equal_rows": study.measures.equal_rows,
        "repeat_of": t.repeat_of,
        "other_prompt": other is not None and not t.asks_like(other),
        "other_mining": other is not None and not t.mined_like(other),
    }


def run(work: Work, answers: Answers) -> None:
    """Every remedy for Mem_n and Mem_Δ, for every order and each model's last checkpoint."""
    own, other = load(work, answers.task, last=True), work.settings["repeat_of"]
    again = _other_prompt(work, own, other, answers.task) if work.settings["other_prompt"] else {}
    elsewhere = load(work, answers.task, last=True, mined_as=other) if work.settings["other_mining"] else None
    orders = sorted(int(n) for n in work.settings["gamma"])
    found = {n: _with_windows(work, own.found(work, n)) for n in orders}
    common = set.intersection(*(set(table["example"].to_list()) for table in found.values()))
    for order in orders:
        other_rows = elsewhere.found(work, order) if elsewhere else None
        for asked in own.models:
            for measure in ("mem_n", "mem_delta"):
                about = (work.settings, own, asked, measure)
                mined = Check.of(*about, other_rows, loaded=elsewhere) if elsewhere and other_rows is not None else None
                repeated = again.get((asked.model, asked.checkpoint))
                check = Check.of(*about, found[order], common=common, mined=mined, again=repeated)
                for detail, estimate, rows in check.remedies(order):
                    answers.add(
                        "confound",
                        "spearman",
                        estimate,
                        asked=asked,
                        order=order,
                        unit=measure,
                        detail=detail,
                        rows=len(rows),
                        examples=rows.examples,
                    )


def _with_windows(work: Work, found: pl.DataFrame) -> pl.DataFrame:
    """Add a column `window N` of counts for each width."""
    counted = select_rows(work, "pair_windows", found.select(PAIR).unique(), PAIR)
    for width in work.settings["windows"]:
        near = counted.filter(window=width).select(*PAIR, pl.col("documents").alias(f"window {width}"))
        found = found.join(near, on=PAIR, how="left", maintain_order="left")
        found = found.with_columns(pl.col(f"window {width}").fill_null(0))
    return found


def _other_prompt(work: Work, own: Loaded, other: str, task: str) -> dict[tuple[str, int], dict[str, Floats]]:
    """log P_LLM and Δ of our spans under the other task's prompt; NaN where it lacks the span. The pairs stay ours."""
    theirs = load(work, other, last=True, mined_as=task)
    names = (pl.DataFrame({"example": range(len(t.examples.names)), "name": t.examples.names}) for t in (own, theirs))
    ours, others = (
        t.examples.spans.join(n, on="example", how="left", maintain_order="left")
        for t, n in zip((own, theirs), names, strict=True)
    )
    on = ["name", "order", "output_ngram"]
    matched = ours.join(others.select(*on, other="span"), on=on, how="left", maintain_order="left")
    at = matched["other"].fill_null(-1).to_numpy()
    values = {
        k: {"mem_n": np.append(s.own, np.nan)[at], "mem_delta": np.append(s.delta, np.nan)[at]}
        for k, s in theirs.scores.items()
    }
    return values


@dataclass(frozen=True)
class Check:
    """One measure of one model at one order: its rows, and what the remedies need beside them."""

    settings: Any
    loaded: Loaded
    measure: str
    found: pl.DataFrame
    rows: Rows
    tokens: Floats
    again: Floats
    common: set[int]
    mined: Check | None
    missing: str

    @classmethod
    def of(
        cls,
        settings: Any,
        own: Loaded,
        asked: Asked,
        measure: str,
        found: pl.DataFrame,
        *,
        loaded: Loaded | None = None,
        common: set[int] | None = None,
        mined: Check | None = None,
        again: dict[str, Floats] | None = None,
    ) -> Check:
        """The rows that have a score; `loaded`: where their spans are from, if not from `own`."""
        own = loaded or own
        scores, span = own.of(asked), found["span"].to_numpy()
        y = (scores.own if measure == "mem_n" else scores.delta)[span]
        x = log_p(found) if measure == "mem_n" else log_pmi(found)
        kept = np.isfinite(y)
        rows = Rows(x, y, found["example"].to_numpy(), own.spans.output[span]).take(kept)
        missing = NO_EVIDENCE if not len(found) else NO_SCORE if not len(rows) and not np.isfinite(scores.own).any() else ""
        repeated = np.full(len(span), np.nan) if again is None else again[measure][span]
        tokens = scores.tokens[span].astype(np.float64)
        return cls(
            settings,
            own,
            measure,
            found.filter(pl.Series(kept)),
            rows,
            tokens[kept],
            repeated[kept],
            common or set(),
            mined,
            missing,
        )

    def remedies(self, order: int) -> Iterator[Remedy]:
        """Every remedy: its name, the number, and the rows it rests on."""
        none = self.rows.take(np.zeros(len(self.rows), dtype=bool))
        why = self.missing or undefined(self.rows, *self.names)
        for remedy in (
            self._within_output,
            self._partials,
            self._templates,
            self._windows,
            self._weighted,
            self._group,
            self._elsewhere,
            self._common,
            self._equal,
            self._reliability,
        ):
            for detail, estimate, rows in remedy():
                yield (detail, Estimate(None, note=why), none) if why else (detail, estimate, rows)

    @property
    def names(self) -> tuple[str, str]:
        """What is correlated."""
        return ("log P_n", "log P_LLM") if self.measure == "mem_n" else ("log PMI", "Δ")

    # -- the same numbers under other ranks --------------------------------------------------------------------------
    def _within_output(self) -> Iterator[Remedy]:
        pairs = np.unique(np.column_stack([self.rows.output, self.rows.example]), axis=0)
        outputs, examples = np.unique(pairs[:, 0], return_counts=True)
        rows = self.rows.take(np.isin(self.rows.output, outputs[examples > 1]))
        yield self._pooled("within s_y", rows, rows.output, "no output n-gram stands in two examples", inside=False)

    def _group(self) -> Iterator[Remedy]:
        groups = np.array(self.loaded.examples.groups, dtype=object)[self.rows.example]
        code = np.unique(groups.astype(str), return_inverse=True)[1] if len(groups) else self.rows.example
        one = "" if len(np.unique(code)) > 1 else "all examples are of one group"
        yield self._pooled("within group", self.rows, code, one, inside=True)

    def _pooled(self, detail: str, rows: Rows, group: NDArray[np.int64], why: str, *, inside: bool) -> Remedy:
        """A pooled correlation within groups; `why` is said where there is nothing to pool, or nothing varies in it."""
        if not len(rows) or (inside and why):
            return detail, Estimate(None, note=why), rows
        columns = (rows.x, rows.y, codes(pl.Series(group)), codes(pl.Series(rows.example)))
        value = float(pooled(*columns, np.ones((1, rows.examples), dtype=np.int32), ranked_inside=inside)[0])
        if not np.isfinite(value):
            return detail, Estimate(None, note=f"{self.names[0]} or {self.names[1]} does not vary within the groups"), rows
        drawn = pooled_draws(*columns, self.settings["draws"], self.settings["seed"], ranked_inside=inside)
        return detail, _interval(value, drawn, rows), rows

    def _partials(self) -> Iterator[Remedy]:
        text = self.found["output_ngram"]
        characters, words = floats(text.str.len_chars()), floats(text.str.count_matches(" ") + 1)
        controls = {
            "length of s_y": [characters, words],
            "frequency of s_y": [floats(self.found["output_documents"])],
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
            drawn = bootstrap_many(
                columns, rows.example, None, self.settings["draws"], self.settings["seed"], weights=weights
            )
            yield detail, _interval(float(rank_correlations(columns, weights)[0, 1]), drawn[:, 0, 1], rows), rows
        else:
            yield detail, Estimate(None, note=undefined(rows, *self.names)), rows

    # -- other rows, or other counts ---------------------------------------------------------------------------------
    def _rho(self, detail: str, rows: Rows) -> Remedy:
        x, y = self.names
        return detail, correlate(rows, self.settings["draws"], self.settings["seed"], x_name=x, y_name=y), rows

    def _templates(self) -> Iterator[Remedy]:
        examples = self.loaded.examples
        held = examples.inputs.group_by("input_ngram").agg(pl.col("example").n_unique())
        often = held.filter(pl.col("example") > TEMPLATE * len(examples.names))["input_ngram"]
        keep = ~self.found["input_ngram"].is_in(often.implode()).to_numpy()
        detail = "without templates"
        if keep.all():
            yield detail, Estimate(None, note="no s_x stands in more than 5 % of the examples"), self.rows
        else:
            yield self._rho(detail, self.rows.take(keep))

    def _windows(self) -> Iterator[Remedy]:
        for width in self.settings["windows"]:
            near = self.found[f"window {width}"].to_numpy() > 0
            counted = self.found.filter(pl.Series(near))
            of = log_p if self.measure == "mem_n" else log_pmi
            yield self._rho(f"window={width}", replace(self.rows.take(near), x=of(counted, f"window {width}")))
        if not self.settings["windows"]:
            yield "window", Estimate(None, note="no window is counted; name widths under [counting] windows"), self.rows

    def _elsewhere(self) -> Iterator[Remedy]:
        note = "name under `repeat_of` a task with the same examples, mined from other files"
        if self.mined is None:
            yield "mined elsewhere", Estimate(None, note=note), self.rows
        else:
            detail, estimate, rows = self._rho("mined elsewhere", self.mined.rows)
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
        columns = (rows.x, rows.y, codes(pl.Series(rows.example)))
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
    low, high, missing = percentile_interval(drawn) if rows.examples > 1 else (None, None, "no interval: one example")
    return Estimate(value, low, high, note="; ".join(n for n in (note, missing) if n))
