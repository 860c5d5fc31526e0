"""What estimates rest on: measured rates with their source, the shapes of public models, the data sheets of GPUs.

Rates are those of one core. `guess` marks what was not measured here, or was measured on something else; the plan says so
wherever such a rate decides.
"""

from __future__ import annotations

from typing import NamedTuple


class Rate(NamedTuple):
    """A number, what it counts, and where it is from."""

    value: float
    unit: str
    source: str
    guess: bool = False


BENCHMARKS = "docs/benchmarks.md, AMD EPYC"
DEBIAN = "docs/debian.md: parts of the debian study"

RATES = {
    "unpack": Rate(800e6, "bytes of text unpacked /s", "zstd and finding lines", guess=True),
    "ingest": Rate(21e6, "bytes of text /s", DEBIAN),
    "plant": Rate(200e3, "words /s", "the sample study"),
    "read": Rate(38e3, "records /s", DEBIAN),
    "train a tokenizer": Rate(2.4e6, "bytes of text /s", DEBIAN),
    "tokens": Rate(12.1e6, "tokens /s", f"{BENCHMARKS}: tokenising"),
    "words": Rate(14.4e6, "words /s", f"{BENCHMARKS}: word analysis"),
    "count": Rate(2.13e6 * 8, "words × orders /s", f"{BENCHMARKS}: all orders 1..8"),
    "query, 1k pairs": Rate(46.4e6, "words /s", f"{BENCHMARKS}: exact document pairs"),
    "query, 100k pairs": Rate(11.9e6, "words /s", f"{BENCHMARKS}: exact document pairs"),
    "query, 1M pairs": Rate(3.71e6, "words /s", f"{BENCHMARKS}: exact document pairs"),
    "prepare pairs": Rate(3.3e-6, "s for each pair and part", DEBIAN),
    "sum pairs": Rate(8.2e-6, "s for each pair", DEBIAN),
    "infinigram": Rate(8.4e6, "tokens /s", DEBIAN),
    "infinigram sum": Rate(1.2e-6, "s for each partial row", DEBIAN),
    "novelty, 1k n-grams": Rate(31.8e6, "words /s", f"{BENCHMARKS}: novelty"),
    "novelty, 100k n-grams": Rate(11.8e6, "words /s", f"{BENCHMARKS}: novelty"),
    "novelty, 3M n-grams": Rate(1.7e6, "words /s", f"{BENCHMARKS}: novelty"),
    "prepare n-grams": Rate(1.1e-6, "s for each n-gram and part", f"{BENCHMARKS}: novelty"),
    "novelty texts": Rate(0.7, "s for each model and task", DEBIAN),
    "sum novelty": Rate(2.5e-6, "s for each n-gram asked, before and behind the scan", DEBIAN),
    "index": Rate(1e6, "tokens /s", "building a suffix array", guess=True),
    "extract": Rate(97e3, "n-grams /s", DEBIAN),
    "embed": Rate(21.7e3, "n-grams /s", f"{DEBIAN}, encoder `association`"),
    "encoder": Rate(
        100e6, "parameters of a sentence encoder, 8 tokens an n-gram", "the base size of E5 and LaBSE", guess=True
    ),
    "align": Rate(70e3, "pairs /s", DEBIAN),
    "measure": Rate(0.6, "s for each task and checkpoint", DEBIAN),
    "trace": Rate(1.4e-3, "s for each example and model", DEBIAN),
    "trace page": Rate(0.35e-3, "s for each example and model", DEBIAN),
    "report": Rate(3.3, "s", DEBIAN),
    "core": Rate(35e9, "FLOP/s of a core", f"{DEBIAN}: training models of 0.2 to 1.3 M parameters"),
    "core, large": Rate(35e9, "FLOP/s of a core", "as for small models; large matrices reach more", guess=True),
    "new token": Rate(0.31e-3, "s for each generated token, beside its FLOPs", DEBIAN),
    "gpu": Rate(0.3, "of the data sheet's FLOP/s", "what forward passes usually reach", guess=True),
    "load": Rate(1e9, "bytes of weights /s", "a local disk", guess=True),
    "download": Rate(50e6, "bytes /s", "a 400 Mbit/s line", guess=True),
    "part": Rate(0.25, "s for each part: start, Parquet, hashing", DEBIAN),
    "model part": Rate(0.5, "s for each part that asks a model", DEBIAN),
    "step": Rate(1.5, "s for each step: Prefect, checks, manifests", "docs/benchmarks.md: end to end"),
}

