"""The table of verdicts in README.md and docs/memorization.md is that of the finished study `memorization`."""

import re

import polars as pl
import pytest

from tests.studies import REPOSITORY

RECORD = pl.read_csv(REPOSITORY / "tests" / "recorded" / "memorization_verdicts.csv")


def numbers(text: str) -> list[float]:
    return [float(n) for n in re.findall(r"-?\d*\.?\d+", text.replace("−", "-"))]


@pytest.mark.parametrize("page", ["README.md", "docs/memorization.md"])
def test_pages_have_the_recorded_verdicts(page: str) -> None:
    shown = re.findall(
        r"^\| (T\d[^:|]*): [^|]* \| \*\*(\w+)\*\* \| (.*?) \| (\S+) \| (\d) of (\d) \|$", (REPOSITORY / page).read_text(), re.M
    )
    assert [row[:2] for row in shown] == RECORD.select("claim", "verdict").rows()
    for (claim, _, estimate, null, agree, seeds), row in zip(shown, RECORD.to_dicts(), strict=True):
        assert (int(agree), int(seeds)) == (row["agree"], row["seeds"]), claim
        assert numbers(null) == pytest.approx([row["null"]], abs=0.006), claim
        low, high = numbers(re.search(r"\[(.*?)\]", estimate)[1]) if "[" in estimate else (row["low"], row["high"])  # type: ignore[index]
        assert (low, high) == pytest.approx((row["low"], row["high"]), abs=0.006), claim
        assert min(abs(n - row["estimate"]) for n in numbers(estimate)) < 0.006, claim
