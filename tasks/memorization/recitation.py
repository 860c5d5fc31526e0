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

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.measures import MetricRows
from tasks.memorization.extraction import longest_run
from tasks.memorization.scored_windows import READS, Mask, ScoredWindows, as_array, number_of_piece, of_windows, read_windows
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
    names = work.frame("sequences", "sequence")["sequence"]
    for windows in read_windows(work, rows, "recitation", of="sequence_scores"):
        which = names.search_sorted(windows.table["sequence"]).to_numpy()
        means, shares = _values(work, windows, names)
        for sample in windows.samples():
            for detail, values in means.items():
                sample.add_mean(values[which], detail=detail)
            for (detail, level), true in shares.items():
                sample.add_rate(true[which], detail=detail, level=level)


def _values(work: Work, windows: ScoredWindows, names: pl.Series) -> tuple[dict[str, Floats], dict[tuple[str, float], Mask]]:
    """Numbers by their name, and what is true of a window by name and level: an array each, of all windows in the order of their
    names. Where there is no generation, it is the suffix."""
    labels, count = {"model": windows.of.model, "checkpoint": str(windows.of.checkpoint)}, len(names)
    read, counts = work.in_order(work.parts("sequences")[0], "ids"), work.frame("recitation_counts", "generation", "occurrences")
    length = len(read(range(1))["ids"][0]) - windows.prefix
    means = {"agreement": np.ones(count), "edit similarity": np.ones(count), "substring": np.full(count, float(length))}
    exact, near, ended = np.ones(count, bool), np.ones(count, bool), np.zeros(count, bool)
    anywhere = work.frame("sequences", "suffix_occurrences")["suffix_occurrences"].to_numpy() > 0
    for part in sorted((p for p in work.parts("recitations") if labels.items() <= p.labels.items()), key=number_of_piece):
        place = names.search_sorted(work.frame(part, "sequence")["sequence"]).to_numpy()
        generations = work.in_order(part, "ids", "ended", "generation")
        for first in range(0, count, WINDOWS_AT_ONCE):
            begin, end = np.searchsorted(place, [first, first + WINDOWS_AT_ONCE])
            if begin == end:
                continue
            at, rows = place[begin:end], pl.DataFrame(generations(range(begin, end)))
            ids = pl.DataFrame(read(range(first, min(first + WINDOWS_AT_ONCE, count))))["ids"]
            suffixes = as_array(ids.gather(at - first))[:, windows.prefix :]
            lengths = rows["ids"].list.len().to_numpy().astype(np.int64)
            texts = np.full((end - begin, length), NOTHING, np.int32)
            texts[np.arange(length) < lengths[:, None]] = rows["ids"].explode().to_numpy()
            means["agreement"][at] = agreement(texts, suffixes)
            means["edit similarity"][at] = edit_similarity(texts, suffixes)
            means["substring"][at] = longest_substring(texts, suffixes)
            exact[at], near[at], ended[at] = False, bleu(texts, suffixes) > BLEU_LEVEL, rows["ended"].to_numpy()
            counted = rows.select("generation").join(counts, on="generation", how="left", maintain_order="left")["occurrences"]
            anywhere[at] = counted.fill_null(0).to_numpy() > 0
    shares = {("exact", -1.0): exact, ("bleu", BLEU_LEVEL): near, ("anywhere", -1.0): anywhere, ("ended", -1.0): ended}
    return means, shares | {("edit similarity", level): means["edit similarity"] >= level for level in EDIT_LEVELS}


MEASURE = of_windows("recitation", run, (*READS, "recitations", "recitation_counts"), applies=asks_for_recitation)
