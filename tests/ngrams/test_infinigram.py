"""`infinigram`: the longest suffix of the context that occurs in the corpus, by brute force over the tokens."""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import CONTRACTS, StudyError
from tasks.ngrams import index as index_step
from tasks.ngrams.index import INDEX, Index
from tasks.ngrams.infinigram import INFINIGRAM
from tasks.ngrams.kernels import context_kernels
from tasks.step import keyed, run_job
from tasks.storage.store import Store
from tasks.storage.writing import ROWS_PER_GROUP
from tests.ngrams.corpus import flat, make_study, occurrences, places, split
from tests.support import read_rows, run_step, write_part

LETTERS = "abc "  # one token each, so that a text's tokens are known
TOKENIZER = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": None,
    "post_processor": None,
    "decoder": None,
    "model": {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "vocab": {c: i for i, c in enumerate(LETTERS)} | {"|": 4, "a ": 5},
        "merges": [],
    },
}
text = st.text("abc", max_size=10)
example = st.tuples(text, st.sampled_from(["", " "]), st.text("abc", min_size=1, max_size=6))  # prompt, separator, output


def write_inputs(root, corpus, examples, parts, merges=()):
    tokenizer = TOKENIZER | {"model": TOKENIZER["model"] | {"merges": list(merges)}}
    pieces, n = enumerate(split(corpus, parts)), len(examples)
    return {
        "tokens": tuple(
            write_part(
                root,
                "tokens",
                {"document": list(range(len(p))), "ids": [[LETTERS.index(c) for c in d] for d in p]},
                {"source": "s", "file": f"{i}"},
            )
            for i, p in pieces
        ),
        "tokenizer": (
            write_part(
                root, "tokenizer", {"name": ["t"], "vocabulary_size": [6], "end_of_document": [4], "json": [json.dumps(tokenizer)]}
            ),
        ),
        "examples": (
            write_part(
                root,
                "examples",
                {
                    "task": ["t"] * n,
                    "split": ["evaluate"] * n,
                    "example": [f"e{i}" for i in range(n)],
                    "row": list(range(1, n + 1)),
                    "group": [""] * n,
                    "input": [p for p, _, _ in examples],
                    "output": [o for _, _, o in examples],
                    "prompt": [p for p, _, _ in examples],
                    "separator": [s for _, s, _ in examples],
                    "aliases": [[]] * n,
                    "options": [[]] * n,
                    "answer": [-1] * n,
                    "sha256": [""] * n,
                },
                {"task": "t"},
            ),
        ),
    }


def run(corpus, examples, parts, longest, root, merges=()):
    study = make_study(counting={"longest_suffix": longest})
    tables = run_step(INFINIGRAM, study, root, write_inputs(root, corpus, examples, parts, merges))
    return read_rows(root, tables["infinigram"])


def followed(suffix, corpus):
    """How often a character follows the suffix; the empty suffix precedes every character."""
    return sum(i + len(suffix) < len(d) for d in corpus for i in (places(suffix, d) if suffix else range(len(d))))


@settings(max_examples=15, deadline=None)
@given(st.lists(text, max_size=6), st.lists(example, min_size=1, max_size=3), st.integers(1, 3), st.integers(1, 6))
def test_counts_equal_brute_force_for_any_number_of_parts(corpus, examples, parts, longest):
    with tempfile.TemporaryDirectory() as folder:
        rows = run(corpus, examples, parts, longest, Path(folder))
    expected = []
    for number, (prompt, separator, output) in enumerate(examples):
        whole = prompt + separator + output
        for at in range(len(prompt), len(whole)):
            suffixes = [whole[at - n : at] for n in range(min(longest, at) + 1)]
            counts = [(n, occurrences(s + whole[at], corpus), followed(s, corpus)) for n, s in enumerate(suffixes)]
            seen = [c for c in counts if c[2]] or [(0, 0, 0)]
            backoff = [c for c in counts if c[1]] or [(-1, 0, 0)]
            start = at - len(prompt) - len(separator)
            token = (f"e{number}", at - len(prompt), LETTERS.index(whole[at]), start, start + 1)
            expected.append((*token, *seen[-1], *backoff[-1]))
    names = (
        "example",
        "position",
        "token",
        "start",
        "end",
        "suffix",
        "numerator",
        "denominator",
        "backoff_suffix",
        "backoff_numerator",
        "backoff_denominator",
    )
    assert [tuple(r[n] for n in names) for r in rows] == expected


