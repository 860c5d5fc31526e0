"""On real text the index agrees with infini-gram and tokengrams, and differs from them only where they are known to differ.

infini-gram (arXiv 2401.17377) counts an occurrence that ends its document among those that something follows: its ∞-gram
denominators hold the document separators, and it may use a suffix that only separators follow. tokengrams knows no
documents: its n-grams run on from one into the next. With a token of its own between documents it cannot.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tasks.ngrams.kernels import suffix_kernels as kernels
from tests.ngrams.corpus import flat

DATA = Path(os.environ.get("TASKGRAM_DATA") or Path(__file__).parents[3] / "shared" / "data")
CORPUS, TOKENIZER = DATA / "corpus" / "foldoc.jsonl.gz", DATA / "tokenizers" / "pythia.json"
DOCUMENTS = 800
INFINIGRAM_SEPARATOR, TOKENGRAMS_SEPARATOR = 65_535, 65_000  # no token of Pythia's has these ids
END = 0  # as which infini-gram shows a separator

pytestmark = pytest.mark.skipif(
    not (CORPUS.is_file() and TOKENIZER.is_file()), reason=f"no real corpus in {DATA}; set TASKGRAM_DATA"
)


class Sample(NamedTuple):
    """Documents of a dictionary as Pythia's tokens, their index, n-grams that occur in them, and some that hardly do."""

    documents: list[list[int]]
    index: kernels.Suffixes
    asked: list[list[int]]

    def counts(self) -> list[int]:
        ids, offsets = flat(self.asked)
        return kernels.counts([self.index], [ids], offsets).tolist()


@pytest.fixture(scope="module")
def sample() -> Sample:
    from tokenizers import Tokenizer

    with gzip.open(CORPUS, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line, _ in zip(lines, range(DOCUMENTS), strict=False)]
    documents = [e.ids for e in Tokenizer.from_file(str(TOKENIZER)).encode_batch(texts, add_special_tokens=False)]
    random = np.random.default_rng(0)
    asked = []
    for _ in range(600):
        document = documents[random.integers(len(documents))]
        begin, length = int(random.integers(len(document))), int(random.integers(1, 7))
        asked.append(document[begin : begin + length])
        asked.append([*asked[-1][:-1], int(random.integers(50_000))])
    # From the end of one document into the next: there is no such n-gram.
    asked += [[*a[-2:], *b[:2]] for a, b in zip(documents[:50], documents[1:51], strict=True)]
    return Sample(documents, kernels.build(*flat(documents)), asked)


def ends_with(sample: Sample, suffix: list[int]) -> int:
    """How many documents do."""
    return sum(d[len(d) - len(suffix) :] == suffix for d in sample.documents)


def need(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed; pip install -e '.[test]'")


@pytest.fixture(scope="module")
def infini_gram(sample: Sample, tmp_path_factory: pytest.TempPathFactory):
    """An infini-gram engine over the same tokens: written as its tokenising step does, sorted by its own indexer."""
    need("infini_gram")
    folder = tmp_path_factory.mktemp("infini-gram")
    # The empty document at the end: where a context ends the file itself, infini-gram's distribution of what follows is wrong.
    pieces = [np.array([INFINIGRAM_SEPARATOR, *d], np.uint16) for d in [*sample.documents, []]]
    np.concatenate(pieces).tofile(folder / "tokenized.0")
    np.cumsum([0, *(p.nbytes for p in pieces[:-1])]).astype(np.uint64).tofile(folder / "offset.0")
    words = ["--data_dir", folder, "--save_dir", folder, "--token_dtype", "u16", "--cpus", 1, "--mem", 1, "--ulimit", 1024]
    subprocess.run([sys.executable, "-m", "infini_gram.indexing", *map(str, words)], check=True, capture_output=True, timeout=300)
    from infini_gram.engine import InfiniGramEngine

    return InfiniGramEngine(str(folder), eos_token_id=END, vocab_size=INFINIGRAM_SEPARATOR, version=4, token_dtype="u16")


def test_counts_are_infini_grams(sample: Sample, infini_gram) -> None:
    theirs = [infini_gram.count(input_ids=ngram)["count"] for ngram in sample.asked]
    assert sample.counts() == theirs
    assert max(theirs) > 100 and theirs.count(0) > 100


def test_infinigram_counts_are_infini_grams_but_for_the_ends_of_documents(sample: Sample, infini_gram) -> None:
    """Only our index has full back-off; compared are the longest suffix that occurs, its count, and how often the token follows."""
    ends = [d[-6:] for d in sample.documents]  # only a separator follows some of their suffixes
    texts = [ngram for ngram in sample.asked if len(ngram) > 1] + [[*end, 187] for end in ends]
    ids, offsets = flat(texts)
    ours = kernels.infinigram([sample.index], [ids], offsets)
    differs = 0
    for i, (*context, asked) in enumerate(texts):
        theirs = infini_gram.infgram_prob(prompt_ids=context, cont_id=asked)
        suffix = context[len(context) - theirs["suffix_len"] :]
        at_end = ends_with(sample, suffix) if suffix else 0
        if theirs["prompt_cnt"] == at_end:  # only separators follow: our count continues with a shorter suffix
            assert ours.suffix[i] < theirs["suffix_len"]
            differs += 1
            continue
        separators = at_end if suffix else len(sample.documents) + 1
        assert ours.suffix[i] == theirs["suffix_len"]
        assert ours.denominator[i] == theirs["prompt_cnt"] - separators
        assert ours.numerator[i] == theirs["cont_cnt"]
    assert 0 < differs < len(texts) / 2


def test_counts_are_tokengrams_if_documents_are_kept_apart(sample: Sample) -> None:
    need("tokengrams")
    from tokengrams import InMemoryIndex

    apart = InMemoryIndex([i for d in sample.documents for i in (*d, TOKENGRAMS_SEPARATOR)])
    assert sample.counts() == [apart.count(ngram) for ngram in sample.asked]
    joined = InMemoryIndex([i for d in sample.documents for i in d])
    more = [joined.count(ngram) - ours for ngram, ours in zip(sample.asked, sample.counts(), strict=True)]
    assert min(more) >= 0 and min(more[-50:]) > 0, "without a separator it counts what spans two documents"
