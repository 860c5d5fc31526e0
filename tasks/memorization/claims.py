"""Claims about memorization, and what an experiment says about each: supported, refuted or inconclusive (docs/memorization.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Verdict = Literal["supported", "refuted", "inconclusive"]
LEVEL = 0.99  # of every interval that decides a claim

STATEMENTS = {
    "T2": "Models that memorize more generalize better mostly because of their size, corpus and epochs",
    "T4": "Larger models memorize more before they overfit",
    "T6 strong": "The memorization score is statistical leverage",
    "T6 in expectation": "On average the score rises with leverage, within groups too",
    "T7": "The score can be as high where a rule is learned as where a random string is memorized",
    "T8 leave-one-out": "Leaving one copy out does not see what dense text memorizes in many copies",
    "T8 leave-group-out": "Leaving all copies out does not see it either",
    "T9": "Highly memorized sequences are no outliers, because most have an ordinary log p",
}


@dataclass(frozen=True)
class Claim:
    """What one experiment says. `claim`: a key of STATEMENTS; `low`, `high`: the interval of `estimate` at LEVEL; `null`:
    what the estimate would be if nothing were there; `rule`: how the verdict follows from the numbers; `note`: what else a reader
    must know, such as why it is inconclusive. NaN where not defined."""

    claim: str
    estimate: float = np.nan
    low: float = np.nan
    high: float = np.nan
    null: float = np.nan
    verdict: Verdict = "inconclusive"
    rule: str = ""
    note: str = ""
    unit: str = ""


def without_data(claim: str, reason: str) -> Claim:
    """A claim that cannot be decided, and why."""
    return Claim(claim, note=reason)