@settings(max_examples=6, deadline=None)
@given(
    st.lists(text, min_size=1, max_size=12),
    st.lists(example, min_size=1, max_size=4),
    st.integers(1, 3),
    st.integers(1, 6),
    st.sampled_from([4, 1 << 25]),
)
def test_the_index_answers_as_the_step_does(corpus, examples, parts, longest, most):
    """Two ways to the same numbers that share no code: a trie of contexts, read in one pass, and suffix arrays."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_step, "LARGEST", most)
        root = Path(folder)
        inputs = write_inputs(root, corpus, examples, parts)
        rows = read_rows(root, run_step(INFINIGRAM, make_study(counting={"longest_suffix": longest}), root, inputs)["infinigram"])
        indexed = run_step(INDEX, make_study(counting={"index": True}), root, inputs | {"words": ()})["token_index"]
        index = Index.of_tokens(Store(str(root)), indexed, 6)
        asked = [[LETTERS.index(c) for c in "".join(examples[int(r["example"][1:])])] for r in rows]
        begins = [len(examples[int(r["example"][1:])][0]) + r["position"] for r in rows]
        found = index.infinigrams([t[: at + 1] for t, at in zip(asked, begins, strict=True)], longest)
        answers = [tuple(r[name] for name in found._fields) for r in rows]
    assert list(zip(*(v.tolist() for v in found), strict=True)) == answers


def test_a_token_that_begins_in_the_prompt_belongs_to_the_continuation(tmp_path):
    rows = run(["a b"], [("ca", " ", "b")], 1, 4, tmp_path, merges=[["a", " "]])
    assert [(r["token"], r["start"], r["end"]) for r in rows] == [(5, -2, 0), (1, 0, 1)]


def test_no_suffix_spans_two_documents(tmp_path):
    rows = run(["ab", "c"], [("ab", "", "c")], 1, 4, tmp_path)
    # "ab" and "b" occur only at the end of a document, where no token follows them: the empty suffix remains
    assert [(r["suffix"], r["numerator"], r["denominator"]) for r in rows] == [(0, 1, 3)]


def test_the_longest_suffix_decides_not_the_likeliest(tmp_path):
    rows = run(["abc", "abc", "aba", "bbb"], [("cab", "", "c")], 2, 9, tmp_path)
    assert [(r["suffix"], r["numerator"], r["denominator"]) for r in rows] == [(2, 2, 3)]


def probability(rows):
    return [(r["suffix"], r["numerator"], r["denominator"]) for r in rows]


def test_a_token_the_corpus_does_not_have_stands_nowhere_and_ends_every_context(tmp_path):
    rows = run(["aba", "ab"], [("a", "", "bcb")], 2, 9, tmp_path)
    assert probability(rows) == [(1, 2, 2), (2, 0, 1), (0, 2, 5)]
    backoff = [(r["backoff_suffix"], r["backoff_numerator"], r["backoff_denominator"]) for r in rows]
    assert backoff == [(1, 2, 2), (-1, 0, 0), (0, 2, 5)]


def test_no_context_longer_than_the_study_says_is_looked_up(tmp_path):
    corpus, examples = ["aaab", "baac"], [("aaa", "", "b")]
    assert probability(run(corpus, examples, 1, 9, tmp_path / "9")) == [(3, 1, 1)]
    assert probability(run(corpus, examples, 1, 2, tmp_path / "2")) == [(2, 1, 3)]


def test_nothing_asked_and_nothing_there(tmp_path):
    assert run(["abc"], [], 2, 4, tmp_path / "no examples") == []
    rows = run(["", ""], [("a", "", "b")], 3, 4, tmp_path / "empty documents")
    assert probability(rows) == [(0, 0, 0)]
    assert rows[0]["backoff_suffix"] == -1


def test_a_token_beyond_the_vocabulary_is_an_error_that_names_part_and_row(tmp_path):
    inputs = write_inputs(tmp_path, ["abc"], [("a", "", "b")], 1)
    (part,) = inputs["tokens"]
    broken = write_part(tmp_path, "tokens", {"document": [0, 1, 2], "ids": [[0], [], [1, 6]]}, part.labels)
    with pytest.raises(StudyError, match=rf"{broken.key}.*row 2: id 6 .* 6\."):
        run_step(INFINIGRAM, make_study(), tmp_path, inputs | {"tokens": (broken,)})


# -- memory --------------------------------------------------------------------------------------------------------
def part_of(root, inputs, memory, longest=64):
    """The part's path and the passes it took, with that much memory."""
    store, stage = Store(str(root)), INFINIGRAM.stages[0]
    (job,) = stage.plan(make_study(counting={"longest_suffix": longest}), inputs)
    planned = keyed(INFINIGRAM, 0, replace(job, memory=memory))
    cost = run_job(store, planned, stage, CONTRACTS)
    assert "error" not in cost, cost
    return Path(store.part_path(planned.parts(stage)[0])), cost["passes"]


