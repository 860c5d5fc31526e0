"""A study as a person writes it: one TOML file. Every setting is explained by what it does.

Unknown settings are errors that name the nearest valid one. A step's settings are the slice of the study it puts into
its jobs; a setting that a step does not put there cannot change what the step writes.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from schemas.errors import StudyError
from schemas.readers import FIELDS, READER_VERSIONS, reader_kind

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Order = Annotated[int, Field(ge=1, le=16)]
_PERCENTILE = re.compile(r"p(?:0\.\d+|[1-9]\d?(?:\.\d+)?)")


class Settings(BaseModel):
    """Base of all settings: frozen, and nothing unknown is accepted."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Planted(Settings):
    """A made world whose truth is known (task-grams §16). Names, texts and tasks are generated; nothing is downloaded."""

    tokens: int = Field(
        400_000, ge=20_000, le=2_000_000_000, description="approximate words of text; distractors fill up to it"
    )
    shards: int = Field(
        4, ge=1, le=100_000, description="corpus files written; each is one part of every later corpus table"
    )
    repeats: int = Field(1, ge=1, description="times the 96-cell factorial of facts is laid out")
    document_frequencies: tuple[int, int, int, int] = Field(
        (16, 32, 64, 128), description="df(s_x) levels of the factorial; distinct multiples of 16"
    )
    exposures: tuple[int, ...] = Field(
        (0, 1, 2, 4, 8, 16, 32, 64), description="times a single-answer fact is stated; one group of facts per value"
    )
    facts_per_exposure: int = Field(24, ge=1, description="facts in each exposure group")
    rule_subjects: int = Field(96, ge=4, description="subjects whose answer follows from their name, with random counts")
    lexicon: int = Field(80, ge=12, le=400, description="words of the lexicon, translated into two invented languages")
    parallel_documents: int = Field(3_000, ge=10, description="documents with a sentence and its translation, per language")
    monolingual_documents: int = Field(1_000, ge=0, description="documents in one language only, per language")
    largest_operand: int = Field(30, ge=4, le=500, description="sums a + b are made with 0 ≤ a, b < this")
    sum_documents: int = Field(2_000, ge=10, description="documents that state a sum")
    held_out_sums: float = Field(0.2, gt=0, lt=1, description="share of operand pairs never stated")
    canaries: int = Field(12, ge=0, description="random sequences of known entropy, at 1, 2, 4 … copies")
    duplicate_groups: int = Field(12, ge=0, description="natural sentences repeated 2, 4, 8 … times")
    twins: int = Field(12, ge=0, description="pairs of sequences of one rule, one of each pair kept out")
    phantoms: float = Field(0.25, ge=0, lt=1, description="share of canaries and duplicates that are never trained on")
    examples: int = Field(320, ge=20, description="most evaluated examples per task; one factorial of facts takes 304")

    @field_validator("document_frequencies")
    @classmethod
    def _levels(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value) or any(level < 16 or level % 16 for level in value):
            raise ValueError("document_frequencies are four distinct multiples of 16, so that C = P·df is whole for every P")
        return value

    @field_validator("exposures")
    @classmethod
    def _exposures(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or len(set(value)) != len(value) or min(value) < 0:
            raise ValueError("exposures are distinct whole numbers from 0")
        return value


class Source(Settings):
    """Corpus files of one kind. Reads .jsonl, .jsonl.gz, .jsonl.zst."""

    name: Name
    files: tuple[str, ...] = Field(
        description="paths or globs; relative ones are looked up in `data`, then beside the study"
    )
    text: str = Field("text", description="field that holds the text")
    id: str = Field("id", description="field that holds the identifier; empty: the row number is used")
    language: str = Field("", description="language tag for all records; empty: the field `lang`, if there is one")
    join: tuple[str, ...] = Field(
        (), description="fields joined with a line break into one bilingual document, in place of `text`"
    )
    held_out: str = Field(
        "", description="name of a [splits.NAME]: records whose key falls into its evaluated half leave the corpus"
    )
    tokens: str = Field("", description='tokens to expect, e.g. "300G": for `taskgram plan`, which reads no text')
    documents: str = Field("", description='documents to expect, e.g. "210M": for `taskgram plan`')

    @field_validator("tokens", "documents")
    @classmethod
    def _count(cls, value: str) -> str:
        if value:
            parse_count(value)
        return value


class Split(Settings):
    """Divides keys (say, pages) into an evaluated and a corpus half by a seeded hash, the same in every file.

    pattern "([^/]+)$" on ids "doc/de/raid.html" and "doc/fr/raid.html" gives the key "raid.html" for both.
    """

    share: float = Field(0.5, gt=0, lt=1, description="share of keys that is evaluated")
    field: str = Field("id", description="field the key is taken from")
    pattern: str = Field("(.*)", description="regular expression whose first group is the key")
    seed: int = 0

    @field_validator("pattern")
    @classmethod
    def _has_a_group(cls, value: str) -> str:
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        if not groups:
            raise ValueError("put the key in parentheses, e.g. ([^/]+)$")
        return value


def parse_size(text: str) -> int:
    """Bytes of "1.5GB", "512MB", "64kB" or "4096". ValueError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if not found:
        raise ValueError(f'{text!r} is no size; write it like "512MB" or "1.5GB"')
    power = " KMGT".index(found[2].upper() or " ")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


def parse_count(text: str) -> int:
    """The number "300G", "1.5M" or "4096" stands for, k M G T being thousands. ValueError for anything else."""
    found = re.fullmatch(r"(\d[\d_]*(?:\.\d+)?)\s*([kMGT]?)", text.strip())
    if not found:
        raise ValueError(f'{text!r} is no number; write it like "300G", "1.5M" or "4096"')
    return int(float(found[1]) * 1000 ** " kMGT".index(found[2] or " "))


class Corpus(Settings):
    """Where the documents come from: a planted world, or files."""

    planted: Planted | None = None
    sources: tuple[Source, ...] = ()
    partition: str = Field(
        "256MB", description="a file with more text than this is cut into pieces of equal size, one part each"
    )  # fmt: skip

    @field_validator("partition")
    @classmethod
    def _some_size(cls, value: str) -> str:
        if parse_size(value) < 1_000_000:
            raise ValueError("a partition has at least 1MB")
        return value

    @property
    def partition_bytes(self) -> int:
        """`partition` in bytes."""
        return parse_size(self.partition)

    @model_validator(mode="after")
    def _one_origin(self) -> Corpus:
        if (self.planted is None) == (not self.sources):
            raise ValueError("name either [corpus.planted] or at least one [[corpus.sources]], not both")
        return self


class Tokenizer(Settings):
    """Trained on the corpus, or read from a tokenizer.json."""

    file: str = Field("", description="path of a tokenizer.json; empty: a byte-level BPE is trained on the corpus")
    vocabulary: int = Field(1024, ge=260, le=200_000, description="size of the trained vocabulary")
    training_bytes: int = Field(
        20_000_000, ge=1_000, description="bytes of text it is trained on; documents by smallest hash"
    )
    end_of_document: str = Field("<|endoftext|>", min_length=1, description="token put between documents in training")


class Encoder(Settings):
    """What decides which n-grams belong together."""

    kind: Literal["association", "sentence-transformers"] = Field(
        "association", description="association: IBM Model 1 link probabilities learnt from the mining examples, offline"
    )
    model: str = Field("", description='folder or hub name, for sentence-transformers, e.g. "sentence-transformers/LaBSE"')
    revision: str = Field("", description="commit of a hub model, 40 hex digits")
    input_prefix: str | None = Field(None, description='put before input n-grams; default: "query: " for E5, else nothing')
    output_prefix: str | None = Field(
        None, description='put before output n-grams; default: "passage: " for E5, else nothing'
    )
    batch: int = Field(64, ge=1, le=65_536, description="n-grams in one forward pass of a sentence-transformers model")
    device: Literal["cpu", "cuda", "auto"] = Field("cpu", description="auto: the GPU where there is one")
    dimensions: int = Field(256, ge=16, le=4096, description="length of the vectors of `association`")
    iterations: int = Field(8, ge=1, le=100, description="EM iterations of `association`")

    @model_validator(mode="before")
    @classmethod
    def _no_laser(cls, value: Any) -> Any:
        asked = [str(value.get(name, "")).lower() for name in ("kind", "model")] if isinstance(value, dict) else []
        if any(re.fullmatch(r"(?:facebook/)?laser[23]?", name) for name in asked):
            raise ValueError(
                "none of the libraries that are pinned offers LASER; for translation take "
                'kind = "sentence-transformers" and model = "sentence-transformers/LaBSE"'
            )
        return value

    @model_validator(mode="after")
    def _model(self) -> Encoder:
        if self.kind == "sentence-transformers" and not self.model:
            raise ValueError('kind = "sentence-transformers" needs `model`: a folder, or a hub name with its `revision`')
        return self


class Task(Settings):
    """One task: where its examples are, how they are put to a model, how n-grams are taken from them."""

    name: Name
    family: Literal["translation", "qa", "multiple_choice", "math"]
    version: int = Field(1, ge=1, description="raise it when you change what the task asks; every result carries it")
    reader: str = Field("jsonl", description="format of the files; docs/tasks.md has them all")
    evaluate: tuple[str, ...] = Field(
        (), description="files with the examples put to the models; two for formats with inputs and outputs apart"
    )
    mine: tuple[str, ...] = Field((), description="files task-grams are mined from; empty: the evaluated ones (flagged)")
    split: str = Field("", description="name of a [splits.NAME]: its evaluated half is evaluated, the other half mined")
    languages: tuple[str, ...] = Field((), description='for translation: fields of input and output, e.g. ["en", "de"]')
    encoding: str = Field("utf-8", description="encoding of the files; bytes that do not fit are rejects")
    fields: dict[str, str] = Field(
        default_factory=dict,
        description='for jsonl and hf: the field each part of an example is in, e.g. {input = "question", output = "answer.text"}',
    )
    revision: str = Field("", description="for hf: commit of the data set on the hub")
    subjects: Literal["knowledge", "reasoning"] | tuple[str, ...] = Field(
        (), description="for mmlu: the paper's 34 or 22 subjects, or a list; empty: all files"
    )
    templates: dict[str, str] = Field(
        default_factory=dict, description='for pararel: per relation, e.g. {P36 = "The capital of [X] is [Y]."}'
    )
    translator: str = Field("", description="for wmt_xml: whose reference is the output; empty: the first")
    prompt: str = Field(
        "",
        description="template with {input}, and {options} where choices are to be listed; empty: the paper's for this family",
    )
    prompt_options: bool = Field(False, description="multiple choice: the choices, with letters, stand in the prompt")
    instruction: str = Field("", description="text before everything else; {group} in it is the example's subject")
    shots: int = Field(0, ge=0, le=1000, description="solved examples put before the question")
    shots_from: tuple[str, ...] = Field((), description="files they are drawn from; empty: the mined examples")
    shots_seed: int = Field(0, ge=0, description="which of them are drawn")
    shots_within_group: bool | None = Field(
        None, description="drawn from the example's own group, one set for each (the default for mmlu and pararel)"
    )
    answer: Literal["whole", "ngrams"] | None = Field(
        None, description="whole: s_y is the whole answer, for every n (the default for qa and multiple_choice)"
    )
    limit: int = Field(0, ge=0, description="most evaluated examples, by smallest hash; 0: all")
    mine_limit: int = Field(0, ge=0, description="most mining examples, by smallest hash; 0: all")
    orders: tuple[Order, ...] = Field((1, 2, 3), description="n")
    primary_order: Order | None = Field(None, description="n of the results table; default: the first of `orders`")
    gamma: dict[str, float | str] = Field(
        default_factory=dict,
        description='γ per n, e.g. {"2" = 0.85}, or as a percentile of all candidate pairs of the task and n, '
        'e.g. {"2" = "p90"}; others take `gamma_default`',
    )
    gamma_default: float | str = Field(0.5, description="γ of the n that `gamma` does not name; a number or a percentile")
    lowest_gamma: float = Field(
        0.3, ge=-1, le=1, description="pairs are mined above this; every γ of a measure is at least it"
    )
    max_new_tokens: int = Field(24, ge=1, le=4096, description="most tokens generated")
    stop: tuple[str, ...] = Field(("\n",), description="strings that end a generation")
    expected: tuple[int, int] | None = Field(
        None, description="evaluated and mining examples to expect: for `taskgram plan` while the files are not here"
    )
    generate: bool = Field(True, description="let the models answer; multiple choice is scored without it")

    @field_validator("reader")
    @classmethod
    def _known_reader(cls, value: str) -> str:
        if value not in READER_VERSIONS and not re.fullmatch(r"hf:[^:\s]+(:[^:\s]+)?", value) or value == "hf":
            near = difflib.get_close_matches(value, READER_VERSIONS, n=1, cutoff=0.0)
            raise ValueError(f"no such reader; the nearest is {near[0]!r}; all are {', '.join(READER_VERSIONS)}:NAME")
        return value

    @field_validator("fields")
    @classmethod
    def _known_fields(cls, value: dict[str, str]) -> dict[str, str]:
        unknown = sorted(set(value) - set(FIELDS))
        if unknown:
            raise ValueError(f"an example has no {unknown[0]!r}; name fields for some of {', '.join(FIELDS)}")
        if value and ("input" not in value or not {"output", "answer"} & set(value)):
            raise ValueError("name the field of the input, and that of the output (or options and answer)")
        return value

    @field_validator("gamma", "gamma_default", mode="before")
    @classmethod
    def _numbers_or_percentiles(cls, value: Any) -> Any:
        for gamma in value.values() if isinstance(value, dict) else [value]:
            number = isinstance(gamma, int | float) and not isinstance(gamma, bool) and -1 <= gamma <= 1
            if not number and not (isinstance(gamma, str) and _PERCENTILE.fullmatch(gamma)):
                raise ValueError(f'γ = {gamma!r} is neither a number from -1 to 1 nor a percentile such as "p90" or "p99.5"')
        return value

    @model_validator(mode="after")
    def _gammas(self) -> Task:
        lowest = min([g for g in [*self.gamma.values(), self.gamma_default] if not isinstance(g, str)], default=1.0)
        if lowest < self.lowest_gamma:
            raise ValueError(
                f"γ = {lowest} is below lowest_gamma = {self.lowest_gamma}; lower lowest_gamma (pairs are mined anew)"
            )
        for order in self.gamma:
            if not order.isdigit() or int(order) not in self.orders:
                raise ValueError(f"gamma names n = {order}, which is not one of orders = {list(self.orders)}")
        return self

    def gamma_at(self, order: int) -> float | str:
        """γ for n-grams of this order: a number, or a percentile ("p90") of the similarities of all its candidate pairs."""
        return self.gamma.get(str(order), self.gamma_default)

    @property
    def full_version(self) -> str:
        """What results carry: the task's version and the reader's, e.g. "1/mmlu-1"."""
        kind = reader_kind(self.reader)
        return f"{self.version}/{kind}-{READER_VERSIONS[kind]}"

    @property
    def has_percentiles(self) -> bool:
        """Whether some γ is a percentile."""
        return any(isinstance(self.gamma_at(order), str) for order in {*self.orders, self.first_order})

    @property
    def whole_answer(self) -> bool:
        """Whether s_y is the whole answer (arXiv 2407.14985 §3, TriviaQA)."""
        return (self.answer or ("whole" if self.family in ("qa", "multiple_choice") else "ngrams")) == "whole"

    @property
    def first_order(self) -> int:
        """n of the results table."""
        return self.primary_order or self.orders[0]


class Pretrain(Settings):
    """A GPT-NeoX model of the ladder, trained from nothing on the study's tokens."""

    hidden: int = Field(64, ge=8, description="width; a multiple of `heads`")
    layers: int = Field(2, ge=1)
    heads: int = Field(2, ge=1)
    tokens: int = Field(1_600_000, ge=1_000, description="training tokens, the same for every size of a ladder")
    batch: int = Field(16, ge=1, description="sequences per optimizer step")
    context: int = Field(128, ge=16, description="tokens per sequence")
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.1, ge=0)
    warmup: float = Field(0.05, ge=0, lt=1, description="share of steps in which the learning rate rises")
    checkpoints: tuple[float, ...] = Field(
        (1.0,), description="shares of the training after which weights are kept; 1 = the end"
    )
    save_every: float = Field(120.0, gt=0, description="seconds between two saves from which a killed training resumes")
    seed: int = 0

    @field_validator("checkpoints")
    @classmethod
    def _ends(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < share <= 1 for share in value) or 1.0 not in value or len(set(value)) != len(value):
            raise ValueError("checkpoints are distinct shares in (0, 1] and hold 1.0, the end of the training")
        return tuple(sorted(value))


