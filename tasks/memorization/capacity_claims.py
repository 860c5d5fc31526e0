"""What the grid of capacities says about two claims: that memorizing and generalizing go together only by capacity (T2), and that
larger models memorize more before they overfit (T4; Tirumala et al., arXiv 2205.10770)."""

from __future__ import annotations

import numpy as np

from tasks.memorization.capacity_runs import CapacityRuns, correlations
from tasks.memorization.claims import LEVEL, Claim, Verdict, without_data

NEGLIGIBLE_SLOPE = 0.005  # half a percent of the tokens for each doubling of the size
FEWEST_STRATA = 3
T2_RULE = (
    "supported: the raw correlation is above 0, and less than half of it is left given size, corpus and epochs, by intervals; "
    "refuted: what is left is above 0 and more than half"
)
T4_RULE = (
    f"supported: the interval of the slope is above 0; refuted: it is not, and below {NEGLIGIBLE_SLOPE:g}, half a percent of the "
    "tokens for a doubling of the parameters"
)


def t2(runs: CapacityRuns, of: str = "bits") -> Claim:
    """Whether the correlation of memorization and generalization vanishes or turns round once capacity is fixed. The estimate is
    the partial rank correlation given size, corpus and epochs."""
    if len(np.unique(runs.parameters)) < 2:
        return without_data("T2", "one size only: raise the number of sizes in [capacity] hidden")
    made = correlations(runs, of, LEVEL)
    if missing := [e.note for e in made.values() if e.low is None]:
        return without_data("T2", missing[0])
    (raw, raw_low, raw_high), (fixed, low, high), (_, half_low, half_high) = (
        np.array([e.value, e.low, e.high], float) for e in made.values()
    )
    verdict: Verdict = "inconclusive"
    if raw_low > 0 and half_low > 0:
        verdict = "supported"
    elif low > 0 and half_high < 0:
        verdict = "refuted"
    note = f"raw rank correlation {raw:.2f} ({raw_low:.2f} to {raw_high:.2f}) over {len(runs)} runs"
    note += "" if raw_low > 0 else "; where it is not above 0, there is nothing to explain"
    return Claim("T2", float(fixed), float(low), float(high), 0.0, verdict, T2_RULE, note, "partial rank correlation")


def slopes(runs: CapacityRuns) -> np.ndarray:
    """float [strata]: least-squares slope of memorization before overfitting on log2 parameters, in each setting with two sizes."""
    strata, x = runs.strata(runs.corpus, runs.epochs, runs.variant), np.log2(runs.parameters)
    out = []
    for stratum in np.unique(strata):
        here = strata == stratum
        if np.ptp(x[here]) > 0:
            centred = x[here] - x[here].mean()
            out.append(float(centred @ runs.before[here] / (centred @ centred)))
    return np.array(out)


def t4(runs: CapacityRuns) -> Claim:
    """Whether token accuracy beyond phantoms, before a run overfits, rises with size: the mean slope over all other settings."""
    from scipy import stats

    if len(np.unique(runs.parameters)) < 2:
        return without_data("T4", "one size only: raise the number of sizes in [capacity] hidden")
    each = slopes(runs)
    if len(each) < FEWEST_STRATA or not np.isfinite(each).all():
        return without_data("T4", f"fewer than {FEWEST_STRATA} settings of corpus, epochs, copies and weight decay with two sizes")
    value, error = float(each.mean()), float(each.std(ddof=1) / len(each) ** 0.5)
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(each) - 1)) * error
    low, high = value - half, value + half
    verdict: Verdict = "supported" if low > 0 else "refuted" if high < NEGLIGIBLE_SLOPE else "inconclusive"
    note = f"{int(runs.overfits.sum())} of {len(runs)} runs overfit; of the others the end of the training counts"
    return Claim("T4", value, low, high, 0.0, verdict, T4_RULE, note, "token accuracy per doubling of parameters")
