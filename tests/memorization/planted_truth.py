"""What the runs of a controlled corpus must show, as numbers with standard errors: of a small study, and of the shipped one.

Errors are for new runs, by leaving out groups of them, and of slopes for new sequences, too.

    python -m tests.memorization.planted_truth ROOT     # record the numbers of the study memorization that was run there
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from flows.plan import lay_out
from flows.study import STEPS
from flows.study_files import study_path
from schemas import CONTRACTS, Study, load_study
from tasks.memorization.counterfactual import COUNTERFACTUAL_STEP, LN2, estimates
from tasks.memorization.counterfactual_memorization import _jackknife, _without_some_runs, halves_of_m
from tasks.memorization.ensemble_panel import EnsemblePanel, read_panel
from tasks.memorization.run_contrasts import reliability
from tasks.step import Work, keyed, parts_of
from tasks.storage.store import Store

UNBIASED = ("leave_group_out", "leave_group_out_exp", "leave_one_out", "leave_one_out_exp", "memorization", "extraction")
Columns = Mapping[str, np.ndarray]
Number = tuple[float, float]  # a value and its standard error


def panel_of(study: Study, root: str, model: str) -> EnsemblePanel:
    """The runs of a model in a finished root, read as the step `counterfactual` reads them."""
    parts = {t: of for p in lay_out(STEPS, study) for t, of in parts_of(p.outputs).items()}
    stage = COUNTERFACTUAL_STEP.stages[0]
    jobs = stage.plan(study, {t: parts[t] for t in COUNTERFACTUAL_STEP.reads})
    job = next(j for j in jobs if j.labels["ensemble"] == model)
    return read_panel(Work(Store(root), keyed(COUNTERFACTUAL_STEP, 0, job), stage, CONTRACTS), model)


class PlantedTruth:
    """The numbers of one model at the end of its training."""

    def __init__(self, panel: EnsemblePanel) -> None:
        self.panel, table = panel, panel.sequences
        self.columns, self.without = estimates(panel, -1)[0], [estimates(p, -1)[0] for p in _without_some_runs(panel)]
        self.halves = halves_of_m(panel, 0)
        self.group, self.copies, self.twins, self.entropy = (
            table[name].to_numpy() for name in ("group", "copies", "twins", "entropy")
        )

    def number(self, of: Callable[[Columns], float], sequences: float = 0.0) -> Number:
        """A value and its standard error; `sequences`: the part of its variance that is due to which sequences there are."""
        return of(self.columns), (_jackknife([of(c) for c in self.without]) + sequences) ** 0.5

    def of(self, group: str, level: int = 0, split: str = "member") -> np.ndarray:
        """bool [sequences]: those of a group with d copies or k twins."""
        here = (self.group == group) & (self.panel.member == (split == "member"))
        return here & ((self.twins if group == "ring" else self.copies) == level) if level else here

    def mean(self, column: str, group: str, level: int = 0) -> Number:
        return self.number(lambda c: float(c[column][self.of(group, level)].mean()))

    def slope(self, column: str, group: str) -> Number:
        """Of a column on log2 of the copies or twins of a group's members."""
        here = self.of(group)
        x = np.log2((self.twins if group == "ring" else self.copies)[here])
        x = x - x.mean()
        rest = self.columns[column][here] - self.columns[column][here].mean()
        rest = rest - x * (x @ rest) / (x @ x)
        return self.number(lambda c: float(x @ c[column][here] / (x @ x)), float(rest @ rest) / (len(x) - 2) / float(x @ x))

    def specificity(self, group: str, level: int = 0) -> Number:
        here = self.of(group, level)
        return self.number(lambda c: 1 - float(c["spill"][here].sum() / c["leave_group_out"][here].sum()))

    def phantoms(self, column: str) -> Number:
        here = ~self.panel.member & np.isfinite(self.columns[column])
        return self.number(lambda c: float(c[column][here].mean()))  # nothing but chance makes one differ from another

    def unseen(self) -> Number:
        """Slope of the share that a run extracts of the rule's sequences it is not trained on, on how many it is trained on."""
        rule, last = self.of("rule") | self.of("rule", split="phantom"), self.panel.values["extracted"][-1]
        here = self.panel.copies[:, rule] > 0
        share, x = np.where(here, 0, last[:, rule]).sum(axis=1) / (~here).sum(axis=1), here.sum(axis=1) - here.sum() / len(here)
        slope = float(x @ share / (x @ x))
        rest = share - share.mean() - slope * x
        return slope, float(rest @ rest / (len(x) - 2) / (x @ x)) ** 0.5

    def reliability(self, group: str = "") -> float:
        """Of M over all members with one copy, or within a group."""
        here = self.panel.member & (self.copies == 1) & (self.group == group if group else True)
        return float(np.nanmean(reliability(self.halves[:, :, here])))

    def ratio(self, column: str, group: str, other: str) -> Number:
        """Of two groups' means."""
        return self.number(lambda c: float(c[column][self.of(group)].mean() / c[column][self.of(other)].mean()))

    def most(self, column: str) -> Number:
        """Mean over the canaries with the most copies."""
        return self.mean(column, "canary_copies", int(self.copies.max()))

    def more_bits(self, column: str, group: str = "canary_copies") -> Number:
        """Bits beyond the entropy, of canaries, or of those with the most copies."""
        here = self.of(group, int(self.copies[self.group == group].max()))
        return self.number(lambda c: float((c[column][here] / LN2 - self.entropy[here]).mean()))

    def share_of_entropy(self) -> Number:
        value, error = self.more_bits("contextual")
        entropy = float(self.entropy[self.of("canary")][0])
        return 1 + value / entropy, error / entropy

    def unseen_share(self) -> Number:
        """Of the rule's never-trained sequences, in how many runs they are extracted."""
        return self.number(lambda c: float(c["extracted_out"][self.of("rule", split="phantom")].mean()))