class Model(Settings):
    """A model to ask: pretrained here, a folder, or a hub name."""

    name: Name
    pretrain: Pretrain | None = None
    path: str = Field("", description="folder of a saved causal language model")
    hub: str = Field("", description="hub name, e.g. EleutherAI/pythia-70m")
    revision: str = Field("main", description="branch, tag or commit of the hub model; resolved to a commit")
    checkpoint: int = Field(
        0, ge=0, description='training step the weights are from, for the figures; 0: that of a revision such as "step3000"'
    )
    allow_pickle_weights: bool = Field(
        False, description="take pytorch_model.bin where there are no safetensors; only tensors are taken from it"
    )
    trust_remote_code: bool = Field(False, description="run the code that comes with the model; read it before")

    @model_validator(mode="after")
    def _one_origin(self) -> Model:
        if sum([self.pretrain is not None, bool(self.path), bool(self.hub)]) != 1:
            raise ValueError("name exactly one of [models.pretrain], path, hub")
        return self

    @property
    def training_step(self) -> int:
        """`checkpoint`, or what a revision such as "step3000" or "step1000-tokens4B" says."""
        named = re.match(r"step(\d+)(?!\d)", self.revision) if self.hub else None
        return self.checkpoint or (int(named[1]) if named else 0)


class Counting(Settings):
    """What is counted in the corpus."""

    stop_words: Literal["drop_all_stopword_ngrams", "authors", "none"] = Field(
        "drop_all_stopword_ngrams",
        description="drop_all_stopword_ngrams: n-grams made of nothing but stop words are dropped; contiguity is kept. "
        "authors: stop words are deleted before n-grams of n ≤ 3 are formed, as the released scripts do. none: all are kept",
    )
    all_orders: tuple[Order, ...] = Field((1, 2, 3), description="orders of `ngram_counts`; no measure needs it")
    unit: Literal["words", "tokens"] = Field("words", description="what `ngram_counts` are n-grams of")
    buckets: int = Field(
        8, ge=1, le=4096, description="parts of `ngram_counts`; many for a large corpus, so that each fits in memory"
    )
    min_count: int = Field(2, ge=1, description="n-grams rarer than this are left out of `ngram_counts`, and counted")
    memory: str = Field(
        "1GB",
        description="what counting may hold of n-grams at once, in one worker; decides the number of passes, no result",
    )
    windows: tuple[Annotated[int, Field(ge=1, le=100_000)], ...] = Field(
        (), description="widths in words: pairs are also counted where both stand within so many words; no measure needs it"
    )
    documents_per_pair: int = Field(3, ge=0, le=1000, description="documents kept for each pair of an evaluated example")
    contamination_orders: tuple[Annotated[int, Field(ge=2, le=64)], ...] = Field(
        (8, 13), description="n of the long n-grams that examples and corpus must not share"
    )
    longest_suffix: int = Field(64, ge=1, le=4096, description="longest context, in tokens, looked up for the ∞-gram")
    novelty_orders: tuple[Order, ...] = Field((1, 2, 3, 4, 5, 6), description="n of the novelty curve")

    index: bool = Field(
        False, description="suffix arrays over words and tokens, 8 bytes each, so that `taskgram count` answers at once"
    )

    @field_validator("memory")
    @classmethod
    def _enough(cls, value: str) -> str:
        if parse_size(value) < 64_000_000:
            raise ValueError("counting needs at least 64MB")
        return value

    @property
    def memory_bytes(self) -> int:
        """`memory` in bytes."""
        return parse_size(self.memory)


