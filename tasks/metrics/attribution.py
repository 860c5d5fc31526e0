"""What a model's log-probabilities follow: the pair, s_y, s_x or the length (docs/method.md §6d, the attribution bar).

    R²      of the mid-ranks of log P_LLM on those of log C(s_x, s_y), log df(s_y), log df(s_x) and the length of s_y
    unique  R² of all minus R² without the part; shared: R² minus all unique parts; unexplained: 1 - R²
The parts add up to 1. `shared` is below 0 where parts hide each other (suppression). A unique part is never below 0, and so its
interval stays above 0 by a little even where there is nothing: about 1 / rows.
"""

import numpy as np
import polars as pl

from tasks.measures import Measure, MetricRows, ModelCheckpoint, orders_of, settings_of_all_orders
from tasks.pair_evidence import PAIRS_AND_SCORES, TaskEvidence, read_evidence
from tasks.pair_measures import NO_EVIDENCE, NO_SCORE, floats
from tasks.statistics import Estimate, Floats, bootstrap_many, with_interval
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


def length_of(pairs: pl.DataFrame) -> list[Floats]:
    """The length of s_y, in characters, and in words for whole answers."""
    text = pairs["output_ngram"]
    return [floats(text.str.len_chars()), floats(text.str.count_matches(" ") + 1)]


def predictors_of(pairs: pl.DataFrame) -> dict[str, list[Floats]]:
    """The predictors of each part. Ranks need no logarithm."""
    counts = {"pair": "pair_documents", "s_y": "output_documents", "s_x": "input_documents"}
    return {part: [floats(pairs[column])] for part, column in counts.items()} | {"length": length_of(pairs)}


def unique_shares(matrices: Floats, parts: dict[str, list[int]]) -> dict[str, Floats]:
    """The parts of the rank variance of column 0, for a stack of matrices; each part names its columns."""
    everything = sorted(c for columns in parts.values() for c in columns)
    whole = explained(matrices, everything)
    unique = {name: whole - explained(matrices, [c for c in everything if c not in columns]) for name, columns in parts.items()}
    return unique | {"shared": whole - sum(unique.values()), "unexplained": 1 - whole}


def _bar(work: Work, rows: MetricRows, evidence: TaskEvidence, pairs: pl.DataFrame, order: int, of: ModelCheckpoint) -> None:
    log_prob = evidence.of(of).log_prob[pairs["span"].to_numpy()]
    kept, y = pairs.filter(pl.Series(np.isfinite(log_prob))), log_prob[np.isfinite(log_prob)]
    columns, parts = [y], {}
    for name, predictors in predictors_of(kept).items():
        varying = [p for p in predictors if len(np.unique(p)) > 1]
        parts[name] = list(range(len(columns), len(columns) + len(varying)))
        columns += varying
    why = NO_EVIDENCE if not len(pairs) else NO_SCORE if not len(kept) else ""
    why = why or (f"fewer than {max(FEWEST_ROWS, len(columns) + 1)} rows" if len(kept) <= max(2, len(columns)) else "")
    why = why or ("log P_LLM is the same in all rows" if y.min() == y.max() else "")
    over, used = evidence.rows(kept, y, y), {name: at for name, at in parts.items() if at}
    point, drawn = {}, {}
    if not why:
        point = unique_shares(rank_correlations(np.array(columns))[None], used)
        if over.examples > 1:
            draws = bootstrap_many(np.array(columns), over.example, None, work.settings["draws"], work.settings["seed"])
            drawn = unique_shares(draws, used)
    for name in (*PARTS, "shared", "unexplained"):
        estimate = Estimate(None, note=why or f"{name} is the same in all rows")
        if name in point:
            estimate = with_interval(point[name][0], drawn.get(name))
        rows.add("attribution", "unique_rank_variance", estimate, of=of, order=order, unit="pair", detail=name, over=over)


MEASURE = Measure("attribution", PAIRS_AND_SCORES, settings_of_all_orders, run, cost=3.0)
