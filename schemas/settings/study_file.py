"""A study as a user writes it: one TOML file. Every setting is explained by what it does.

Unknown settings are errors that name the nearest valid one. A step copies the settings that it reads into its jobs; any other
setting cannot change what the step writes.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, PrivateAttr, ValidationError, field_validator, model_validator

from schemas.errors import StudyError
from schemas.settings.base import Name, Order, Place, Settings, Size, StopWords, at_least, distinct, parse_count, parse_size, value
from schemas.settings.capacity_settings import Capacity
from schemas.settings.cluster_settings import ClusterSettings
from schemas.settings.corpus_settings import CorpusSettings, Planted, Source, Split, Tokenizer
from schemas.settings.ensemble_settings import Membership
from schemas.settings.measure_settings import Measures
from schemas.settings.memorization_settings import Memorization
from schemas.settings.model_settings import Injection, Model, Pretrain, Scoring
from schemas.settings.task_settings import EXAMINED, EncoderSettings, Task
from schemas.settings.variants import Variant, check_variants

__all__ = ["EncoderSettings", "Injection", "Model", "Planted", "Pretrain", "Source", "Study", "Task", "load_study"]

LONGEST_STUDY, PROBLEMS = 1_000_000, 20  # bytes of a file; problems reported at once
_DEEP = re.compile(r"""(?<![\w."'-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){30}""")


class CountingSettings(Settings):
    """What is counted in the corpus."""

    stop_words: StopWords = value(
        "drop_all_stopword_ngrams",
        'drop_all_stopword_ngrams drops n-grams of stop words alone, such as "of the". authors removes stop words '
        'before it forms n-grams of n ≤ 3, as the released scripts do: "harbour Velm" of "harbour of Velm". none keeps all',
    )
    all_orders: tuple[Order, ...] = value((1, 2, 3), "n of `ngram_counts`, the table of all n-grams; no measure needs it")
    unit: Literal["words", "tokens"] = value("words", "n-grams of words, or of model tokens, in `ngram_counts`")
    buckets: int = value(8, "parts of `ngram_counts`; use more for a large corpus, so that each fits in memory", ge=1, le=4096)
    min_count: int = value(2, "2 leaves n-grams that occur once out of `ngram_counts`, and counts how many", ge=1)
    memory: Annotated[str, at_least("64MB", "counting needs")] = value(
        "1GB", "n-grams that one worker may hold in memory; decides the number of passes, never a result"
    )
    windows: tuple[Annotated[int, Field(ge=1, le=100_000)], ...] = value(
        (), "[10] also counts the documents with both n-grams of a pair within ten words; no measure needs it"
    )
    documents_per_pair: int = value(3, "3 keeps three documents with excerpts for each pair of an evaluated example", ge=0, le=1000)
    contamination_orders: tuple[Annotated[int, Field(ge=2, le=64)], ...] = value(
        (8, 13, 14), "13 reports examples that share 13 words in a row with the corpus"
    )
    longest_suffix: int = value(64, "longest context, in tokens, that is looked up for the ∞-gram", ge=1, le=4096)
    novelty_orders: tuple[Order, ...] = value((1, 2, 3, 4, 5, 6), "n of the novelty curve")
    index: bool = value(False, "suffix arrays, 8 bytes per word and token: `taskgram count` then answers at once in any corpus")

    @property
    def memory_bytes(self) -> int:
        return parse_size(self.memory)


class Hardware(Settings):
    """The machine that the study will run on. Only `taskgram plan` uses it, for its estimate."""

    cores: int = value(0, "0: those of this machine", ge=0)
    memory: Size = value("", 'main memory, e.g. "512GB"; empty: that of this machine')
    disk: Size = value("", 'disk for results, e.g. "4TB"; empty: what is free where results go')
    gpu: str = value("", 'H200, H100, A100, A100-40GB, L40S, A10, V100, T4 or "RTX 4090"; empty: none')
    gpus: int = value(1, "number of GPUs", ge=1)
    flops: str = value("", 'FLOP/s that a GPU (or a core) reaches in practice, e.g. "250T"; empty: a guess from its data sheet')

    @field_validator("flops")
    @classmethod
    def _flops(cls, value: str) -> str:
        if value and not parse_count(value):
            raise ValueError("must be more than 0")
        return value


class Study(Settings):
    """One question: a corpus, tasks and models."""

    name: Name = value(..., "names the study's results and its report")
    title: str = value("", "heading of the report")
    seed: int = value(0, "of every random choice that has no seed of its own", ge=0, le=2**31 - 1)
    data: Place = value("", "folder that relative paths are looked up in; TASKGRAM_DATA overrides it")
    corpus: CorpusSettings
    placebo: CorpusSettings | None = value(None, "another corpus that no model was trained on: what its counts explain, any would")
    splits: dict[str, Split] = value({}, "splits that sources and tasks name")
    tokenizer: Tokenizer = Tokenizer()
    encoder: EncoderSettings = EncoderSettings()
    tasks: tuple[Task, ...] = ()
    models: tuple[Model, ...] = ()
    counting: CountingSettings = CountingSettings()
    scoring: Scoring = Scoring()
    measures: Measures = Measures()
    memorization: Memorization | None = value(None, "which sequences the models have memorized, next to text they never saw")
    membership: Membership | None = value(None, "many trainings on a controlled corpus, each with and without every sequence")
    capacity: Capacity | None = value(
        None, "a grid of trainings on a controlled corpus: does what memorizes more generalize better?"
    )
    variants: tuple[Variant, ...] = value((), "the same measures with other stop words or another encoder")
    hardware: Hardware = Hardware()
    cluster: ClusterSettings = ClusterSettings()
    workers: int = value(2, "Dask workers; 0 runs everything in this process", ge=0)
    worker_memory: str = value("2GB", "memory of one worker; Dask stops a step that needs more")

    _left_out: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _names(self) -> Self:
        placebo = self.placebo.sources if self.placebo else ()
        named: dict[str, tuple[Any, ...]] = {"tasks": self.tasks, "models": self.models, "variants": self.variants}
        for kind, items in (named | {"corpus.sources": self.corpus.sources, "placebo.sources": placebo}).items():
            distinct(f"{kind}: duplicate name", (item.name for item in items))
        sources = (*self.corpus.sources, *placebo)
        used = {s.held_out for s in sources} | {t.split for t in self.tasks}
        for split in sorted(used - {""} - set(self.splits)):
            raise ValueError(f"split {split!r} is used but there is no [splits.{split}]")
        check_variants(self.variants, self.tasks, self.counting.stop_words, self.encoder)
        return self

    @model_validator(mode="after")
    def _contamination(self) -> Self:
        n, orders = self.measures.exclude_contaminated, self.counting.contamination_orders
        if n and n not in orders:
            raise ValueError(
                f"measures.exclude_contaminated = {n} is not searched for in the corpus; add {n} to "
                f"counting.contamination_orders = {list(orders)}, or use one of these"
            )
        return self

    @model_validator(mode="after")
    def _repeats(self) -> Self:
        for task in self.tasks:
            others = {t.name: t for t in self.tasks if t.name != task.name}
            if task.repeat_of and task.repeat_of not in others:
                raise ValueError(f"task {task.name!r}: repeat_of = {task.repeat_of!r} is no other task of this study")
            if task.repeat_of and not task.agrees(others[task.repeat_of], EXAMINED):
                raise ValueError(
                    f"task {task.name!r}: repeat_of = {task.repeat_of!r} reads other evaluated examples; it may differ only in its "
                    "prompt and in the files it is mined from"
                )
        return self

    @model_validator(mode="after")
    def _injections(self) -> Self:
        phantoms = self.memorization.samples.phantoms if self.memorization else 0
        for model in self.models:
            needed = 2 * max((i.windows for i in model.pretrain.inject), default=0) if model.pretrain else 0
            if needed > phantoms:
                raise ValueError(
                    f"model {model.name!r}: inject needs {needed} windows of held-out text, half of them for comparison; set "
                    f"memorization.samples.phantoms to {needed} or more"
                )
        return self

    @model_validator(mode="after")
    def _controlled(self) -> Self:
        if self.membership and not self.corpus.controlled:
            raise ValueError("[membership] needs [corpus.controlled], the sequences that a run is trained on or not")
        if self.capacity and not self.corpus.controlled:
            raise ValueError("[capacity] needs [corpus.controlled], the sequences that its runs are trained on")
        if self.capacity and self.capacity.removed and not (self.membership and self.membership.models):
            raise ValueError(
                "capacity.removed leaves out what a model of [membership] memorizes, and there is none; add [[membership.models]]"
            )
        if self.corpus.controlled and self.tokenizer.file:
            raise ValueError("tokenizer.file: a controlled corpus has its own tokenizer, one token for each word; remove it")
        if self.placebo and self.placebo.controlled:
            raise ValueError("placebo.controlled: a controlled corpus is no placebo; name [[placebo.sources]]")
        return self

    @model_validator(mode="after")
    def _some_members(self) -> Self:
        samples = self.memorization.samples if self.memorization else None
        if samples and not (samples.uniform or samples.duplicates or self.planted_windows):
            raise ValueError("memorization.samples draws no window of the corpus; set samples.uniform or samples.duplicates")
        return self

    @property
    def planted_windows(self) -> int:
        """Windows of the sample `planted`; as many are of `planted_phantoms`."""
        planted, memorization = self.corpus.planted, self.memorization
        drawn = memorization is not None and memorization.samples.planted
        return planted.insertions.texts if drawn and planted and planted.insertions else 0

    @property
    def expected_windows(self) -> float:
        """About how many windows `sequences` will have."""
        return (self.memorization.samples.expected if self.memorization else 0.0) + 2 * self.planted_windows

    @model_validator(mode="after")
    def _redrawn(self) -> Self:
        planted, again = self.corpus.planted, self.placebo.planted if self.placebo else None
        if planted and planted.redrawn:
            raise ValueError("corpus.planted.redrawn: only a placebo is drawn again; remove it")
        if again and not planted:
            raise ValueError("placebo.planted draws a planted corpus again, and this corpus is files; name [[placebo.sources]]")
        if again and (other := sorted(again.model_fields_set - {"tokens", "shards", "redrawn"})):
            raise ValueError(f"placebo.planted.{other[0]}: a placebo is the same world drawn again; set it under [corpus.planted]")
        return self

    def without(self, models: Mapping[str, str]) -> Self:
        """This study without models that failed; the report says which, and why."""
        rest = self.model_copy(update={"models": tuple(m for m in self.models if m.name not in models)})
        rest._left_out = {**self._left_out, **models}
        return rest

    @property
    def left_out(self) -> Mapping[str, str]:
        """Models of the study file that failed, with the reason: nothing is computed of them."""
        return self._left_out

    def of_placebo(self) -> Self | None:
        """This study with its placebo as the corpus, counting nothing but pairs; None if it has no placebo."""
        if self.placebo is None:
            return None
        corpus, planted = self.placebo, self.placebo.planted
        if planted and self.corpus.planted:
            changes = {name: getattr(planted, name) for name in planted.model_fields_set} | {"redrawn": True}
            corpus = corpus.model_copy(update={"planted": self.corpus.planted.model_copy(update=changes)})
        nothing = {"windows": (), "contamination_orders": (), "documents_per_pair": 0}
        return self.model_copy(update={"corpus": corpus, "counting": self.counting.model_copy(update=nothing)})

    def with_workers(self, workers: int) -> Self:
        """The same study with this number of workers, wherever they come from; 0: in this process."""
        cluster = ClusterSettings() if workers == 0 else self.cluster.model_copy(update={"workers": None})
        return self.model_copy(update={"workers": workers, "cluster": cluster})

    def task(self, name: str) -> Task:
        return next(t for t in self.tasks if t.name == name)


def load_study(path: Path) -> Study:
    """Read and check a study file.

    Raises StudyError that names the file, the setting and the remedy.
    """
    try:
        with path.open("rb") as source:
            raw = source.read(LONGEST_STUDY + 1)
        if len(raw) > LONGEST_STUDY:
            raise StudyError(f"{path}: longer than {LONGEST_STUDY:,} bytes, so not a study; name the files of a corpus by a glob")
        if _DEEP.search(text := raw.decode("utf-8")):  # parsing would not end: its time is quadratic in them
            raise StudyError(f"{path}: not a study: a name with dots in it has more than 30 parts")
        content = tomllib.loads(text)
    except FileNotFoundError:
        raise StudyError(f"{path}: no such study file. `taskgram init NAME` writes one to start from.") from None
    except ValueError as error:  # of TOML, of UTF-8, of a number with thousands of digits
        raise StudyError(f"{path}: not valid TOML: {error}") from None
    except RecursionError:
        raise StudyError(f"{path}: not a study: its brackets are nested too deep") from None
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
        raise StudyError(f"{path}: " + "; ".join(_explain(e) for e in error.errors()[:PROBLEMS])) from None


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
    return f"{place}: {message}" + (f" (given: {error['input']!r:.200})" if not isinstance(error["input"], dict) else "")


def _settings_at(location: tuple[Any, ...]) -> list[str]:
    """Names of the settings that are valid at a place of the study."""
    model: type[BaseModel] = Study
    for step in location:
        if isinstance(step, int) or step not in model.model_fields:
            continue
        models = models_in(model.model_fields[step].annotation)
        if models:
            model = models[0]
    return list(model.model_fields)


def models_in(annotation: object) -> list[type[BaseModel]]:
    """The settings classes inside a type such as `tuple[Task, ...]` or `Planted | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for inner in getattr(annotation, "__args__", ()) for m in models_in(inner)]
