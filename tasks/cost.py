"""What a step costs, by arithmetic alone: sizes in, a `Cost` out. Every step declares its own, in its file (`Step.cost`).

    seconds of a core = work / measured rate + parts · overhead
    forward pass      = 2 · parameters · tokens FLOPs,   training = 6 · parameters · tokens
    wall time         = max(longest part, core seconds / processes, GPU seconds / GPUs), added up over the steps

A cost is right within a factor of about two where its rates were measured, and a guess where one of them is a guess.
Nothing here reads a file; `flows/cost/survey.py` finds the sizes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from schemas import Study

BENCHMARKS = "docs/benchmarks.md, AMD EPYC"
DEBIAN = "docs/debian.md: parts of the debian study"


class Rate(float):
    """A number with its unit and source, of one core. `guess`: not measured here, or measured on something else."""

    def __new__(cls, value: float, unit: str, source: str, guess: bool = False) -> "Rate":
        """A rate is a float: `words / rate` is seconds."""
        rate = super().__new__(cls, value)
        rate.unit, rate.source, rate.guess = unit, source, guess
        return rate

    unit: str
    source: str
    guess: bool

    def as_guess(self, used: object = True) -> tuple[str, ...]:
        """How a plan names it, if it is a guess and is used."""
        return (f"{self.source} ({self:g} {self.unit})",) if self.guess and used else ()


TOKEN = Rate(4.3, "bytes of text in a token", "GPT-NeoX's tokenizer on English; other text gives less", guess=True)
RATES = {
    "core": Rate(35e9, "FLOP/s of a core", f"{DEBIAN}: training models of 0.2 to 1.3 M parameters"),
    "core, large": Rate(35e9, "FLOP/s of a core", "as for small models; large matrices reach more", guess=True),
    "gpu": Rate(0.3, "of the data sheet's FLOP/s", "what forward passes usually reach", guess=True),
    "part": Rate(0.25, "s for each part: start, Parquet, hashing", DEBIAN),
    "step": Rate(1.5, "s for each step: Prefect, checks, manifests", "docs/benchmarks.md: end to end"),
    "bytes of text in a token": TOKEN,
    "bytes of text in a token, small": Rate(3.04, "bytes of text in a token", f"{DEBIAN}, vocabulary 4,096"),
    "bytes of text in a word": Rate(6.8, "bytes of text in a word", DEBIAN),
    "bytes of documents": Rate(0.36, "bytes stored for a byte of text", DEBIAN),
    "bytes of words": Rate(2.1, "bytes stored for a word, its vocabulary included", DEBIAN),
    "bytes of tokens": Rate(1.21, "bytes stored for a token", DEBIAN),
}
WORD = RATES["bytes of text in a word"]
OTHER_PAIRS = "pairs of other tasks and encoders than the debian study's"


class TypicalTask(NamedTuple):
    """A family's task in the debian study: bytes of a prompt and of an output, words of an example, and mined pairs for each
    mining example at n = 1, 2 and 3 or more."""

    prompt: float
    output: float
    words: float
    pairs: tuple[float, float, float]


TYPICAL_TASKS = {
    "translation": TypicalTask(263, 262, 63, (2.4, 70, 100)),
    "qa": TypicalTask(66, 13, 10, (2.0, 6.8, 7)),
    "multiple_choice": TypicalTask(282, 44, 44, (2.5, 18.5, 20)),
    "math": TypicalTask(253, 247, 87, (20, 113, 269)),
}


@dataclass(frozen=True)
class CorpusSize:
    """Sizes of a corpus. `packed`: bytes of its files; `unpacked`: bytes `ingest` unpacks, which is the whole file again for each
    of its pieces; `pieces`: parts that are pieces of a larger file, `cut_files` such files and `cut_text` their bytes of text;
    `held_out`: bytes of text of the sources that have a held-out half, `held_out_parts` their parts."""

    packed: float
    text: float
    documents: float
    tokens: float
    words: float
    parts: int
    unpacked: float
    planted: bool = False
    guesses: tuple[str, ...] = ()
    held_out: float = 0.0
    held_out_parts: int = 0
    pieces: int = 0
    cut_files: int = 0
    cut_text: float = 0.0

    @property
    def stored_documents(self) -> float:
        return self.text * RATES["bytes of documents"]

    @property
    def stored_words(self) -> float:
        return self.words * RATES["bytes of words"]

    @property
    def stored_tokens(self) -> float:
        return self.tokens * RATES["bytes of tokens"]

    @property
    def many_parts(self) -> tuple[str, ...]:
        return ("partial results of more parts than the debian study's ten",) if self.parts > 100 else ()


@dataclass(frozen=True)
class TaskSize:
    """Sizes of a task. `orders`: n; `options`: of a multiple choice; `shots`: worked examples in each prompt; `length`: of its
    texts, relative to the debian study's tasks of this family."""

    name: str
    family: str
    evaluated: float
    mined: float
    orders: tuple[int, ...]
    new_tokens: int = 0
    options: int = 0
    shots: int = 0
    length: float = 1.0

    @property
    def prompt_bytes(self) -> float:
        typical = TYPICAL_TASKS[self.family]
        return self.length * (typical.prompt + self.shots * (typical.prompt + typical.output))

    @property
    def output_bytes(self) -> float:
        return self.length * TYPICAL_TASKS[self.family].output

    @property
    def pairs(self) -> float:
        return self.mined * self.length**2 * sum(TYPICAL_TASKS[self.family].pairs[min(n, 3) - 1] for n in self.orders)

    @property
    def ngrams(self) -> float:
        return (self.evaluated + self.mined) * len(self.orders) * TYPICAL_TASKS[self.family].words * self.length


