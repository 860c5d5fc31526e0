"""Settings of a study's corpus: what it is made of, what is held out of it, and how it is tokenised."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from schemas.settings.base import Name, Place, Settings, at_least, parse_count, parse_size


class Planted(Settings):
    """A made world whose truth is known (docs/method.md §16). Names, texts and tasks are generated; nothing is downloaded."""

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
    redrawn: bool = Field(
        False, description="set for a study's [placebo]: the same names and questions, every count and text drawn again"
    )

    @property
    def purpose(self) -> str:
        """Put before the purpose of a random draw that a redrawn world makes anew."""
        return "placebo/" if self.redrawn else ""

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
    files: tuple[Place, ...] = Field(
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
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"not a regular expression: {error}") from None
        if not groups:
            raise ValueError("put the key in parentheses, e.g. ([^/]+)$")
        return value


class Corpus(Settings):
    """Where the documents come from: a planted world, or files."""

    planted: Planted | None = None
    sources: tuple[Source, ...] = ()
    partition: Annotated[str, at_least("1MB", "a partition has")] = Field(
        "256MB", description="a file with more text than this is cut into pieces of equal size, one part each"
    )

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

    file: Place = Field("", description="path of a tokenizer.json; empty: a byte-level BPE is trained on the corpus")
    vocabulary: int = Field(1024, ge=260, le=200_000, description="size of the trained vocabulary")
    training_bytes: int = Field(
        20_000_000, ge=1_000, description="bytes of text it is trained on; documents by smallest hash"
    )
    end_of_document: str = Field("<|endoftext|>", min_length=1, description="token put between documents in training")