class Scoring(Settings):
    """How models are asked."""

    other_inputs: int = Field(8, ge=0, le=64, description="other examples' inputs put before each output, for Mem_Δ")
    batch_tokens: int = Field(8192, ge=64, description="most tokens, padding included, in one forward pass")
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: Literal["cpu", "cuda", "auto"] = Field("cpu", description="auto: the GPU where there is one")
    device_map: Literal["", "auto", "balanced", "sequential"] = Field(
        "", description="spread a model that is too large for one GPU over several (needs the package accelerate)"
    )
    pieces: int = Field(
        1, ge=1, le=10_000, description="parts each task is cut into, where workers or GPUs are more than models × tasks"
    )
    temperature: float = Field(0.0, ge=0, le=100, description="of generated answers; 0: the likeliest token, always")
    top_p: float = Field(
        1.0, gt=0, le=1, description="sampled answers draw from the likeliest tokens that together have this probability"
    )


class Measures(Settings):
    """How the measures are taken."""

    bootstrap: int = Field(1_000, ge=50, le=100_000, description="draws of every bootstrap")
    bins: int = Field(8, ge=2, le=100, description="bins of performance against counts, beside the zero bin")


class Hardware(Settings):
    """What the study will run on. Used by `taskgram plan` for its estimate, and by nothing else."""

    cores: int = Field(0, ge=0, description="0: those of this machine")
    memory: str = Field("", description='main memory, e.g. "512GB"; empty: that of this machine')
    disk: str = Field("", description='room for results, e.g. "4TB"; empty: what is free where results go')
    gpu: str = Field("", description='H200, H100, A100, A100-40GB, L40S, A10, V100, T4 or "RTX 4090"; empty: none')
    gpus: int = Field(1, ge=1, description="how many of them")
    flops: str = Field(
        "",
        description='FLOP/s that a GPU (without one: a core) really reaches, e.g. "250T"; empty: a guess from its data sheet',
    )

    @field_validator("memory", "disk")
    @classmethod
    def _size(cls, value: str) -> str:
        if value:
            parse_size(value)
        return value

    @field_validator("flops")
    @classmethod
    def _flops(cls, value: str) -> str:
        if value and not parse_count(value):
            raise ValueError("give what it reaches, more than 0")
        return value


