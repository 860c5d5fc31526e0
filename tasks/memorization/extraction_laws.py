"""Laws of extraction: how its odds grow with copies, prefix, model and the entropy of the suffix (arXiv 2202.07646 §4).

    logit P(extracted) = b₀ + b₁ log₂ occurrences + b₂ log₂ prefix + b₃ log₁₀ parameters + b₄ bits of the suffix

A row of the fit is a window, a model at its last checkpoint and a prefix of 1, 2, 4 … tokens. Standard errors are robust to
clusters, since the rows of a window and of windows that are alike depend on each other. The entropy enters where it is known. A
curve is the mean fitted probability with one term at a value; it stands next to the rate of phantoms, and minus it.
"""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from schemas.tables.sequences import NULLS
from tasks.measures import MetricRows, checkpoints_of
from tasks.memorization.scored_windows import Mask, mean, of_windows, read_windows
from tasks.statistics import FEWEST_CLUSTERS, Estimate, Floats, Ints, effective_clusters
from tasks.step import Work

Columns = dict[str, Any]
TERMS = ("log2_occurrences", "log2_prefix", "log10_parameters", "entropy_bits")
MOST_WINDOWS = 20_000  # of a sample; the names of windows begin with hashes, so the first ones are a random subset
Z = 1.959963984540054
CERTAIN = 15.0  # log odds: a separation sends some beyond it before the fit ends


@dataclass(frozen=True)
class FitTable:
    """Rows of a fit: whether a window is extracted, the values of the terms [rows, terms], its cluster."""

    extracted: Mask
    terms: Floats
    clusters: Ints

    def only(self, rows: Mask) -> "FitTable":
        """Some of its rows."""
        return FitTable(self.extracted[rows], self.terms[rows], self.clusters[rows])


@dataclass(frozen=True)
class LogisticFit:
    """Coefficients of an intercept and of some terms, and their covariance; `note`: why there is none, or no interval."""

    terms: tuple[int, ...]
    coefficients: Floats
    covariance: Floats
    clusters: float
    left_out: dict[int, str]
    note: str = ""

    def coefficient(self, term: int) -> Estimate:
        """The coefficient of a term, with Wald's interval and p; term −1 is the intercept."""
        from scipy import stats

        if term in self.left_out or not len(self.coefficients):
            return Estimate(None, note=self.left_out.get(term, self.note))
        i = 0 if term == -1 else 1 + self.terms.index(term)
        value, error = float(self.coefficients[i]), float(np.sqrt(self.covariance[i, i]))
        if self.note:
            return Estimate(value, note=self.note, clusters=self.clusters)
        p = float(2 * stats.norm.sf(abs(value / error)))
        return Estimate(value, value - Z * error, value + Z * error, p, standard_error=error, clusters=self.clusters)

    def curve(self, table: Floats, term: int, value: float) -> tuple[float, float]:
        """(mean fitted probability with a term at a value, its standard error by the delta method)."""
        moved = table.copy()
        moved[:, term] = value
        design = np.column_stack([np.ones(len(moved)), moved[:, self.terms]])
        p = 1 / (1 + np.exp(-design @ self.coefficients))
        gradient = (p * (1 - p)) @ design / len(p)
        return float(p.mean()), float(np.sqrt(max(0.0, float(gradient @ self.covariance @ gradient))))


def fit(table: FitTable) -> LogisticFit:
    """The logistic fit with cluster-robust standard errors; a term that does not vary, or follows from others, is left out."""
    clusters = effective_clusters(table.clusters) if len(table.clusters) else 0.0
    left_out, kept = dict[int, str](), list[int]()
    for term in range(table.terms.shape[1]):
        values = table.terms[:, term]
        if np.isnan(values).any():
            left_out[term] = "not known of every window"
        elif not len(values) or np.ptp(values) == 0:
            left_out[term] = "one model" if TERMS[term] == "log10_parameters" else "equal in all rows"
        elif np.linalg.matrix_rank(_standardised(table.terms[:, [*kept, term]])) <= len(kept):
            left_out[term] = "follows from the terms before it"
        else:
            kept.append(term)
    nothing = LogisticFit(tuple(kept), np.empty(0), np.empty((0, 0)), clusters, left_out)
    if not 0 < table.extracted.sum() < len(table.extracted):
        return replace(nothing, note="no fit: all windows are extracted, or none is")
    import statsmodels.api as sm  # slow to import

    design = np.column_stack([np.ones(len(table.extracted)), table.terms[:, kept]])
    model = sm.GLM(table.extracted.astype(np.float64), design, family=sm.families.Binomial())
    few = clusters < FEWEST_CLUSTERS
    robust = {} if few else {"cov_type": "cluster", "cov_kwds": {"groups": table.clusters}}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of a separation, which is tested for
        result = model.fit(maxiter=100, tol=1e-10, **robust)
    if not np.abs(design @ result.params).max() < CERTAIN and _separated(table.extracted, _standardised(table.terms[:, kept])):
        return replace(nothing, note="no fit: the terms separate extracted windows from the others")
    note = f"no interval: fewer than {FEWEST_CLUSTERS:g} clusters" if few else ""
    return replace(nothing, coefficients=np.asarray(result.params), covariance=np.asarray(result.cov_params()), note=note)


