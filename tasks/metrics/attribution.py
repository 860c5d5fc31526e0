"""What a model's log-probabilities follow: the pair, s_y, s_x or the length (docs/method.md §6d, the attribution bar).

    R²      of the mid-ranks of log P_LLM on those of log C(s_x, s_y), log df(s_y), log df(s_x) and the length of s_y
    unique  R² of all minus R² without the part; shared: R² minus all unique parts; unexplained: 1 - R²
The parts add up to 1. `shared` is below 0 where parts hide each other (suppression). A unique part is never below 0, and so its
interval stays above 0 by a little even where there is nothing: about 1 / rows.
"""

from typing import Any

import numpy as np
import polars as pl

from tasks.measures import Measure, MetricRows, ModelCheckpoint, orders_of, settings_of_all_orders
from tasks.pair_evidence import NO_EVIDENCE, NO_SCORE, PAIRS_AND_SCORES, TaskEvidence, codes_of, floats, read_evidence
from tasks.statistics import Estimate, Floats, bootstrap_many, effective_clusters, with_interval
from tasks.statistics.correlation import FEWEST_ROWS
from tasks.statistics.partial import explained, rank_correlations
from tasks.step import Work

PARTS = ("pair", "s_y", "s_x", "length")


def run(work: Work, rows: MetricRows) -> None:
    """The bar of every order and each model's last checkpoint."""
    evidence = read_evidence(work, rows.task, last=True)
    for order in orders_of(work):
        pairs = evidence.supported(order)
        for checkpoint in evidence.models:
            _bar(work, rows, evidence, pairs, order, checkpoint)


def predictors_of(pairs: pl.DataFrame) -> dict[str, list[Floats]]:
    """The predictors of each part. Ranks need no logarithm; the length is in characters, and in words for whole answers."""
    text = pairs["output_ngram"]
    return {
        "pair": [floats(pairs["pair_documents"])],
        "s_y": [floats(pairs["output_documents"])],
        "s_x": [floats(pairs["input_documents"])],
        "length": [floats(text.str.len_chars()), floats(text.str.count_matches(" ") + 1)],
    }


def unique_shares(matrices: Floats, parts: dict[str, list[int]]) -> dict[str, Floats]:
    """The parts of the rank variance of column 0, for a stack of matrices; each part names its columns."""
    everything = sorted(c for columns in parts.values() for c in columns)
    whole = explained(matrices, everything)
    unique = {name: whole - explained(matrices, [c for c in everything if c not in columns]) for name, columns in parts.items()}
    return unique | {"shared": whole - sum(unique.values()), "unexplained": 1 - whole}


def _bar(work: Work, rows: MetricRows, evidence: TaskEvidence, pairs: pl.DataFrame, order: int, of: ModelCheckpoint) -> None:
    y = evidence.of(of).log_prob[pairs["span"].to_numpy()]
    scored = np.isfinite(y)
    kept, y = pairs.filter(pl.Series(scored)), y[scored]
    columns, parts = [y], {}
    for name, predictors in predictors_of(kept).items():
        varying = [p for p in predictors if len(np.unique(p)) > 1]
        parts[name] = list(range(len(columns), len(columns) + len(varying)))
        columns += varying
    why = NO_EVIDENCE if not len(pairs) else NO_SCORE if not len(kept) else ""
    why = why or (f"fewer than {max(FEWEST_ROWS, len(columns) + 1)} rows" if len(kept) <= max(2, len(columns)) else "")
    why = why or ("log P_LLM is the same in all rows" if y.min() == y.max() else "")
    example = kept["example"].to_numpy()
    several, used = len(np.unique(example)) > 1, {name: at for name, at in parts.items() if at}
    point, drawn = {}, {}
    if not why:
        table = np.array(columns)
        point = unique_shares(rank_correlations(table)[None], used)
        if several:
            drawn = unique_shares(bootstrap_many(table, example, None, work.settings["draws"], work.settings["seed"]), used)
    for name in (*PARTS, "shared", "unexplained"):
        if why or name not in point:
            estimate = Estimate(None, note=why or f"{name} is the same in all rows")
        else:
            estimate = with_interval(point[name][0], drawn[name] if several else None)
        more: dict[str, Any] = {"of": of, "order": order, "unit": "pair", "detail": name}
        size: dict[str, Any] = {"rows": len(kept), "examples": len(np.unique(example))}
        size |= {"clusters": effective_clusters(codes_of(example)) if len(kept) else None}
        rows.add("attribution", "unique_rank_variance", estimate, **more, **size)


MEASURE = Measure("attribution", PAIRS_AND_SCORES, settings_of_all_orders, run, cost=3.0)