class Study(Settings):
    """One question: a corpus, tasks and models."""

    name: Name
    title: str = ""
    seed: int = Field(0, ge=0, le=2**31 - 1, description="every random choice without a seed of its own follows from it")
    data: str = Field("", description="folder that relative paths are looked up in; TASKGRAM_DATA overrides it")
    corpus: Corpus
    splits: dict[str, Split] = Field(default_factory=dict)
    tokenizer: Tokenizer = Tokenizer()
    encoder: Encoder = Encoder()
    tasks: tuple[Task, ...] = ()
    models: tuple[Model, ...] = ()
    counting: Counting = Counting()
    scoring: Scoring = Scoring()
    measures: Measures = Measures()
    hardware: Hardware = Hardware()
    workers: int = Field(2, ge=0, description="Dask workers; 0: everything in this process")
    worker_memory: str = Field("2GB", description="memory of one worker; a step that needs more is stopped by Dask")

    @model_validator(mode="after")
    def _names(self) -> Study:
        for kind, names in (
            ("tasks", [t.name for t in self.tasks]),
            ("models", [m.name for m in self.models]),
            ("corpus.sources", [s.name for s in self.corpus.sources]),
        ):
            double = sorted({n for n in names if names.count(n) > 1})
            if double:
                raise ValueError(f"{kind}: the name {double[0]!r} stands twice; names tell parts apart")
        used = {s.held_out for s in self.corpus.sources} | {t.split for t in self.tasks}
        for split in sorted(used - {""} - set(self.splits)):
            raise ValueError(f"split {split!r} is used but there is no [splits.{split}]")
        return self

    def task(self, name: str) -> Task:
        """The task of that name."""
        return next(t for t in self.tasks if t.name == name)