SIZES = {
    "packing": Rate(4.0, "bytes of JSON lines in a byte of .gz or .zst", "what `ingest` assumes", guess=True),
    "shard": Rate(
        10e9, "bytes of JSON lines in a packed shard that is not here", "the Pile's have more, Dolma's fewer", guess=True
    ),
    "text": Rate(0.9, "bytes of text in a byte of JSON lines", "names and quotes are the rest", guess=True),
    "token": Rate(4.3, "bytes of text in a token", "GPT-NeoX's tokenizer on English; other text gives less", guess=True),
    "small token": Rate(3.04, "bytes of text in a token", f"{DEBIAN}, vocabulary 4,096"),
    "word": Rate(6.8, "bytes of text in a word", DEBIAN),
    "document": Rate(4_000.0, "bytes of text in a document", "dictionaries have 400, the Pile 5,900", guess=True),
    "documents": Rate(0.36, "bytes stored for a byte of text", DEBIAN),
    "words": Rate(2.1, "bytes stored for a word, its vocabulary included", DEBIAN),
    "tokens": Rate(1.21, "bytes stored for a token", DEBIAN),
    "suffixes": Rate(4.0, "bytes spilled for a word, times the longest order and 2", f"{BENCHMARKS}: 39.7 at n = 8"),
    "ngrams": Rate(0.4, "bytes stored for a word and order", DEBIAN),
    "embedding": Rate(2.5, "bytes for a distinct n-gram and dimension", DEBIAN),
    "pair": Rate(12.0, "bytes for a mined pair", DEBIAN),
    "pair partial": Rate(0.63, "bytes for a pair and part", DEBIAN),
    "count of a pair": Rate(19.0, "bytes for a pair, its n-grams and documents", DEBIAN),
    "example": Rate(260.0, "bytes for an example", DEBIAN),
    "ngram": Rate(8.8, "bytes for an n-gram of an example", DEBIAN),
    "partial": Rate(2.8, "bytes for a partial row of the ∞-gram", DEBIAN),
    "partial rows": Rate(2.8, "partial rows for a token of a context, and part", DEBIAN),
    "score": Rate(292.0, "bytes for a scored continuation", DEBIAN),
    "generation": Rate(27.0, "bytes for a generated text", DEBIAN),
    "distinct": Rate(0.5, "of the n-grams of texts are distinct", DEBIAN),
    "question": Rate(9.0, "bytes for an n-gram asked", DEBIAN),
    "novelty": Rate(0.5, "bytes for a distinct n-gram and part", DEBIAN),
    "asked": Rate(300.0, "bytes of memory for a distinct n-gram", "docs/how-to.md: what asks more than fits"),
    "trace": Rate(820.0, "bytes for each example and model", DEBIAN),
    "trace page": Rate(2.2e3, "bytes for each example and model", DEBIAN),
    "index": Rate(8.0, "bytes for a word, and for a token", "docs/benchmarks.md"),
}

# by family, from the tasks of the debian study: bytes of prompt and output, words of input and output, pairs per mined example
# at n = 1, 2 and 3 or more
PROMPT_BYTES = {"translation": (263, 262), "qa": (66, 13), "multiple_choice": (282, 44), "math": (253, 247)}
EXAMPLE_WORDS = {"translation": (32, 31), "qa": (8, 2), "multiple_choice": (38, 6), "math": (42, 45)}
PAIRS = {"translation": (2.4, 70, 100), "qa": (2.0, 6.8, 7), "multiple_choice": (2.5, 18.5, 20), "math": (20, 113, 269)}


class Shape(NamedTuple):
    """What decides the number of parameters of a causal language model."""

    hidden: int
    layers: int
    vocabulary: int
    bytes_each: int = 2
    """bytes of a parameter as distributed"""
    kind: str = "neox"
    inner: int = 0
    """width of the feed-forward layer; 0: four times `hidden`"""
    tied: bool = False

    @property
    def parameters(self) -> int:
        """All trainable numbers, exactly."""
        h, inner = self.hidden, self.inner or 4 * self.hidden
        embeddings = self.vocabulary * h * (1 if self.tied else 2)
        if self.kind == "neox":  # weights, biases and two norms in each layer, one norm behind them
            return embeddings + self.layers * (4 * h * h + 2 * h * inner + 9 * h + inner) + 2 * h
        return embeddings + self.layers * (4 * h * h + 3 * h * inner)  # olmo: gated, no biases, norms without weights


_PYTHIA = {
    "14m": (128, 6, 50304),
    "31m": (256, 6, 50304),
    "70m": (512, 6, 50304),
    "160m": (768, 12, 50304),
    "410m": (1024, 24, 50304),
    "1b": (2048, 16, 50304),
    "1.4b": (2048, 24, 50304),
    "2.8b": (2560, 32, 50304),
    "6.9b": (4096, 32, 50432),
    "12b": (5120, 36, 50688),
}
HUB = {f"EleutherAI/pythia-{size}{kind}": Shape(*shape) for size, shape in _PYTHIA.items() for kind in ("", "-deduped")} | {
    "allenai/OLMo-1B-hf": Shape(2048, 16, 50304, 4, "olmo", 8192, tied=True),
    "allenai/OLMo-7B-hf": Shape(4096, 32, 50304, 4, "olmo", 11008),
}


class Gpu(NamedTuple):
    """A data sheet: dense FLOP/s at 16 bits and at 32, memory in bytes and its bytes/s."""

    half: float
    single: float
    memory: float
    bandwidth: float


GPUS = {
    "H200": Gpu(989e12, 67e12, 141e9, 4.8e12),
    "H100": Gpu(989e12, 67e12, 80e9, 3.35e12),
    "A100": Gpu(312e12, 19.5e12, 80e9, 2.0e12),
    "A100-40GB": Gpu(312e12, 19.5e12, 40e9, 1.55e12),
    "L40S": Gpu(362e12, 91.6e12, 48e9, 0.86e12),
    "A10": Gpu(125e12, 31.2e12, 24e9, 0.6e12),
    "V100": Gpu(125e12, 15.7e12, 32e9, 0.9e12),
    "T4": Gpu(65e12, 8.1e12, 16e9, 0.32e12),
    "RTX 4090": Gpu(165e12, 82.6e12, 24e9, 1.0e12),
}
