"""Settings of a study's corpus: which documents it has, what is held out of it, and how it is tokenised."""

import re
from typing import Annotated, Any, Self

from pydantic import SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from schemas.settings.base import Count, Name, Place, Settings, at_least, parse_size, value
from schemas.settings.ensemble_settings import Controlled


class Insertions(Settings):
    """Texts that a planted corpus contains an exact number of times, and as many that are drawn alike and never inserted."""

    canaries: int = value(8, "texts of random letters for each number of copies", ge=0, le=10_000)
    sentences: int = value(8, "texts of sentences like those of distractors, for each number of copies", ge=0, le=10_000)
    copies: tuple[int, ...] = value((1, 2, 4, 8, 16, 32), "(1, 4): half of the texts are inserted once, the others four times each")
    words: int = value(64, "words of a text, at least; with more than memorization.prefix + suffix a window fits", ge=16, le=4_096)

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

    tokens: int = value(400_000, "approximate words of text; distractors fill up to it", ge=20_000, le=2_000_000_000)
    shards: int = value(4, "corpus files written; each is one part of every later corpus table", ge=1, le=100_000)
    repeats: int = value(1, "times the factorial of facts is repeated: 96 cells of P(answer | subject) × df(s_x) × df(s_y)", ge=1)
    document_frequencies: tuple[int, int, int, int] = value((16, 32, 64, 128), "df(s_x) in the factorial: distinct multiples of 16")
    exposures: tuple[int, ...] = value((0, 1, 2, 4, 8, 16, 32, 64), "(0, 4): facts never stated, and facts stated four times")
    facts_per_exposure: int = value(24, "facts in each exposure group", ge=1)
    rule_subjects: int = value(96, "subjects whose answer follows from their name, whatever their counts", ge=4)
    lexicon: int = value(80, "words of the lexicon, translated into two invented languages", ge=12, le=400)
    parallel_documents: int = value(3_000, "documents with a sentence and its translation, per language", ge=10)
    monolingual_documents: int = value(1_000, "documents in one language only, per language", ge=0)
    largest_operand: int = value(30, "30: sums from 0 + 0 to 29 + 29", ge=4, le=500)
    sum_documents: int = value(2_000, "documents that state a sum", ge=10)
    held_out_sums: float = value(0.2, "0.2: a fifth of the operand pairs is never stated in the corpus", gt=0, lt=1)
    canaries: int = value(12, "random sequences of known entropy, at 1, 2, 4 … copies", ge=0)
    duplicate_groups: int = value(12, "natural sentences repeated 2, 4, 8 … times", ge=0)
    twins: int = value(12, "pairs of sequences that follow one rule; one of each pair is kept out of the corpus", ge=0)
    phantoms: float = value(0.25, "share of canaries and duplicates that are kept out of the corpus", ge=0, lt=1)
    examples: int = value(320, "most evaluated examples per task; one factorial of facts takes 304", ge=20)
    insertions: Insertions | None = value(None, "texts in 1, 2, 4 … copies, and others never inserted: how many are memorized")
    redrawn: bool = value(False, "set for a study's [placebo]: the same names and questions, every count and text drawn again")

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

    name: Name = value(..., "names the source in results")
    files: tuple[Place, ...] = value(..., 'paths or globs, e.g. ["pile/*.jsonl.zst"], looked up in `data`, then next to the study')
    text: str = value("text", 'field of the text: "body" reads {"body": "…"}, "content.text" reads {"content": {"text": "…"}}')
    id: str = value("id", 'field of the identifier, e.g. "meta.id"; empty: the row number is used')
    language: str = value("", "language tag for all records; empty: the field `lang`, if there is one")
    join: tuple[str, ...] = value((), 'instead of `text`: ["en", "de"] makes one document of {"en": "A game", "de": "Ein Spiel"}')
    held_out: str = value("", '"pages" leaves out records whose key is in the evaluated half of [splits.pages]')
    tokens: Count = value("", 'tokens to expect, e.g. "300G": for `taskgram plan`, in place of a sample of the files')
    documents: Count = value("", 'documents to expect, e.g. "210M": for `taskgram plan`')


class Split(Settings):
    """Divides keys, e.g. pages, into an evaluated and a corpus half by a seeded hash, the same in every file.

    pattern "([^/]+)$" takes the key "raid.html" from both "doc/de/raid.html" and "doc/fr/raid.html".
    """

    share: float = value(0.5, "share of keys that is evaluated", gt=0, lt=1)
    field: str = value("id", "field the key is taken from; a dot enters a field")
    pattern: str = value("(.*)", "regular expression whose first group is the key")
    seed: int = value(0, "another seed evaluates another half")

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
    """Where the documents come from: a planted world, a controlled corpus, or files."""

    planted: Planted | None = None
    controlled: Controlled | None = None
    sources: tuple[Source, ...] = ()
    partition: Annotated[str, at_least("1MB", "a partition has")] = value(
        "256MB", "with 256MB, a file of 1 GB of text is read as four pieces of equal size, one part each"
    )

    @property
    def partition_bytes(self) -> int:
        return parse_size(self.partition)

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.planted is not None) + (self.controlled is not None) + bool(self.sources) != 1:
            raise ValueError("name [corpus.planted], [corpus.controlled] or at least one [[corpus.sources]], and only one of them")
        return self


class Tokenizer(Settings):
    """Trained on the corpus, or read from a tokenizer.json."""

    file: Place = value("", "path of a tokenizer.json, e.g. that of the models; empty: a byte-level BPE is trained on the corpus")
    vocabulary: int = value(1024, "size of the trained vocabulary", ge=260, le=200_000)
    training_bytes: int = value(20_000_000, "bytes of text it is trained on, from a seeded sample of the documents", ge=1_000)
    end_of_document: str = value("<|endoftext|>", "token between documents in training", min_length=1)
