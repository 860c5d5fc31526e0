"""Generations written by hand: for each window with a miss in its suffix, near the suffix or not, in the corpus or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.storage.store import Part
from tests.support import write_part


def write_generations(
    root: Path, windows: Sequence[dict[str, Any]], scores: Sequence[dict[str, Any]]
) -> tuple[dict[str, Part], dict[str, tuple[list[int], bool, int]]]:
    """recitations and recitation_counts; and (ids, whether they ended, occurrences) by the name of the window."""
    draw, made = np.random.default_rng(11), {}
    for window, score in zip(windows, scores, strict=True):
        prefix = window["prefix"]
        if not all(hits := list(score["hits"][prefix:])):
            miss, ids = hits.index(False), np.array(window["ids"][prefix:])
            ids[miss:] = np.where(draw.random(len(ids) - miss) < 0.5, ids[miss:], 300)
            ids[miss] = 300
            ended = miss > 0 and draw.random() < 0.2
            made[window["sequence"]] = ([*ids[:miss].tolist(), 0] if ended else ids.tolist(), ended, int(draw.integers(0, 3)))
    n, names = len(made), list(made)
    rows = {"model": ["o"] * n, "checkpoint": [7] * n, "sequence": names, "first_miss": [0] * n}
    rows |= {
        "ids": [m[0] for m in made.values()],
        "ended": [m[1] for m in made.values()],
        "generation": [f"g{name}" for name in names],
    }
    counted = sorted((f"g{name}", count) for name, (_, over, count) in made.items() if not over)
    counts = {"generation": [c[0] for c in counted], **{n: [c[1] for c in counted] for n in ("occurrences", "documents")}}
    parts = {"recitations": write_part(root, "recitations", rows, {"model": "o", "checkpoint": "7"})}
    return parts | {"recitation_counts": write_part(root, "recitation_counts", counts)}, made
