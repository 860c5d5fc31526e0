"""What models write is compared with suffixes token by token, and looked for in the whole corpus."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.memorization import MEASURES
from tasks.memorization.recitation import BLEU_LEVEL, EDIT_LEVELS, NOTHING, agreement, bleu, edit_similarity, longest_substring
from tasks.metrics.measure import MEASURE, with_measures
from tasks.models.pretrain import MODELS
from tasks.models.recite import RECITE
from tasks.models.score_sequences import SCORE_SEQUENCES
from tasks.ngrams.count_recitations import COUNT_RECITATIONS
from tasks.statistics import difference, wilson
from tests.memorization.generations import write_generations
from tests.memorization.test_measures import PREFIX, T, measured
from tests.models import small
from tests.models.test_recite import half_known
from tests.models.test_score_sequences import sequences
from tests.ngrams.test_sequences import write
from tests.support import read_rows, run_step

TOKENS = st.lists(st.integers(0, 3), min_size=7, max_size=7)
PAIRS = st.lists(st.tuples(TOKENS, TOKENS, st.integers(1, 7)), min_size=1, max_size=5)


def arrays(pairs: list[tuple[list[int], list[int], int]]) -> tuple[np.ndarray, np.ndarray]:
    """Generations, of which only so many tokens were written, and suffixes."""
    written = [[*of[:end], *[NOTHING] * (len(of) - end)] for of, _, end in pairs]
    return np.array(written, np.int32), np.array([suffix for _, suffix, _ in pairs], np.int32)


def edits(a: list[int], b: list[int]) -> int:
    if not a or not b:
        return len(a) + len(b)
    return (
        min(edits(a[1:], b) + 1, edits(a, b[1:]) + 1, edits(a[1:], b[1:]) + (a[0] != b[0])) if a[0] != b[0] else edits(a[1:], b[1:])
    )


def grams(ids: list[int], n: int) -> Counter[tuple[int, ...]]:
    return Counter(tuple(ids[i : i + n]) for i in range(len(ids) - n + 1))


def slow_bleu(written: list[int], suffix: list[int]) -> float:
    """Papineni et al. 2002: the geometric mean of clipped precisions, and the brevity penalty; no smoothing."""
    precisions = [
        (grams(written, n) & grams(suffix, n)).total() / (len(written) - n + 1) for n in range(1, min(4, len(written)) + 1)
    ]
    return math.exp(min(0.0, 1 - len(suffix) / len(written))) * math.prod(precisions) ** (1 / len(precisions))


@given(PAIRS)
def test_scores_equal_their_definitions(pairs: list[tuple[list[int], list[int], int]]) -> None:
    written, suffixes = arrays(pairs)
    found = zip(*(f(written, suffixes) for f in (agreement, edit_similarity, longest_substring, bleu)), strict=True)
    for (ids, suffix, end), (same, near, run, score) in zip(pairs, found, strict=True):
        ids = ids[:end]
        assert same == sum(a == b for a, b in zip(ids, suffix, strict=False)) / 7
        assert near == pytest.approx(1 - edits(ids, suffix) / 7)
        pieces = {tuple(ids[i:j]) for i in range(end) for j in range(i + 1, end + 1)}
        assert run == max((len(p) for p in pieces if any(tuple(suffix[k : k + len(p)]) == p for k in range(7))), default=0)
        assert score == pytest.approx(slow_bleu(ids, suffix), abs=1e-9)


def test_each_score_sees_what_it_is_for() -> None:
    suffix = np.arange(100, 132, dtype=np.int32)[None]

    def scores(ids: list[int]) -> tuple[float, ...]:
        written = np.array([[*ids, *[NOTHING] * (32 - len(ids))]], np.int32)
        return tuple(float(f(written, suffix)[0]) for f in (agreement, edit_similarity, longest_substring, bleu))

    same, near, run, score = scores([*range(100, 131), 7])  # not exact, for its last token, and as good as
    assert (same, near, run) == (31 / 32, 31 / 32, 31) and score > 0.95
    same, near, run, score = scores([7, *range(100, 131)])  # one token more in front: no position agrees
    assert (same, near, run) == (0, 1 - 2 / 32, 31) and score > 0.9
    assert scores([i if k % 3 else 7 for k, i in enumerate(range(100, 132))])[3] == 0, "unsmoothed: no four in a row agree"
    assert scores(list(range(100, 124)))[3] == pytest.approx(math.exp(1 - 32 / 24)), "an end that came early costs"
    short = np.array([[5, 6]], np.int32)
    assert bleu(short, short)[0] == pytest.approx(1), "two tokens have two orders"
    texts = np.array([[1, 11]], np.int32), np.array([[11, 1]], np.int32)
    assert edit_similarity(*texts).tolist() == [0.0], "edits of tokens, not of the characters that write their ids"


def test_tokens_of_any_vocabulary_are_told_apart() -> None:
    """Characters that Python treats in a way of its own: NUL, surrogates, the last one; and an end."""
    ids = np.array([[0, 0xD7FF, 0xDBFF, 0xDFFF, 1_000_000, 0]], np.int32)
    assert edit_similarity(ids, ids).tolist() == [1.0]
    other = ids.copy()
    other[0, -1] = NOTHING
    assert edit_similarity(other, ids).tolist() == [5 / 6]


# -- the step ---------------------------------------------------------------------------------------------------------
def test_every_number_equals_its_definition_and_stands_next_to_that_of_phantoms(tmp_path: Path) -> None:
    found, windows, scores = measured(tmp_path)
    _, made = write_generations(tmp_path / "again", windows, scores)
    numbers: dict[str, dict[tuple[str, float], list[float]]] = {"uniform": {}, "phantoms": {}}
    for window in windows:
        suffix = window["ids"][PREFIX:]
        ids, ended, occurrences = made.get(window["sequence"], (suffix, False, window["suffix_occurrences"]))
        written, target = arrays([(ids + [0] * (T - PREFIX - len(ids)), suffix, len(ids))])
        near = float(edit_similarity(written, target)[0])
        values = {"agreement": agreement(written, target)[0], "substring": longest_substring(written, target)[0]}
        values |= {"exact": ids == suffix, "ended": ended, "anywhere": occurrences > 0 and not ended, "edit similarity": near}
        of = {(name, -1.0): float(value) for name, value in values.items()}
        of |= {("bleu", BLEU_LEVEL): float(bleu(written, target)[0] > BLEU_LEVEL)}
        for key, value in (of | {("edit similarity", level): float(near >= level) for level in EDIT_LEVELS}).items():
            numbers[window["sample"]].setdefault(key, []).append(value)
    rows = {key[1:5]: row for key, row in found.items() if key[0] == "recitation"}
    assert len(rows) == 3 * len(numbers["uniform"]), "a number of each sample, and the excess of members"
    for (detail, level), members in numbers["uniform"].items():
        others = numbers["phantoms"][detail, level]
        kind = "mean" if detail in ("agreement", "substring") or (detail, level) == ("edit similarity", -1) else "rate"
        for sample, values in (("uniform", members), ("phantoms", others)):
            assert rows[kind, sample, detail, level]["estimate"] == pytest.approx(np.mean(values))
        excess = rows["excess", "uniform", detail, level]
        assert excess["estimate"] == pytest.approx(np.mean(members) - np.mean(others))
        assert excess["low"] <= excess["estimate"] <= excess["high"] and excess["low"] < excess["high"]
        if kind == "rate":
            expected = difference(sum(members), len(members), sum(others), len(others))
            assert (excess["low"], excess["high"]) == pytest.approx((expected.low, expected.high))
            assert rows[kind, "uniform", detail, level]["high"] == pytest.approx(wilson(sum(members), len(members)).high)
    assert 0 < np.mean(numbers["uniform"]["exact", -1]) < np.mean(numbers["uniform"]["anywhere", -1]) < 1
    assert (
        np.mean(numbers["uniform"]["ended", -1]) > 0
        and found["extraction", "rate", "uniform", "", -1, -1]["estimate"] == rows["rate", "uniform", "exact", -1]["estimate"]
    )


def test_without_phantoms_there_is_no_excess_and_a_reason(tmp_path: Path) -> None:
    found, _, _ = measured(tmp_path, phantoms=False)
    of = [row for key, row in found.items() if key[:2] == ("recitation", "excess")]
    assert len(of) > 8 and all(row["estimate"] is None and row["note"] for row in of)


def test_a_model_that_writes_other_text_of_the_corpus_is_found_out(tmp_path: Path) -> None:
    """It gives ten of thirty windows back, which is all that exact matches see. What it writes for ten more the corpus holds."""
    folder = small.save_random(tmp_path / "saved")
    windows = half_known(folder)[20:50]
    chosen = {"memorization": {"prefix": 6, "suffix": 8}, "measures": {"bootstrap": 50}}
    study = small.study([{"name": "o", "path": str(folder), "checkpoint": 7}], **chosen)
    tables = run_step(MODELS, study, tmp_path, {"tokens": (), "tokenizer": ()})
    tables |= {"sequences": sequences(tmp_path, windows.tolist(), 6), "tokenizer": small.corpus(tmp_path)["tokenizer"]}
    for step in (SCORE_SEQUENCES, RECITE):
        tables = run_step(step, study, tmp_path, tables)
    recited = read_rows(tmp_path, tables["recitations"])
    planted = [row["ids"] for row in recited if not row["ended"]][::2]
    documents = [[5, *ids, 5] for ids in planted] + [row["ids"][:-1] for row in recited]
    tables |= {"tokens": write(tmp_path, documents, 2)["tokens"]}
    tables = run_step(COUNT_RECITATIONS, study, tmp_path, tables)
    measure = with_measures(MEASURE, MEASURES)
    rows = read_rows(tmp_path, run_step(measure, study, tmp_path, {t: tables.get(t, ()) for t in measure.reads})["metrics"])
    rate = {r["detail"]: r["estimate"] for r in rows if (r["measure"], r["statistic"]) == ("recitation", "rate")}
    held = sum(row["ids"] in planted for row in recited)
    assert rate["exact"] == pytest.approx(1 - len(recited) / 30) and held >= 8
    assert rate["anywhere"] == pytest.approx(rate["exact"] + held / 30)