def _standardised(columns: Floats) -> Floats:
    return (columns - columns.mean(axis=0)) / columns.std(axis=0)


def _separated(extracted: Mask, columns: Floats) -> bool:
    """Whether some direction has all extracted rows on one side, which sends a coefficient to infinity (Albert & Anderson 1984).
    That is, whether Σ s x·b can be positive while no s x·b is negative; s = ±1."""
    from scipy.optimize import linprog

    rows = np.unique(np.column_stack([extracted, np.ones(len(columns)), columns]), axis=0)
    signed = (2 * rows[:, :1] - 1) * rows[:, 1:]
    most = linprog(-signed.sum(axis=0), A_ub=-signed, b_ub=np.zeros(len(signed)), bounds=(-1, 1), method="highs")
    return bool(-most.fun > 1e-7 * len(signed))


def run(work: Work, rows: MetricRows) -> None:
    """Coefficients and curves of each sample of members, over all models at their last checkpoint."""
    tables = _tables(work, rows)
    for sample, table in tables.items():
        if sample in NULLS:
            law, more = fit(table), dict[str, Any](unit="sequence", group=sample, rows=len(table.extracted))
            more["examples"] = len(np.unique(table.clusters))
            for term, name in [(-1, "intercept"), *enumerate(TERMS)]:
                rows.add("extraction_laws", "coefficient", law.coefficient(term), detail=name, **more)
            null = tables.get(NULLS[sample], table.only(np.zeros(len(table.extracted), np.bool_)))
            for term in law.terms if len(law.coefficients) else ():
                _curve(work, rows, {**more, "detail": TERMS[term]}, law, table, null, term)


def _curve(work: Work, rows: MetricRows, more: Columns, law: LogisticFit, table: FitTable, null: FitTable, term: int) -> None:
    """Points of the curve of one term: its distinct values if there are few, else nine quantiles; each next to phantoms. Phantoms
    at the same prefix or model; occurrences they do not have, and their entropy is not compared."""
    values = np.unique(table.terms[:, term])
    if len(values) > 9:
        values = np.unique(np.quantile(table.terms[:, term], np.linspace(0, 1, 9)))
    for number, value in enumerate(values.tolist()):
        p, error = law.curve(table.terms, term, value)
        slope = p * (1 - p)
        low, high = (1 / (1 + np.exp(-(np.log(p / (1 - p)) + side * Z * error / slope))) if slope else p for side in (-1, 1))
        here = null.only(null.terms[:, term] == value) if TERMS[term] in ("log2_prefix", "log10_parameters") else null
        phantoms = mean(here.extracted.astype(np.float64), np.unique(here.clusters, return_inverse=True)[1], work)
        point = Estimate(p, float(low), float(high), standard_error=error)
        excess = Estimate(None, note="no phantoms to compare with")
        if phantoms.value is not None:
            both, gap = float(np.hypot(error, phantoms.standard_error or 0.0)), p - phantoms.value
            excess = Estimate(gap, gap - Z * both, gap + Z * both)
        if law.note:
            point, excess = (Estimate(e.value, note=e.note or law.note) for e in (point, excess))
        for statistic, estimate in (("curve", point), ("phantoms", phantoms), ("excess", excess)):
            rows.add("extraction_laws", statistic, estimate, bin=number, x=value, **more)


def _tables(work: Work, rows: MetricRows) -> dict[str, FitTable]:
    last = {of.key for of in checkpoints_of(work, last=True)}
    parts: dict[str, list[tuple[Mask, Floats, Ints]]] = {}
    for windows in read_windows(work, rows, "extraction_laws", "extracted_from"):
        if windows.of.key not in last:
            continue
        lengths = sorted({*(1 << i for i in range(windows.prefix.bit_length())), windows.prefix})
        every = windows.clusters(np.arange(len(windows.table)))
        entropy = windows.table["entropy"].to_numpy() if "entropy" in windows.table.columns else np.full(len(every), np.nan)
        occurrences = np.maximum(1, windows.table["occurrences"].to_numpy())
        for sample in windows.samples():
            at = sample.at[:MOST_WINDOWS]
            for length in lengths:
                same = np.full(len(at), np.log10(windows.of.parameters or np.nan))
                columns = [np.log2(occurrences[at]), np.full(len(at), np.log2(length)), same, entropy[at].astype(np.float64)]
                extracted = windows.values["extracted_from"][at, length - 1]
                parts.setdefault(sample.name, []).append((extracted, np.column_stack(columns), every[at]))
    joined = {sample: [np.concatenate(columns) for columns in zip(*some, strict=True)] for sample, some in parts.items()}
    return {sample: FitTable(*columns) for sample, columns in joined.items()}


MEASURE = of_windows("extraction_laws", run)
