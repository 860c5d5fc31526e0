"""Settings of a study's tasks: what is read, how it is put to a model, and which of its n-grams are aligned."""

import difflib
import re
from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from schemas.settings.base import Name, Order, Place, Revision, Settings, value
from schemas.settings.reader_versions import FIELDS, READER_VERSIONS, reader_kind

_PERCENTILE = re.compile(r"p(?:0\.\d+|[1-9]\d?(?:\.\d+)?)")
# What decides the evaluated examples of a task, in what prompt they are put to a model, and from which its pairs are mined.
EXAMINED = (
    *("family", "reader", "evaluate", "split", "languages", "encoding", "fields", "revision", "subjects"),
    *("templates", "translator", "limit"),
)
PROMPTED = ("prompt", "prompt_options", "instruction", "shots", "shots_from", "shots_seed", "shots_within_group")
MINED = ("mine", "mine_limit")


def number_or_percentile(gamma: Any) -> Any:
    """γ as it is. Raises ValueError for what is neither a number nor a percentile."""
    number = isinstance(gamma, int | float) and not isinstance(gamma, bool) and -1 <= gamma <= 1
    if not number and not (isinstance(gamma, str) and _PERCENTILE.fullmatch(gamma)):
        raise ValueError(f'γ = {gamma!r} is neither a number from -1 to 1 nor a percentile such as "p90" or "p99.5"')
    return gamma


class EncoderSettings(Settings):
    """The encoder whose similarities decide which input and output n-grams are paired."""

    kind: Literal["association", "sentence-transformers"] = value(
        "association", "association: IBM Model 1, trained on the mining examples, offline; or a model of that library"
    )
    model: Place = value("", 'folder or hub name, for sentence-transformers, e.g. "sentence-transformers/LaBSE"')
    revision: Revision = value("", "commit of a hub model, 40 hex digits")
    input_prefix: str | None = value(None, 'put before input n-grams; default: "query: " for E5, else nothing')
    output_prefix: str | None = value(None, 'put before output n-grams; default: "passage: " for E5, else nothing')
    batch: int = value(64, "n-grams in one forward pass of a sentence-transformers model", ge=1, le=65_536)
    device: Literal["cpu", "cuda", "auto"] = value("cpu", "auto: the GPU if there is one")
    dimensions: int = value(256, "length of the vectors of `association`", ge=16, le=4096)
    iterations: int = value(8, "EM iterations of `association`", ge=1, le=100)

    @model_validator(mode="before")
    @classmethod
    def _no_laser(cls, value: Any) -> Any:
        names = [str(value.get(name, "")).lower() for name in ("kind", "model")] if isinstance(value, dict) else []
        if any(re.fullmatch(r"(?:facebook/)?laser[23]?", name) for name in names):
            raise ValueError(
                "none of the pinned libraries offers LASER; for translation use "
                'kind = "sentence-transformers" and model = "sentence-transformers/LaBSE"'
            )
        return value

    @model_validator(mode="after")
    def _model(self) -> Self:
        if self.kind == "sentence-transformers" and not self.model:
            raise ValueError('kind = "sentence-transformers" needs `model`: a folder, or a hub name with its `revision`')
        return self


