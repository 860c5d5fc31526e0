"""Texts to integers: tokens by ours, tokenizers and fastokens; words by ours and polars."""

from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.corpora import BYTE_LEVEL, Corpora
from benchmarks.side import Arrays, BenchmarkSide, Case

AT_ONCE = 512  # texts
Lists = list[pa.ListArray]


def tokeniser(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours: from Arrow text to Arrow ids; loaded for each run, so that no cache is filled."""
    from tasks.text.bpe.fast_bpe import compile_tokenizer

    texts, text = corpora.texts(case["tokens"]), corpora.tokenizer(case.get("kind", BYTE_LEVEL))
    compiled = compile_tokenizer.__wrapped__(text)

    def work(tokeniser: Any) -> Lists:
        return [_lists(*tokeniser.encode(texts.slice(low, AT_ONCE))) for low in range(0, len(texts), AT_ONCE)]

    def check(result: Lists) -> str:
        return compiled.why and f"tokenizers does the work: {compiled.why}"

    return BenchmarkSide(work, _tokens, _joined, lambda: compile_tokenizer.__wrapped__(text), check)


def fastokens(corpora: Corpora, case: Case) -> BenchmarkSide:
    """fastokens, encode_batch_flat on one thread, from Arrow text to Arrow ids, too."""
    import fastokens

    text, texts = corpora.tokenizer(case.get("kind", BYTE_LEVEL)), corpora.texts(case["tokens"])

    def work(library: Any) -> Lists:
        pieces = (texts.slice(low, AT_ONCE).to_pylist() for low in range(0, len(texts), AT_ONCE))
        encoded = (library.encode_batch_flat(piece, split_special_tokens=True) for piece in pieces)
        return [_lists(np.frombuffer(ids, np.int32), np.frombuffer(ends, np.int64)) for ids, ends in encoded]

    return BenchmarkSide(work, _tokens, _joined, lambda: fastokens.Tokenizer.from_json_str(text))


def tokenizers(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Hugging Face tokenizers, encode_batch on one core."""
    from tasks.text.bpe.tokenizer import load_tokenizer

    text, texts = corpora.tokenizer(case.get("kind", BYTE_LEVEL)), corpora.texts(case["tokens"]).to_pylist()

    def work(library: Any) -> list[Any]:
        pieces = (texts[low : low + AT_ONCE] for low in range(0, len(texts), AT_ONCE))
        return [e for piece in pieces for e in library.encode_batch(piece, add_special_tokens=False)]

    def lists(encoded: list[Any]) -> Lists:
        return [pa.array([e.ids for e in encoded], pa.list_(pa.int32()))]

    return BenchmarkSide(work, lambda e: _tokens(lists(e)), lambda e: _joined(lists(e)), lambda: load_tokenizer(text))


def _lists(ids: np.ndarray, offsets: np.ndarray) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(ids, pa.int32()))


def _tokens(lists: Lists) -> int:
    return sum(len(one.values) for one in lists)


def _joined(lists: Lists) -> Arrays:
    counts = np.concatenate([np.diff(one.offsets.to_numpy()) for one in lists])
    return {"ids": np.concatenate([one.values.to_numpy() for one in lists]), "offsets": np.cumsum([0, *counts])}


def analyzer(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours: the words of all texts as ids."""
    from tasks.text.words.word_ids import WordIds

    texts = corpora.texts(case["tokens"])
    return BenchmarkSide(lambda words: words.add(texts), lambda result: len(result[0]), fresh=WordIds)


RUN = r"(?:[\p{L}\p{M}]|\p{N}+(?:[.,]\p{N}+)*)+"


def polars_words(corpora: Corpora, case: Case) -> BenchmarkSide:
    """polars: the analyzer's rule as far as its regular expressions go, to ids. `words_that_differ` counts where it does not."""
    import polars as pl

    texts, differing = corpora.texts(case["tokens"]), dict[str, int]()

    def work(_: object) -> tuple[pl.Series, pl.Series]:
        plain = pl.Series("word", texts).str.normalize("NFKC").str.to_lowercase().str.replace_all("’", "'", literal=True)
        lists = plain.str.extract_all(f"{RUN}(?:'{RUN})*")
        return lists.list.len(), lists.explode().drop_nulls().cast(pl.Categorical)

    def check(result: tuple[pl.Series, pl.Series]) -> str:
        from tasks.text.words.word_ids import WordIds

        analyzed = WordIds()
        ids, _ = analyzed.add(texts)
        words, rank = analyzed.sorted()
        ours = pl.DataFrame({"word": list(words), "ours": np.bincount(rank[ids], minlength=len(words))})
        both = result[1].cast(pl.String).value_counts().join(ours, on="word", how="full", coalesce=True).fill_null(0)
        differing["words_that_differ"] = int((both["count"].cast(pl.Int64) - both["ours"]).abs().sum())
        return "more than a thousandth of the words differ" if 1000 * differing["words_that_differ"] > len(ids) else ""

    return BenchmarkSide(work, lambda result: len(result[1]), extra=lambda result: differing, check=check)
