"""Settings of a study's corpus: which documents it has, what is held out of it, and how it is tokenised."""

import re
from typing import Annotated, Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from schemas.settings.base import Name, Place, Settings, at_least, parse_count, parse_size


class Insertions(Settings):
    """Texts that a planted corpus contains an exact number of times, and as many that are drawn alike and never inserted."""

    canaries: int = Field(8, ge=0, le=10_000, description="texts of random letters for each number of copies")
    sentences: int = Field(
        8, ge=0, le=10_000, description="texts of sentences like those of distractors, for each number of copies"
    )
    copies: tuple[int, ...] = Field(
        (1, 2, 4, 8, 16, 32), description="(1, 4): half of the texts are inserted once, the others four times each"
    )
    words: int = Field(
        64, ge=16, le=4_096, description="words of a text, at least; with more than memorization.prefix + suffix a window fits"
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.copies or len(set(self.copies)) != len(self.copies) or not 1 <= min(self.copies) <= max(self.copies) <= 10_000:
            raise ValueError("copies are distinct whole numbers from 1 to 10,000")
        if not self.texts:
            raise ValueError("neither canaries nor sentences are inserted; set one of them, or remove [corpus.planted.insertions]")
        return self

    @property
    def texts(self) -> int:
        """Texts that are inserted; as many are not."""
        return len(self.copies) * (self.canaries + self.sentences)


class Planted(Settings):
    """A generated world whose truth is known (docs/method.md §16): names, texts and tasks. Nothing is downloaded."""

    tokens: int = Field(400_000, ge=20_000, le=2_000_000_000, description="approximate words of text; distractors fill up to it")
    shards: int = Field(4, ge=1, le=100_000, description="corpus files written; each is one part of every later corpus table")
    repeats: int = Field(
        1, ge=1, description="times the factorial of facts is repeated: 96 cells of P(answer | subject) × df(s_x) × df(s_y)"
    )
    document_frequencies: tuple[int, int, int, int] = Field(
        (16, 32, 64, 128),
        description="levels of df(s_x) in the factorial: 16 means that a subject is in 16 documents. Distinct multiples of 16",
    )
    exposures: tuple[int, ...] = Field(
        (0, 1, 2, 4, 8, 16, 32, 64),
        description="(0, 4): one group of facts that the corpus never states, one that it states four times each",
    )
    facts_per_exposure: int = Field(24, ge=1, description="facts in each exposure group")
    rule_subjects: int = Field(96, ge=4, description="subjects whose answer follows from their name, whatever their counts")
    lexicon: int = Field(80, ge=12, le=400, description="words of the lexicon, translated into two invented languages")
    parallel_documents: int = Field(3_000, ge=10, description="documents with a sentence and its translation, per language")
    monolingual_documents: int = Field(1_000, ge=0, description="documents in one language only, per language")
    largest_operand: int = Field(30, ge=4, le=500, description="30: sums from 0 + 0 to 29 + 29")
    sum_documents: int = Field(2_000, ge=10, description="documents that state a sum")
    held_out_sums: float = Field(0.2, gt=0, lt=1, description="0.2: a fifth of the operand pairs is never stated in the corpus")
    canaries: int = Field(12, ge=0, description="random sequences of known entropy, at 1, 2, 4 … copies")
    duplicate_groups: int = Field(12, ge=0, description="natural sentences repeated 2, 4, 8 … times")
    twins: int = Field(12, ge=0, description="pairs of sequences that follow one rule; one of each pair is kept out of the corpus")
    phantoms: float = Field(0.25, ge=0, lt=1, description="share of canaries and duplicates that are kept out of the corpus")
    examples: int = Field(320, ge=20, description="most evaluated examples per task; one factorial of facts takes 304")
    insertions: Insertions | None = Field(
        None, description="texts in 1, 2, 4 … copies, and texts that are never inserted, to tell how many a model has memorized"
    )
    redrawn: bool = Field(
        False, description="set for a study's [placebo]: the same names and questions, every count and text drawn again"
    )

    @property
    def purpose(self) -> str:
        """Prefix of the seeds of what a redrawn world draws again."""
        return "placebo/" if self.redrawn else ""

    @model_serializer(mode="wrap")
    def _as_of_old(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without insertions where there are none: a redrawn world has none, so they do not decide what it is."""
        values: dict[str, Any] = dump(self)
        if self.insertions is None or self.redrawn:
            values.pop("insertions", None)
        return values

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

    name: Name = Field(description="names the source in results")
    files: tuple[Place, ...] = Field(
        description='paths or globs, e.g. ["pile/*.jsonl.zst"]; relative ones are looked up in `data`, then next to the study'
    )
    text: str = Field(
        "text", description='field of the text: "body" reads {"body": "…"}, "content.text" reads {"content": {"text": "…"}}'
    )
    id: str = Field("id", description='field of the identifier, e.g. "meta.id"; empty: the row number is used')
    language: str = Field("", description="language tag for all records; empty: the field `lang`, if there is one")
    join: tuple[str, ...] = Field(
        (), description='instead of `text`: ["en", "de"] makes one bilingual document of {"en": "A game", "de": "Ein Spiel"}'
    )
    held_out: str = Field("", description='"pages" leaves out records whose key is in the evaluated half of [splits.pages]')
    tokens: str = Field("", description='tokens to expect, e.g. "300G": for `taskgram plan`, in place of a sample of the files')
    documents: str = Field("", description='documents to expect, e.g. "210M": for `taskgram plan`')

    @field_validator("tokens", "documents")
    @classmethod
    def _count(cls, value: str) -> str:
        if value:
            parse_count(value)
        return value


class Split(Settings):
    """Divides keys, e.g. pages, into an evaluated and a corpus half by a seeded hash, the same in every file.

    pattern "([^/]+)$" takes the key "raid.html" from both "doc/de/raid.html" and "doc/fr/raid.html".
    """

    share: float = Field(0.5, gt=0, lt=1, description="share of keys that is evaluated")
    field: str = Field("id", description="field the key is taken from; a dot enters a field")
    pattern: str = Field("(.*)", description="regular expression whose first group is the key")
    seed: int = Field(0, description="another seed evaluates another half")

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


class CorpusSettings(Settings):
    """Where the documents come from: a planted world, or files."""

    planted: Planted | None = None
    sources: tuple[Source, ...] = ()
    partition: Annotated[str, at_least("1MB", "a partition has")] = Field(
        "256MB", description="with 256MB, a file of 1 GB of text is read as four pieces of equal size, one part each"
    )

    @property
    def partition_bytes(self) -> int:
        return parse_size(self.partition)

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.planted is None) == (not self.sources):
            raise ValueError("name either [corpus.planted] or at least one [[corpus.sources]], not both")
        return self


class Tokenizer(Settings):
    """Trained on the corpus, or read from a tokenizer.json."""

    file: Place = Field(
        "", description="path of a tokenizer.json, e.g. that of the models; empty: a byte-level BPE is trained on the corpus"
    )
    vocabulary: int = Field(1024, ge=260, le=200_000, description="size of the trained vocabulary")
    training_bytes: int = Field(
        20_000_000, ge=1_000, description="bytes of text it is trained on, from a seeded sample of the documents"
    )
    end_of_document: str = Field("<|endoftext|>", min_length=1, description="token between documents in training")