@dataclass(frozen=True)
class ModelSize:
    """A model: parameters, checkpoints that are evaluated, bytes to download, tokens it is trained on here, and the tokens that end
    its answers ("" while its files are not here)."""

    name: str
    parameters: float
    checkpoints: int = 1
    download: float = 0.0
    trained: float = 0.0
    guess: str = ""
    ends: str = ""


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


@dataclass(frozen=True)
class Machine:
    """What a study runs on. `flops`: FLOP/s really reached by a GPU or, without one, by a core, 0 where the study does not say;
    `ram` and `disk`: bytes, 0 where unknown; `weight_bytes`: of a parameter in memory, by the study's dtype."""

    processes: int
    gpu: Gpu | None = None
    gpus: int = 1
    flops: float = 0.0
    weight_bytes: int = 4
    cores: int = 1
    ram: float = 0.0
    disk: float = 0.0

    def speed(self, models: Sequence[ModelSize]) -> tuple[float, tuple[str, ...]]:
        """FLOP/s of a GPU, or of a core without one, and the guess it rests on."""
        if self.flops:
            return self.flops, ()
        if self.gpu:
            peak = self.gpu.half if self.weight_bytes == 2 else self.gpu.single
            return peak * RATES["gpu"], RATES["gpu"].as_guess()
        rate = RATES["core, large" if any(m.parameters > 10e6 for m in models) else "core"]
        return rate, (f"{rate / 1e9:g} GFLOP/s of a core, {rate.source}",) if rate.guess else ()


@dataclass(frozen=True)
class Missing:
    what: str
    where: str


@dataclass(frozen=True)
class Sizes:
    """What costs follow from: the study's settings and its sizes; and what of the study is missing, or worth a note."""

    study: Study
    corpus: CorpusSize
    tasks: tuple[TaskSize, ...]
    models: tuple[ModelSize, ...]
    machine: Machine
    missing: tuple[Missing, ...] = ()
    notes: tuple[str, ...] = ()
    placebo: CorpusSize | None = None

    @property
    def checkpoints(self) -> int:
        return sum(m.checkpoints for m in self.models)

    @property
    def answers(self) -> float:
        return sum(t.evaluated for t in self.tasks) * max(1, len(self.models))

    def of_placebo(self) -> "Sizes | None":
        """The sizes that the steps which count pairs have on the placebo corpus; None where the study names none."""
        study = self.study.of_placebo()
        if study is None or self.placebo is None:
            return None
        return replace(self, study=study.model_copy(update={"variants": ()}), corpus=self.placebo, placebo=None)


@dataclass(frozen=True)
class Cost:
    """What a step works on and what that takes, the overhead of its parts apart. `work` in `unit`s; `read` and `written` in bytes;
    `core` and `gpu` in seconds; `longest`: seconds of the longest part, 0 where parts are alike; `memory`: bytes of a worker;
    `guesses`: what of it was not measured; `rates`: all it rests on, by name. `parts` counts only as long as the study cannot be
    planned, because files are missing."""

    parts: float = 0
    work: float = 0.0
    unit: str = ""
    read: float = 0.0
    written: float = 0.0
    core: float = 0.0
    gpu: float = 0.0
    longest: float = 0.0
    memory: float = 0.0
    guesses: tuple[str, ...] = ()
    rates: Mapping[str, Rate] = field(default_factory=dict)

    def in_parts(self, parts: int) -> "Cost":
        longest = (self.longest or self.core / parts) + RATES["part"] if parts else 0.0
        return replace(self, parts=parts, core=self.core + parts * RATES["part"], longest=longest)

    def __add__(self, other: "Cost") -> "Cost":
        sums = (getattr(self, n) + getattr(other, n) for n in ("parts", "work", "read", "written", "core", "gpu"))
        parts, work, read, written, core, gpu = sums
        longest, memory = max(self.longest, other.longest), max(self.memory, other.memory)
        guesses, rates = tuple(dict.fromkeys((*self.guesses, *other.guesses))), {**self.rates, **other.rates}
        return Cost(parts, work, self.unit, read, written, core, gpu, longest, memory, guesses, rates)

    def wall(self, machine: Machine) -> float:
        """Seconds it takes, its parts spread over processes or GPUs."""
        return max(self.longest, self.core / max(1, machine.processes), self.gpu / machine.gpus) if self.parts else 0.0


def on_each_corpus(cost: Callable[[Sizes], Cost]) -> Callable[[Sizes], Cost]:
    """The cost of a step that does for a study's placebo corpus, where it names one, what it does for its corpus."""

    def on_both(sizes: Sizes) -> Cost:
        of_placebo = sizes.of_placebo()
        return cost(sizes) + cost(of_placebo) if of_placebo else cost(sizes)

    return on_both


def bytes_per_token(study: Study) -> Rate:
    small = not study.tokenizer.file and study.tokenizer.vocabulary < 16_000
    return RATES["bytes of text in a token, small"] if small else TOKEN


def forward_flops(parameters: float, tokens: float) -> float:
    return 2.0 * parameters * tokens


def training_flops(parameters: float, tokens: float) -> float:
    """FLOPs of training on so many tokens: the backward pass costs twice the forward pass."""
    return 6.0 * parameters * tokens


def interpolated(number: float, rates: Sequence[tuple[float, Rate]]) -> float:
    """The rate at a number: a straight line between the logarithms of those that were measured, which continues after the last.

    >>> round(interpolated(1e4, [(1e3, Rate(100, "words /s", "")), (1e5, Rate(1, "words /s", ""))]))
    10
    """
    at = math.log(max(number, rates[0][0]))
    last = next((i for i, (x, _) in enumerate(rates) if i and at <= math.log(x)), len(rates) - 1)
    (x, low), (y, high) = rates[last - 1], rates[last]
    return low * (high / low) ** ((at - math.log(x)) / math.log(y / x))
