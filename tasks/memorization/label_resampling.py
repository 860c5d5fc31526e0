"""Label resampling: would a sequence whose targets were drawn by chance be memorized as much? (docs/counterfactual.md)

The further runs of `redraw` are trained on a sequence with its original targets, or with drawn ones that are as likely without it.
M is the mean log p of targets in runs that are trained on them minus that in runs without the sequence. Within a group, M of drawn
ones is regressed on V, which is from other runs, and on the log of leverage, if the study has it; and

    z = (M of the original targets − what is expected of drawn ones of this V and leverage) / standard deviation of the residuals

A diagnostic, which decides no claim: the mean of some runs is not the generator. A group is testable only if half of its tokens
differ, its sequences are in the common support, and the method finds nothing where nothing is: with draw 1 for the original
targets, and draw 2, made in its place by the same rule. Canaries with two copies, taken for sequences with one, have to stand out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from schemas import Study, StudyError
from tasks.measures import Measure, MetricRows, ModelCheckpoint
from tasks.memorization.run_contrasts import Bools, jackknife, mean
from tasks.statistics import Estimate, Floats, Ints
from tasks.step import Work

NAME = "label_resampling"
CONTROL, LIKE_CONTROL = "canary_copies", "canary"  # drawn canaries are the reference of those with two copies, too
LEAST_DIFFERING, LEAST_SUPPORT, MOST_Z = 0.5, 0.8, 0.3
CALIPER = 0.25  # standard deviations of V within which a sequence has to have drawn targets, to be in the common support
GROUPS_OF_RUNS, GROUPS_OF_SEQUENCES = 16, 64  # of jackknives
Z, ONE_SIDED = 1.959964, 1.644854


@dataclass(frozen=True)
class Redrawn:
    """M of the original and the drawn targets of sequences, float [sequences, draws]. error: of the mean over the runs that have
    them; what runs without a sequence add is common to all of its draws. x: float [sequences, draws, covariates], V and, if the
    study has it, the log of leverage, which is that of the inputs."""

    m: Floats
    error: Floats
    x: Floats

    def fit(self, draw: int, tested: Bools, reference: Bools) -> tuple[float, float]:
        """(mean M of a draw beyond what is expected of the next, nats; standard deviation of the residuals), the former over the
        sequences that are tested, the expectation from those of the reference; NaN for too few."""
        centred = self.x - self.x[reference, draw + 1].mean(axis=0, keepdims=True)
        x = np.concatenate([np.ones((*self.m.shape, 1)), centred], axis=2)
        if reference.sum() <= x.shape[2] + 1 or not tested.any():
            return np.nan, np.nan
        a, y = x[reference, draw + 1], self.m[reference, draw + 1]  # sums in one order, whatever the number of threads
        beta = np.linalg.pinv(np.einsum("ni,nj->ij", a, a)) @ np.einsum("ni,n->i", a, y)
        expected = (x * beta).sum(axis=2)
        squares = ((y - expected[reference, draw + 1]) ** 2).sum()
        return float((self.m - expected)[tested, draw].mean()), float(np.sqrt(squares / (len(y) - len(beta))))

    def z(self, draw: int, tested: Bools, reference: Bools) -> float:
        """Mean z of a draw against the next."""
        excess, spread = self.fit(draw, tested, reference)
        return excess / spread if spread > 1e-9 else np.nan

    def support(self, tested: Bools, reference: Bools) -> float:
        """Share of the tested sequences whose targets have as likely drawn ones."""
        v = np.sort(self.x[reference, 1, 0])
        at = np.searchsorted(v, self.x[tested, 0, 0])
        nearest = np.abs(np.stack([v[np.maximum(at - 1, 0)], v[np.minimum(at, len(v) - 1)]]) - self.x[tested, 0, 0]).min(axis=0)
        return float((nearest <= CALIPER * v.std()).mean())


def redrawn(log_p: Floats, copies: Ints, x: Floats) -> Redrawn:
    """From log p and copies of the targets of each draw in each run, [runs, sequences, draws]. All draws of a sequence are compared
    with the same runs without it."""
    inside, outside = copies > 0, np.broadcast_to((copies == 0).all(axis=2, keepdims=True), copies.shape)
    centre = mean(log_p, inside)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt(mean((log_p - centre) ** 2, inside) / (inside.sum(axis=0) - 1))
    return Redrawn(centre - mean(log_p, outside), error, x)


def without_some_runs(log_p: Floats, copies: Ints, x: Floats, blocks: Ints) -> list[Redrawn]:
    """Without each of sixteen groups of runs, or of fewer. blocks: int [runs], numbers of the runs that belong together."""
    number = np.unique(blocks, return_inverse=True)[1]
    group = number * min(GROUPS_OF_RUNS, int(number.max()) + 1) // (int(number.max()) + 1)
    return [redrawn(log_p[group != g], copies[group != g], x) for g in np.unique(group)]


def estimate(whole: Redrawn, parts: list[Redrawn], draw: int, tested: Bools, reference: Bools) -> tuple[Estimate, Estimate]:
    """(mean z, mean M beyond what is expected in nats) of a draw against the next. Errors are for new runs and new sequences: a
    jackknife over groups of runs, and what one over groups of sequences has beyond what runs alone explain of it."""
    (excess, spread), z = whole.fit(draw, tested, reference), whole.z(draw, tested, reference)
    if not np.isfinite(z):
        return (Estimate(None, note="too few sequences or runs, or M of drawn targets does not vary"),) * 2
    group = (np.cumsum(tested | reference) - 1) % GROUPS_OF_SEQUENCES
    kept = [group != g for g in np.unique(group[tested | reference])]
    sequences = jackknife([whole.z(draw, tested & some, reference & some) for some in kept])
    noise = sum((whole.error[side, draw + n] ** 2).mean() / side.sum() for n, side in enumerate((tested, reference))) / spread**2
    error = (jackknife([part.z(draw, tested, reference) for part in parts]) + max(0.0, sequences - noise)) ** 0.5
    return tuple(Estimate(v, v - Z * e, v + Z * e, standard_error=e) for v, e in ((z, error), (excess, error * spread)))  # type: ignore[return-value]


def why_not(differing: float, support: float, null: Estimate) -> str:
    """Why a group is not testable; "" if it is. null: z of drawn targets taken for original ones."""
    reasons = []
    if differing < LEAST_DIFFERING:
        reasons.append(f"{differing:.0%} of its tokens differ, {LEAST_DIFFERING:.0%} are needed")
    if support < LEAST_SUPPORT:
        reasons.append(f"{support:.0%} of its sequences are in the common support, {LEAST_SUPPORT:.0%} are needed")
    if null.value is None or null.standard_error is None:
        reasons.append("drawn targets taken for original ones have no z")
    elif not (most := abs(null.value) + ONE_SIDED * null.standard_error) < MOST_Z:
        reasons.append(f"drawn targets taken for original ones have |z| + 1.645 SE = {most:.2f}, less than {MOST_Z} is needed")
    return "; ".join(reasons)


def run(work: Work, rows: MetricRows) -> None:
    """The rows of the first model, at the end of its further runs."""
    runs = work.frame("redrawn_runs", "model", "steps", "parameters", "diverged")
    of = ModelCheckpoint(runs["model"][0], int(runs["steps"][0]), float(runs["parameters"][0]))
    rows.exclude(NAME, "the loss or a score was not finite", int(runs["diverged"].sum()), "runs", of=of)
    targets = work.frame("redrawn_targets", "sequence", "draw", "log_p", "differing").sort("sequence", "draw")
    names = targets["sequence"].unique().sort().to_list()
    sequences = (
        work.frame("controlled_sequences", "sequence", "group", "copies").filter(pl.col("sequence").is_in(names)).sort("sequence")
    )
    scores = work.frame("redrawn_scores", "run", "sequence", "draw", "copies", "log_p").filter(pl.col("sequence").is_in(names))
    scores = scores.sort("run", "sequence", "draw")
    if scores.is_empty():
        raise StudyError(f"model {of.model!r}: no run on redrawn targets ended; lower learning_rate in [[membership.models]]")
    log_p, copies = (scores[name].to_numpy().reshape(-1, len(names), 3) for name in ("log_p", "copies"))
    x, differing = targets["log_p"].to_numpy().reshape(-1, 3, 1), targets["differing"].to_numpy().reshape(-1, 3)
    given, leverage = "given V: there is no leverage of each sequence", _leverage(work, of.model, sequences)
    if leverage is not None:
        given, x = "given V and leverage", np.concatenate([x, np.repeat(leverage[:, None, None], 3, axis=1)], axis=2)
    whole, parts = redrawn(log_p, copies, x), without_some_runs(log_p, copies, x, scores["run"].unique().sort().to_numpy() // 4)
    groups = sequences["group"].to_numpy()
    for group in sorted(set(groups.tolist())):
        tested = groups == group
        reference, level = tested, -1.0
        if group == CONTROL:
            reference, level = tested | (groups == LIKE_CONTROL), float(sequences["copies"].to_numpy()[tested][0])
        more: dict[str, Any] = {"of": of, "unit": "sequence", "group": group, "level": level}
        more |= {"rows": int(tested.sum()), "examples": int(tested.sum())}
        contrasts = [estimate(whole, parts, draw, tested, reference) for draw in (0, 1)]
        for detail, made in zip(("own", "drawn"), contrasts, strict=True):
            for statistic, value in zip(("z", "excess"), made, strict=True):
                rows.add(NAME, statistic, value, detail=detail, note=given, **more)
        differs, support = float(differing[tested, 1].mean()), whole.support(tested, reference)
        gap = float((x[tested, 1, 0] - x[tested, 0, 0]).mean())
        for statistic, share in (("differing", differs), ("support", support), ("v_difference", gap)):
            rows.add(NAME, statistic, Estimate(share), **more)
        reason = why_not(differs, support, contrasts[1][0])
        rows.add(NAME, "testable", Estimate(float(not reason)), note=reason, **more)


def _leverage(work: Work, model: str, sequences: pl.DataFrame) -> Floats | None:
    """float [sequences]: log of Gauss-Newton leverage at the middle damping, averaged over the runs that have a sequence; None if
    that of a sequence is not known."""
    table = work.frame("leverage", "model", "damping", "sequence", "gauss_newton").filter(model=model)
    dampings = table["damping"].unique().sort()
    if dampings.is_empty():
        return None
    averages = table.filter(damping=dampings[len(dampings) // 2]).group_by("sequence").agg(pl.col("gauss_newton").mean())
    leverage = sequences.join(averages, on="sequence", how="left", maintain_order="left")["gauss_newton"]
    return np.log(leverage.to_numpy()) if leverage.null_count() == 0 and float(leverage.min() or 0.0) > 0 else None  # type: ignore[arg-type]


def settings(study: Study) -> dict[str, Any]:
    """Nothing: the runs decide."""
    return {}


def applies(study: Study) -> bool:
    """A study with `redrawn` runs."""
    return study.membership is not None and study.membership.redraws


READS = ("controlled_sequences", "redrawn_targets", "redrawn_runs", "redrawn_scores", "leverage")
MEASURE = Measure("label_resampling", READS, settings, run, cost=2.0, applies=applies, keeps_contaminated=True, of_tasks=False)