@dataclass(frozen=True)
class Claim:
    """A number that is on one side of a bound, or "=" within so many standard errors: of the shipped study, and of a small one."""

    name: str
    number: Callable[[PlantedTruth], Number]
    side: str
    shipped: tuple[float, float]  # the bound, and the standard errors that the number is on its side
    small: tuple[float, float]

    def holds(self, value: float, error: float, shipped: bool) -> bool:
        bound, errors = self.shipped if shipped else self.small
        away = {"=": -abs(value - bound), ">": value - bound, "<": bound - value}[self.side]
        return away >= (-1 if self.side == "=" else 1) * errors * error


SURE = 2.576  # standard errors that a 99 % interval reaches
MOST = {"dense_copies": "E", "canary_copies": "F"}


def _slopes() -> Iterator[Claim]:
    for group, name in MOST.items():
        for column, side in (("leave_group_out", ">"), ("leave_one_out", "<")):
            number = partial(PlantedTruth.slope, column=column, group=group)
            yield Claim(f"{name}: slope of {column} on log2 d", number, side, (0, SURE), (0, 0))


CLAIMS = (
    *(Claim(f"phantoms: {c}", partial(PlantedTruth.phantoms, column=c), "=", (0, 2), (0, 3)) for c in UNBIASED),
    Claim("phantoms: lira", partial(PlantedTruth.phantoms, column="lira"), "=", (0.5, 2), (0.5, 3)),
    Claim("phantoms: published", lambda t: t.phantoms("leave_group_out_published"), ">", (0, 2), (0, 1)),
    *_slopes(),
    Claim("F: extracted with the most copies", lambda t: t.most("extracted_in"), ">", (0.9, 0), (0.6, 0)),
    Claim("F: extracted without it", lambda t: t.most("extracted_out"), "<", (0, 0), (0.05, 0)),
    Claim("C: ω", lambda t: t.specificity("canary"), ">", (0.9, 0), (0.9, 0)),
    Claim("B′: ω", lambda t: t.specificity("ring"), "<", (0.7, 0), (0.7, 0)),
    Claim("B′: slope of M on log2 k", lambda t: t.slope("leave_group_out", "ring"), "<", (0, SURE), (0, 0)),
    Claim("G: unseen sequences are extracted", PlantedTruth.unseen_share, ">", (0.2, SURE), (0.1, 0)),
    Claim("G: slope of that on the members trained on", PlantedTruth.unseen, ">", (0, SURE), (0, 0)),
    Claim("G: M in the place of C's", lambda t: t.ratio("leave_group_out", "rule", "canary"), "<", (0.1, -2), (0.2, 0)),
    Claim("F: contextual bits beyond the entropy", lambda t: t.more_bits("contextual"), "<", (0, -2), (0, -2)),
    Claim("F: contextual bits of the entropy", PlantedTruth.share_of_entropy, ">", (0.95, 0), (0.85, 0)),
    Claim("C: contextual bits beyond the entropy", lambda t: t.more_bits("contextual", "canary"), "<", (0, -2), (0, -2)),
    Claim("F: published bits beyond the entropy", lambda t: t.more_bits("leave_group_out_published"), ">", (0, SURE), (0, 0)),
    Claim("reliability of M", lambda t: (t.reliability(), 0.0), ">", (0.9, 0), (0.6, 0)),
)


