"""How a number is written, in sentences, tables, axes and the terminal.

A number that could not be computed is never shown as 0: it is "no evidence", with the reason.
"""

import math
from collections.abc import Sequence

from tasks.report.numbers import HUNDREDS, SHARES, MetricRow, has_interval, has_number

NO_EVIDENCE = "no evidence"
CORRELATIONS = ("spearman", "pearson", "kendall", "spearman_difference")


def number(value: float | None, statistic: str = "spearman") -> str:
    """Shares as percent, BLEU and chrF on their own scale with one decimal, sizes in short, all else with two decimals."""
    if value is None or not math.isfinite(value):
        return "–"
    if statistic in ("documents_per_nat", "onset_parameters"):
        return short(value) if statistic == "onset_parameters" else f"{value:.3g}"
    value *= 100 if statistic in SHARES else 1
    text = f"{value:.1f}" if statistic in (*SHARES, *HUNDREDS) else f"{value:.2f}"
    text = text.lstrip("-") if float(text) == 0 else text
    return text.replace("-", "−") + (" %" if statistic in SHARES else "")


def interval(row: MetricRow | None) -> str:
    """`[0.30, 0.52]`, or nothing."""
    if row is None or not has_interval(row):
        return ""
    low, high = (number(row[end], row["statistic"]).removesuffix(" %") for end in ("low", "high"))
    return f"[{low}, {high}]"


def with_interval(row: MetricRow | None) -> str:
    """`0.41 [0.30, 0.52]`, or that there is no evidence."""
    if row is None or not has_number(row):
        return NO_EVIDENCE
    return f"{number(row['estimate'], row['statistic'])} {interval(row)}".strip()


def any_number(row: MetricRow) -> str:
    """`0.41 [0.30, 0.52]` of any statistic, in one piece; with four digits where it is neither a share nor a correlation."""
    if not has_number(row) or row["statistic"] in (*SHARES, *HUNDREDS, *CORRELATIONS):
        return with_interval(row).replace(", ", ",\u00a0")
    ends = f" [{row['low']:.4g},\u00a0{row['high']:.4g}]" if has_interval(row) else ""
    return f"{row['estimate']:.4g}{ends}".replace("-", "−")


def decided(row: MetricRow) -> str:
    """`0.79 [0.75, 0.84] nats`: the estimate of a claim, to three digits; without one, the reason."""
    if row["estimate"] is None:
        return row["note"] or "–"
    ends = [row["estimate"], row["low"], row["high"]] if row["low"] is not None else [row["estimate"]]
    first, *others = (f"{v:.3g}".replace("-", "−") for v in ends)
    return " ".join(filter(None, (first, f"[{', '.join(others)}]".replace(", ", ",\u00a0") if others else "", row["unit"])))


def statistic_name(statistic: str) -> str:
    """A statistic as an axis names it; shares are drawn as percent."""
    return statistic.replace("_", " ") + (", %" if statistic in SHARES else "")


def integer(value: int) -> str:
    """12,345 as 12 345 with narrow spaces, which no language reads as a decimal mark."""
    return f"{value:,}".replace(",", "\u202f")


def short(value: float) -> str:
    """1_060_000 as 1.06M."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))
