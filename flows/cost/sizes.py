"""How large the parts of a study are: what an estimate goes by. `flows/cost/survey.py` finds it."""

from __future__ import annotations

from dataclasses import dataclass

from flows.cost.rates import EXAMPLE_WORDS, PAIRS, PROMPT_BYTES, Rate


@dataclass(frozen=True)
class CorpusSize:
    """Sizes of the corpus. `unpacked`: bytes `ingest` unpacks, which is the whole file again for each of its pieces; `held_out`:
    bytes of text of the sources that have a held-out half."""

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


@dataclass(frozen=True)
class TaskSize:
    """Sizes of a task. `orders`: n; `options`: of a multiple choice; `shots`: worked examples in each prompt."""

    name: str
    family: str
    evaluated: float
    mined: float
    orders: tuple[int, ...]
    new_tokens: int = 0
    options: int = 0
    shots: int = 0
    length: float = 1.0  # of its texts, beside those of the debian study's tasks of this family

    @property
    def prompt_bytes(self) -> float:
        """Bytes put before an output."""
        prompt, output = PROMPT_BYTES[self.family]
        return self.length * (prompt + self.shots * (prompt + output))

    @property
    def output_bytes(self) -> float:
        """Bytes of an output."""
        return self.length * PROMPT_BYTES[self.family][1]

    @property
    def pairs(self) -> float:
        """Mined pairs, at the lowest γ of the debian study."""
        return self.mined * self.length**2 * sum(PAIRS[self.family][min(n, 3) - 1] for n in self.orders)

    @property
    def ngrams(self) -> float:
        """N-grams of all its examples."""
        return (self.evaluated + self.mined) * len(self.orders) * sum(EXAMPLE_WORDS[self.family]) * self.length


@dataclass(frozen=True)
class ModelSize:
    """A model: parameters, checkpoints that are asked, bytes to download, tokens it is trained on here."""

    name: str
    parameters: float
    checkpoints: int = 1
    download: float = 0.0
    trained: float = 0.0
    guess: str = ""


@dataclass(frozen=True)
class Asking:
    """How models are asked, and n-grams paired: by the study itself, and by each of its variants."""

    other_inputs: int
    batch_tokens: int
    encoder: float = 0.0  # parameters of the sentence encoder; 0: `association`, which needs none
    dimensions: int = 256
    ngrams: str = ""  # whose n-grams: those of a stop-word policy; empty: the study's own
    variants: tuple[Asking, ...] = ()


@dataclass(frozen=True)
class Counting:
    """What is counted beside what measures need."""

    orders: tuple[int, ...]
    buckets: int
    index: bool
    training_bytes: float
    trains_tokenizer: bool
    bytes_per_token: Rate
    memory: float = 1e9
    novelty_orders: int = 6


@dataclass(frozen=True)
class Missing:
    """A file, folder or model that is not here."""

    what: str
    where: str


@dataclass(frozen=True)
class Sizes:
    """All sizes of a study, what is missing, and what a person should know of them."""

    corpus: CorpusSize
    tasks: tuple[TaskSize, ...]
    models: tuple[ModelSize, ...]
    counting: Counting
    asking: Asking
    missing: tuple[Missing, ...]
    notes: tuple[str, ...] = ()
    placebo: CorpusSize | None = None