# -- the record --------------------------------------------------------------------------------------------------------
RECORD = Path(__file__).parent.parent / "recorded" / "memorization_truth.csv"
PAGE = Path(__file__).parent.parent.parent / "docs" / "counterfactual.md"
BEGIN, END = "<!-- planted truth -->\n", "<!-- end of planted truth -->"
COLUMNS = ("extracted_in", "extracted_out", "leave_group_out", "leave_group_out_se", "leave_one_out", "contextual", "bits")
COLUMNS += ("contextual_bits",)
HEADING = """| group | extracted in · out | M (SE) | M^LOO | contextual | bits · contextual | ω | phantoms: M · published |
|---|---|--:|--:|--:|--:|--:|--:|"""


def recorded_rows(truth: PlantedTruth) -> Iterator[tuple[str, str, float, float]]:
    """(kind, name, value, standard error): the claims, and means of each group, d and k."""
    for claim in CLAIMS:
        yield "claim", claim.name, *claim.number(truth)
    for group in ("", "dense", "rare", "canary", "mismatch", "ring", "rule"):
        yield "reliability", group or "all", truth.reliability(group), 0.0
    for group in ("dense", "rare", "canary", "mismatch", "dense_copies", "canary_copies", "ring", "rule"):
        levels = truth.twins if group == "ring" else truth.copies
        for level in sorted(set(levels[truth.of(group)].tolist())):
            here, phantoms = truth.of(group, level), truth.of(group, level, "phantom")
            made = {c: truth.columns[c][here].mean() for c in COLUMNS} | {"specificity": truth.specificity(group, level)[0]}
            made |= {f"phantoms {c}": truth.columns[c][phantoms].mean() for c in ("leave_group_out", "leave_group_out_published")}
            yield from ((f"{group} {level}", name, float(value), 0.0) for name, value in made.items())


def page_table(record: pl.DataFrame) -> str:
    """The table of docs/counterfactual.md, of the first model."""
    lines, number = [HEADING], {(r["kind"], r["name"]): r["value"] for r in record.filter(model=record["model"][0]).to_dicts()}
    for cell in dict.fromkeys(kind for kind, _ in number if kind not in ("claim", "reliability")):
        group, level = cell.split(" ")
        words = f", {'k' if group == 'ring' else 'd'} = {level}" if group == "ring" or group.endswith("copies") else ""
        n = {name: value for (kind, name), value in number.items() if kind == cell}
        lines.append(
            f"| `{group}`{words} | {_two(n['extracted_in'])} · {_two(n['extracted_out'])} "
            f"| {n['leave_group_out']:.1f} ({n['leave_group_out_se']:.1f}) | {n['leave_one_out']:.3g} | {n['contextual']:.1f} "
            f"| {n['bits']:.0f} · {n['contextual_bits']:.1f} | {_two(n['specificity'])} "
            f"| {_two(n['phantoms leave_group_out'])} · {n['phantoms leave_group_out_published']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def _two(value: float) -> str:
    """.05, −.3 or 1.00: two digits, without the zero before the point."""
    return f"{value:.2f}".replace("0.", ".").replace("-", "−") if abs(value) < 0.995 else f"{value:.2f}".replace("-", "−")


def main() -> None:
    """Record a finished root, and put the table into the page."""
    study, made = load_study(study_path("memorization")), []
    for model in study.membership.models:
        truth = PlantedTruth(panel_of(study, sys.argv[1], model.name))
        made += [(model.name, *row) for row in recorded_rows(truth)]
    record = pl.DataFrame(made, schema=["model", "kind", "name", "value", "error"], orient="row")
    record.with_columns(pl.col("value", "error").round_sig_figs(5)).write_csv(RECORD)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{page_table(pl.read_csv(RECORD))}{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