def test_parts_are_the_same_bytes_whatever_the_memory_and_less_of_it_takes_more_passes(tmp_path):
    draw = random.Random(7)
    corpus = ["".join(draw.choices("abc", k=60)) for _ in range(40)]
    # of the corpus' own text, so that the trie grows while the corpus is read
    outputs = [d[:55] for d in corpus[:20]] + ["abc" * 9]
    examples = [(o[:9], "", o[9:]) for o in outputs] + [("ab", "", "c")] * 3
    inputs = write_inputs(tmp_path, corpus, examples, 1)
    published = {}
    for memory in (10**9, 3_200_000, 800_000, 1):
        path, passes = part_of(tmp_path, inputs, memory)
        published[passes] = path.read_bytes()
    assert len(set(published.values())) == 1
    assert list(published) == sorted(published), "the less memory, the more passes"
    assert len(published) == 4
    assert min(published) == 1
    assert max(published) == len(examples)


def test_row_groups_are_whole_however_few_texts_are_asked_at_once(tmp_path):
    corpus = ["ab" * 400]
    inputs = write_inputs(tmp_path, corpus, [("", "", "ab" * 80)] * 8, 1)
    path, passes = part_of(tmp_path, inputs, 30_000, longest=64)
    assert passes > 1
    groups = pq.ParquetFile(path).metadata
    sizes = [groups.row_group(i).num_rows for i in range(groups.num_row_groups)]
    assert len(sizes) > 1
    assert set(sizes[:-1]) == {ROWS_PER_GROUP}


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.text("ab", max_size=30), min_size=1, max_size=5),
    st.lists(st.text("ab", min_size=1, max_size=20), min_size=1, max_size=5),
    st.integers(1, 3_000),
)
def test_a_trie_keeps_to_its_memory_or_says_that_it_is_full(corpus, asked, memory):
    (ids, offsets), (text, ends) = (flat([[LETTERS.index(c) for c in d] for d in texts]) for texts in (corpus, asked))
    begins = np.zeros(len(asked), np.int64)
    bound, free = (context_kernels.build_context_trie(text, ends, begins, 8, most) for most in (memory, 0))
    context_kernels.scan_contexts(ids, offsets, free)
    context_kernels.scan_contexts(ids, offsets, bound)
    assert not free.full
    smallest = 16 * context_kernels._SLOT_BYTES * 3 // 2  # below which no table goes
    assert (bound.table.nbytes + bound.bits.nbytes) * 3 // 2 <= max(memory, smallest)
    if not bound.full:
        answers = [context_kernels.suffix_counts(ends, begins, trie, 0, len(begins)).tolist() for trie in (bound, free)]
        assert answers[0] == answers[1]
