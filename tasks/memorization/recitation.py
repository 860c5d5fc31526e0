"""Recitation: how near what a model writes is to the suffix, and whether it occurs anywhere in the corpus.

    agreement       share of the suffix's positions at which both have the same token   (arXiv 2304.11158: memorization score)
    edit similarity 1 − edits / length of the longer one, in tokens
    substring       the most tokens in a row, from any place of the one, that occur in the other
    bleu            more than .75: approximately memorized                             (arXiv 2210.17546 §3)
    anywhere        the generation occurs in the corpus, whatever precedes it there     (arXiv 2202.07646 §3)

The generation is greedy, and stops after a token that ends the document. BLEU is sacreBLEU's, of token ids as words, of one to four
words in a row, without smoothing: it is 0 where no four in a row agree; a generation of fewer tokens has as many orders. One that
ended early does not count as text of the corpus, because less text occurs more easily. Each number has that of phantoms next to it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.measures import MetricRows
from tasks.memorization.extraction import longest_run
from tasks.memorization.scored_windows import READS, ScoredWindows, of_windows, read_windows
from tasks.statistics import Floats, Ints
from tasks.step import Work, asks_for_recitation

BLEU_LEVEL, EDIT_LEVELS = 0.75, (0.5, 0.75, 0.9)
WINDOWS_AT_ONCE = 1 << 16  # bounds memory
NOTHING = -1  # the token of a generation behind its end
Tokens = NDArray[np.int32]  # [windows, tokens]


def agreement(generations: Tokens, suffixes: Tokens) -> Floats:
    """float64 [windows]: the share of positions with the same token."""
    return (generations == suffixes).mean(axis=1)


def longest_substring(generations: Tokens, suffixes: Tokens) -> Ints:
    """int64 [windows]: the most tokens in a row that both have, wherever they begin."""
    length = suffixes.shape[1]
    longest = np.zeros(len(suffixes), np.int64)
    for shift in range(1 - length, length):
        here, there = slice(max(0, shift), length + min(0, shift)), slice(max(0, -shift), length + min(0, -shift))
        longest = np.maximum(longest, longest_run(generations[:, here] == suffixes[:, there]))
    return longest


def edit_similarity(generations: Tokens, suffixes: Tokens) -> Floats:
    """float64 [windows]: 1 − Levenshtein distance in tokens / length of the longer one."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cpdist

    return cpdist(_texts(generations), _texts(suffixes), scorer=Levenshtein.normalized_similarity, dtype=np.float64)


def _texts(ids: Tokens) -> list[str]:
    """A character for each token; NumPy drops those of 0, the end of a generation."""
    return (np.ascontiguousarray(ids, np.uint32) + np.uint32(1)).view(f"<U{ids.shape[1]}")[:, 0].tolist()


def bleu(generations: Tokens, suffixes: Tokens) -> Floats:
    """float64 [windows]: sentence BLEU-4 of token ids, 0 to 1; effective order, no smoothing."""
    from sacrebleu.metrics import BLEU

    metric, scores = BLEU(tokenize="none", smooth_method="none", effective_order=True), np.zeros(len(suffixes))
    lengths = (generations != NOTHING).sum(axis=1)
    for row in np.flatnonzero(longest_substring(generations, suffixes) >= np.minimum(lengths, 4)):  # elsewhere it is 0
        written, suffix = (" ".join(map(str, of)) for of in (generations[row, : lengths[row]], suffixes[row]))
        scores[row] = metric.sentence_score(written, [suffix]).score / 100
    return scores


def run(work: Work, rows: MetricRows) -> None:
    """Every number of each sample of each checkpoint, and its excess over that of phantoms."""
    if not work.parts("sequences"):
        return
    names, suffixes = _suffixes(work)
    counts = work.frame("recitation_counts", "generation", "occurrences")
    for windows in read_windows(work, rows, "recitation", of="sequence_scores"):
        which = names.search_sorted(windows.table["sequence"]).to_numpy()
        means, shares = _values(suffixes[which], _recited(work, windows, counts))
        for sample in windows.samples():
            for detail, values in means.items():
                sample.add_mean(values, detail=detail)
            for (detail, level), true in shares.items():
                sample.add_rate(true, detail=detail, level=level)


def _suffixes(work: Work) -> tuple[pl.Series, Tokens]:
    """The names of all windows, in their order, and their suffixes."""
    (part,) = work.parts("sequences")
    names, suffixes = [], []
    for batch in work.batches(part, "sequence", "ids", "prefix", rows=1 << 16):
        ids = batch.column("ids").flatten().to_numpy().reshape(batch.num_rows, -1)
        suffixes.append(ids[:, batch.column("prefix")[0].as_py() :].copy())  # a copy, so that the prefixes do not stay in memory
        names.append(pl.Series(batch.column("sequence")))
    return pl.concat(names), np.concatenate(suffixes)


def _recited(work: Work, windows: ScoredWindows, counts: pl.DataFrame) -> pl.DataFrame:
    """For each window the generation's ids and whether it ended, null where it is the suffix; and its occurrences."""
    labels = {"model": windows.of.model, "checkpoint": str(windows.of.checkpoint)}
    parts = [p for p in work.parts("recitations") if labels.items() <= p.labels.items()]
    written = pl.concat([work.frame_part(p, "sequence", "ids", "ended", "generation") for p in parts])
    table = windows.table.select("sequence", "suffix_occurrences").join(written, on="sequence", how="left", maintain_order="left")
    table = table.join(counts, on="generation", how="left", maintain_order="left")
    suffix = pl.when(pl.col("ids").is_null()).then("suffix_occurrences").otherwise(0)
    return table.select("ids", "ended", occurrences=pl.col("occurrences").fill_null(suffix))


def _values(suffixes: Tokens, recited: pl.DataFrame) -> tuple[dict[str, Floats], dict[tuple[str, float], NDArray[np.bool_]]]:
    """Numbers by their name, and what is true of a window by name and level: an array of windows each."""
    exact = recited["ids"].is_null().to_numpy()
    missed, ids = np.flatnonzero(~exact), recited["ids"].drop_nulls()
    lengths = ids.list.len().to_numpy().astype(np.int64)
    written = np.full((len(lengths), suffixes.shape[1]), NOTHING, np.int32)
    written[np.arange(written.shape[1]) < lengths[:, None]] = ids.explode().to_numpy()

    def of(score: Callable[[Tokens, Tokens], NDArray[Any]], highest: float = 1.0) -> Floats:
        """A score of each window: the highest where the generation is the suffix."""
        values = np.full(len(exact), float(highest))
        for first in range(0, len(written), WINDOWS_AT_ONCE):
            some = slice(first, first + WINDOWS_AT_ONCE)
            values[missed[some]] = score(written[some], suffixes[missed[some]])
        return values

    means = {"agreement": of(agreement), "edit similarity": of(edit_similarity)}
    means["substring"] = of(longest_substring, suffixes.shape[1])
    shares = {("exact", -1.0): exact, ("bleu", BLEU_LEVEL): of(bleu) > BLEU_LEVEL}
    shares |= {("edit similarity", level): means["edit similarity"] >= level for level in EDIT_LEVELS}
    shares[("anywhere", -1.0)] = recited["occurrences"].to_numpy() > 0
    shares[("ended", -1.0)] = recited["ended"].fill_null(False).to_numpy()
    return means, shares


MEASURE = of_windows("recitation", run, (*READS, "recitations", "recitation_counts"), applies=asks_for_recitation)