def load_study(path: Path) -> Study:
    """Read and check a study file.

    Raises StudyError that names the file, the setting and the remedy.
    """
    try:
        text = path.read_bytes().decode("utf-8")
        content = tomllib.loads(text)
    except FileNotFoundError:
        raise StudyError(f"{path}: no such study file. `taskgram init NAME` writes one to start from.") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StudyError(f"{path}: not valid TOML: {error}") from None
    except OSError as error:
        raise StudyError(f"{path}: cannot be read: {error.strerror}") from None
    if os.environ.get("TASKGRAM_DATA"):
        content["data"] = os.environ["TASKGRAM_DATA"]
    elif content.get("data") and not os.path.isabs(str(content["data"])):
        content["data"] = str(path.resolve().parent / str(content["data"]))
    elif not content.get("data"):
        content["data"] = str(path.resolve().parent)
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        raise StudyError(f"{path}: " + "; ".join(_explain(e) for e in error.errors())) from None


def _explain(error: Mapping[str, Any]) -> str:
    """One line for one problem, with the nearest valid name for an unknown setting."""
    place = ".".join(str(p) for p in error["loc"]) or "study"
    if error["type"] == "extra_forbidden":
        names = _settings_at(error["loc"][:-1])
        near = difflib.get_close_matches(str(error["loc"][-1]), names, n=1, cutoff=0.0)
        return f"{place} is not a setting; " + (f"the nearest one is {near[0]!r}" if near else "remove it")
    if error["type"] == "missing":
        return f"{place} is missing"
    message = error["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" + (f" (given: {error['input']!r})" if not isinstance(error["input"], dict) else "")


def _settings_at(location: tuple[Any, ...]) -> list[str]:
    """Names of the settings that are valid at a place of the study."""
    model: type[BaseModel] = Study
    for step in location:
        if isinstance(step, int) or step not in model.model_fields:
            continue
        found = _models_in(model.model_fields[step].annotation)
        if found:
            model = found[0]
    return list(model.model_fields)


def _models_in(annotation: object) -> list[type[BaseModel]]:
    """The settings classes inside a type such as `tuple[Task, ...]` or `Planted | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for inner in getattr(annotation, "__args__", ()) for m in _models_in(inner)]