class Task(Settings):
    """One task: where its examples are, how they are put to a model, which n-grams are taken from them."""

    name: Name = value(..., "names the task in results")
    family: Literal["translation", "qa", "multiple_choice", "math"] = value(..., "kind of its answers, which decides their scores")
    version: int = value(1, "raise it when you change the questions or the prompt; every result carries it", ge=1)
    reader: Place = value("jsonl", "format of the files, e.g. 'mmlu'; docs/tasks.md lists them")
    evaluate: tuple[Place, ...] = value((), "files of the examples put to the models; some formats have two")
    mine: tuple[Place, ...] = value((), "files that task-grams are mined from; empty: the evaluated ones, which results note")
    split: str = value("", '"pages": the evaluated half of [splits.pages] is evaluated, the other half mined')
    languages: tuple[str, ...] = value((), 'for translation: input and output, e.g. ["en", "de"]')
    encoding: str = value("utf-8", "encoding of the files; records with other bytes are rejected")
    fields: dict[str, str | tuple[str, ...]] = value(
        {},
        'for jsonl and hf: {input = "q", output = "a.text"} reads {"q": "Who?", "a": {"text": "Ann"}}; '
        'options = ["A", "B"] are the texts of two fields',
    )
    revision: Revision = value("", "for hf: commit of the data set on the hub")
    subjects: Literal["knowledge", "reasoning"] | tuple[str, ...] = value((), "for mmlu: the paper's 34 or 22, or some; empty: all")
    templates: dict[str, str] = value({}, 'for pararel: {P36 = "The capital of [X] is [Y]."} asks "The capital of France is"')
    translator: str = value("", "for wmt_xml: the translator whose reference is the output; empty: the first")
    prompt: str = value("", '"Q: {input}\\nA: " asks "Q: Who wrote Faust?\\nA:"; {options} lists choices; empty: the paper\'s')
    record_prompts: bool = value(True, "use a record's own `prompt` instead of the task's; false: always the task's")
    prompt_options: bool = value(False, 'multiple choice: list the choices in the prompt, "A. Mars", "B. Saturn"')
    instruction: str = value("", 'text before everything else; "About {group}." becomes "About anatomy."')
    shots: int = value(0, "5: five solved examples before each question", ge=0, le=1000)
    shots_from: tuple[Place, ...] = value((), "files that solved examples are drawn from; empty: the mined examples")
    shots_seed: int = value(0, "another seed draws others", ge=0)
    shots_within_group: bool | None = value(None, "from the example's own group, e.g. subject (default for mmlu and pararel)")
    answer: Literal["whole", "ngrams"] | None = value(None, "s_y: whole answers (default for qa, multiple_choice) or their n-grams")
    limit: int = value(0, "300 evaluates a seeded sample of 300 examples; 0: all", ge=0)
    mine_limit: int = value(0, "as `limit`, for the examples that task-grams are mined from", ge=0)
    repeat_of: str = value(
        "",
        "name of another task with the same evaluated examples. With another prompt, it measures how reliable the "
        "log-probabilities are; mined from other files, whether the measures depend on the files",
    )
    orders: tuple[Order, ...] = value((1, 2, 3), "n of the n-grams")
    primary_order: Order | None = value(None, "n of the results table; default: the first of `orders`")
    gamma: dict[str, float | str] = value(
        {},
        'γ per n: {"2" = 0.85} keeps pairs of 2-grams with a cosine above 0.85, {"2" = "p90"} the most similar tenth '
        "of all candidates; other n use `gamma_default`",
    )
    gamma_default: float | str = value(0.5, "γ of the n that `gamma` does not name; a number or a percentile")
    lowest_gamma: float = value(0.3, "pairs above this are mined and counted; no γ of a measure may be below it", ge=-1, le=1)
    max_new_tokens: int = value(24, "most tokens generated", ge=1, le=4096)
    stop: tuple[str, ...] = value(("\n",), "strings that end a generation")
    expected: tuple[int, int] | None = value(None, "[1319, 7473]: evaluated and mined examples, for `plan` without the files")
    generate: bool = value(True, "let the models generate answers; multiple choice is scored without")

    @field_validator("reader")
    @classmethod
    def _known_reader(cls, value: str) -> str:
        if value not in READER_VERSIONS and not re.fullmatch(r"hf:[^:\s]+(:[^:\s]+)?", value) or value == "hf":
            near = difflib.get_close_matches(value, READER_VERSIONS, n=1, cutoff=0.0)
            raise ValueError(f"no such reader; the nearest is {near[0]!r}; there are {', '.join(READER_VERSIONS)}:NAME")
        return value

    @field_validator("fields")
    @classmethod
    def _known_fields(cls, value: dict[str, str | tuple[str, ...]]) -> dict[str, str | tuple[str, ...]]:
        unknown = sorted(set(value) - set(FIELDS))
        if unknown:
            raise ValueError(f"an example has no {unknown[0]!r}; name fields for some of {', '.join(FIELDS)}")
        if value and ("input" not in value or not {"output", "answer"} & set(value)):
            raise ValueError("name the field of the input, and that of the output (or options and answer)")
        for name in sorted(set(value) - {"aliases", "options", "labels"}):
            if not isinstance(value[name], str):
                raise ValueError(f"{name!r} is one field; options, labels and aliases may be several")
        return value

    @field_validator("gamma", "gamma_default", mode="before")
    @classmethod
    def _numbers_or_percentiles(cls, value: Any) -> Any:
        for gamma in value.values() if isinstance(value, dict) else [value]:
            number_or_percentile(gamma)
        return value

    @model_validator(mode="after")
    def _gammas(self) -> Self:
        lowest = min([g for g in [*self.gamma.values(), self.gamma_default] if not isinstance(g, str)], default=1.0)
        if lowest < self.lowest_gamma:
            remedy = "lower lowest_gamma (pairs are then mined again)"
            raise ValueError(f"γ = {lowest} is below lowest_gamma = {self.lowest_gamma}; {remedy}")
        for order in self.gamma:
            if not order.isdigit() or int(order) not in self.orders:
                raise ValueError(f"gamma names n = {order}, which is not one of orders = {list(self.orders)}")
        return self

    def gamma_at(self, order: int) -> float | str:
        """γ for n-grams of this order: a number, or a percentile ("p90") of the similarities of all its candidate pairs."""
        return self.gamma.get(str(order), self.gamma_default)

    def agrees(self, other: Self, settings: Sequence[str]) -> bool:
        """Whether both have these settings alike, e.g. those of EXAMINED."""
        return all(getattr(self, name) == getattr(other, name) for name in settings)

    @property
    def full_version(self) -> str:
        """The task's version and the reader's, which results carry, e.g. "1/mmlu-1"."""
        kind = reader_kind(self.reader)
        return f"{self.version}/{kind}-{READER_VERSIONS[kind]}"

    @property
    def has_percentiles(self) -> bool:
        return any(isinstance(self.gamma_at(order), str) for order in {*self.orders, self.first_order})

    @property
    def whole_answer(self) -> bool:
        """Whether s_y is the whole answer (arXiv 2407.14985 §3, TriviaQA)."""
        return (self.answer or ("whole" if self.family in ("qa", "multiple_choice") else "ngrams")) == "whole"

    @property
    def first_order(self) -> int:
        return self.primary_order or self.orders[0]
