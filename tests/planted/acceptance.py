"""What has to come out of the worlds whose truth is known (docs/method.md §16), for any number of worlds.

For 2,000 worlds the bands are those of the specification; for fewer they are the binomial ones that a right method passes as
often, with probability .998.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scipy import stats

ALL = 2_000
MISTAKES = ("min_count", "added", "never_reset")  # documents by occurrences is no mistake, but the paper's other measure
LEAST_DETECTED, LEAST_NAIVE = 0.99, 0.30


def band(worlds: int, share: float, at_all: tuple[int, int]) -> tuple[int, int]:
    """Fewest and most worlds of which `share` is expected."""
    if worlds == ALL:
        return at_all
    low, high = stats.binom.ppf([0.001, 0.999], worlds, share)
    return int(low), int(high)


def verdicts(found: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Each claim in words, and whether it holds."""
    n = found["worlds"]
    low, high = band(n, 0.95, (1_870, 1_930))
    claims = [
        (
            f"coverage: {found['covered']} of {n} intervals hold ρ* ({low}-{high}), half-width {found['half_width']:.4f}",
            low <= found["covered"] <= high,
        )
    ]
    low, high = band(n, 0.05, (70, 130))
    for design, count in found["rejected"].items():
        claims.append((f"{design}: {count} of {n} rejected by the two-way p ({low}-{high})", low <= count <= high))
        count = found["pigeonhole"][design]
        claims.append((f"{design}: {count} of {n} rejected by the pigeonhole bootstrap (at most {high})", count <= high))
        count = found["naive"][design]
        enough = design != "shared_output" or count >= LEAST_NAIVE * n
        least = f" (at least {LEAST_NAIVE:.0%})" if design == "shared_output" else ""
        claims.append((f"{design}: {count} of {n} rejected by scipy{least}", enough))
    for mistake, count in found["detected"].items():
        must = mistake in MISTAKES
        claims.append(
            (
                f"{mistake}: outside the interval in {count} of {n}" + (f" (at least {LEAST_DETECTED:.0%})" if must else ""),
                not must or count >= LEAST_DETECTED * n,
            )
        )
    return claims
