"""Claims about memorization, and what an experiment says about each: supported, refuted or inconclusive (docs/memorization.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Verdict = Literal["supported", "refuted", "inconclusive"]
LEVEL = 0.99  # of every interval that decides a claim

STATEMENTS = {
    "T2": "Models that memorize more generalize better only because size, corpus and epochs differ",
    "T4": "Larger models memorize more before they overfit",
    "T6 strong": "The memorization score is statistical leverage",
    "T6 in expectation": "On average the score is leverage: it rises with it, and adds nothing to it about what is extracted",
    "T7": "The score cannot tell memorizing from learning",
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
