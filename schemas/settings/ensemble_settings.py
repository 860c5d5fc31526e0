"""Settings of experiments that train many runs: the controlled corpus, which run is trained on what, and the models."""

from typing import Literal, Self

from pydantic import model_validator

from schemas.settings.base import Name, Settings, value
from schemas.settings.model_settings import TrainedNetwork

UNSEEN_TWINS = 2  # of each ring, never trained on
PAIRED = 4  # runs that a design of pairs is made of: two pairs, one with d − 1 copies and one with d
OUT_MODELS = 32  # runs without a sequence that targets are drawn from: the mean of fewer is too far from what a run predicts


class Controlled(Settings):
    """A corpus of short sequences in eight groups, whose memorization has a known answer; one word is one token
    (docs/counterfactual.md)."""

    dense: int = value(200, "sequences of topics that have many of them", ge=0, le=1_000_000)
    rare: int = value(40, "sequences that are the only one of their topic", ge=0, le=1_000_000)
    rings: int = value(6, "cycles of words for each number of members in `twins`", ge=0, le=100_000)
    twins: tuple[int, ...] = value(
        (1, 2, 4, 8), "(1, 8): of half of the rings one sequence is trained on, of the others eight; two never are"
    )
    canaries: int = value(80, "sequences of random words", ge=0, le=1_000_000)
    mismatches: int = value(80, "sequences of a dense prefix and a random suffix", ge=0, le=1_000_000)
    dense_copies: int = value(15, "dense sequences for each number of copies", ge=0, le=100_000)
    canary_copies: int = value(15, "canaries for each number of copies", ge=0, le=100_000)
    copies: tuple[int, ...] = value((2, 4, 8, 16), "(2, 16): half of them are in the corpus twice, the others 16 times")
    rule: int = value(40, "sequences of one rule with many members: one longer cycle of words", ge=0, le=1_000)
    phantoms: float = value(0.2, "0.2: a fifth of each group is never trained on", gt=0, lt=1)
    topics: int = value(4, "topics of the dense sequences", ge=1, le=1_000)
    words: int = value(255, "words of the vocabulary", ge=64, le=4_000)
    prefix: int = value(16, "words of a prefix", ge=2, le=512)
    suffix: int = value(16, "words of a suffix", ge=1, le=512)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for name, values, least in (("twins", self.twins, 1), ("copies", self.copies, 2)):
            if not values or len(set(values)) != len(values) or min(values) < least:
                raise ValueError(f"{name} are distinct whole numbers from {least}")
        if max(self.copies) > 1_024:
            raise ValueError("copies are 1,024 at most")
        if max(self.twins) + UNSEEN_TWINS > self.window:
            raise ValueError(f"a ring has {self.window} words, so at most {self.window - UNSEEN_TWINS} twins")
        if 2 * self.window > self.words:
            raise ValueError(f"words = {self.words} are fewer than the {2 * self.window} of the rule's cycle; raise words")
        if self.rule > 2 * self.window:
            raise ValueError(f"rule = {self.rule}: a cycle of {2 * self.window} words has no more members; lower rule")
        if not self.groups:
            raise ValueError("every group is empty; leave one of them out of the study file, for its default")
        return self

    @property
    def window(self) -> int:
        """Words of a sequence."""
        return self.prefix + self.suffix

    @property
    def groups(self) -> dict[str, int]:
        """Sequences of each group that has any, phantoms included."""
        sizes = {"dense": self.dense, "rare": self.rare, "canary": self.canaries, "mismatch": self.mismatches, "rule": self.rule}
        sizes |= {"dense_copies": self.dense_copies * len(self.copies), "canary_copies": self.canary_copies * len(self.copies)}
        sizes |= {"ring": self.rings * sum(k + UNSEEN_TWINS for k in self.twins)}
        return {name: size for name, size in sizes.items() if size}

    def members(self, group: str) -> int:
        """Sequences of a group that are trained on; the last ones are phantoms."""
        if group == "ring":
            return self.rings * sum(self.twins)
        return self.groups[group] - round(self.phantoms * self.groups[group])

    def copies_of(self, group: str, number: int) -> int:
        """Copies of a sequence of a group: in turn each number, so that they are independent of everything else."""
        return self.copies[number % len(self.copies)] if group.endswith("_copies") else 1

    @property
    def member_copies(self) -> list[int]:
        """Copies of each member."""
        return [self.copies_of(group, i) for group in self.groups for i in range(self.members(group))]


class EnsembleModel(TrainedNetwork):
    """A GPT-NeoX model that is trained once for each run."""

    name: Name = value(..., "names the model in results")
    epochs: float = value(14.0, "14: as many steps as it takes to see 14 times what a run has on average", gt=0)
    checkpoints: tuple[float, ...] = value(
        (0.02, 0.05, 0.1, 0.25, 0.5, 1.0), "shares of the training after which every sequence is scored"
    )
    keep: int = value(0, "16: the first sixteen runs keep their weights, which leverage and redrawn targets need", ge=0)
    seed: int = value(0, "of the initial weights and the order of the data, which differ between runs", ge=0)

    def steps(self, instances: float) -> int:
        """Optimizer steps of every run, whatever it is trained on; `instances`: sequences of an average run."""
        return max(1, round(self.epochs * instances / self.batch))


class Membership(Settings):
    """Which run is trained on which sequence of a controlled corpus, so that each can be compared with and without it."""

    runs: int = value(64, "trainings of each model", ge=PAIRED, le=100_000)
    design: Literal["pairs", "clusters", "examples"] = value(
        "pairs",
        "pairs: of two complementary runs one has a sequence, with d or d − 1 of its d copies; clusters: K folds, each "
        "run lacks all copies of the sequences of one; examples: K folds of single copies",
    )
    folds: int = value(10, "K; for designs with folds", ge=2, le=1_000)
    redrawn: int = value(
        0, "64: further runs of the first model, in half of which the suffix of a sequence is redrawn; 0: none", ge=0
    )
    seed: int = value(0, "of the design", ge=0)
    models: tuple[EnsembleModel, ...] = value((), "models, each trained for every run")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.runs % self.block:
            raise ValueError(f"runs = {self.runs} is no multiple of {self.block}, the runs that belong together in this design")
        names = [m.name for m in self.models]
        if double := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"models: duplicate name {double[0]!r}; give each its own")
        for model in self.models:
            if model.keep > self.runs:
                raise ValueError(f"model {model.name!r}: keep = {model.keep} are more than all {self.runs} runs")
        if self.redraws:
            self._check_redrawn()
        return self

    def _check_redrawn(self) -> None:
        start, kept = f"redrawn = {self.redrawn}", self.models[0].keep
        if self.design != "pairs":
            raise ValueError(f'{start} is for design = "pairs"; set that, or redrawn = 0')
        if self.redrawn % PAIRED or self.redrawn > self.runs:
            raise ValueError(f"{start} is not a multiple of {PAIRED} up to runs = {self.runs}, whose pairs they repeat; change it")
        if kept < 2 * OUT_MODELS:
            problem = f"{start} needs the weights of {OUT_MODELS} runs without each sequence, and half of keep = {kept} are fewer"
            raise ValueError(f"{problem}; set keep = {2 * OUT_MODELS} in the first of [[membership.models]], and as many runs")

    @property
    def redraws(self) -> bool:
        """Whether suffixes are redrawn: there are runs for it, and a model."""
        return self.redrawn > 0 and bool(self.models)

    @property
    def block(self) -> int:
        """Runs that belong together: they are one part of each table."""
        return PAIRED if self.design == "pairs" else self.folds

    @property
    def networks(self) -> dict[str, tuple[str, ...]]:
        """Models that differ in nothing but name, seed and kept weights, by the name of the first: the seeds of a network."""
        alike: dict[str, list[str]] = {}
        for model in self.models:
            alike.setdefault(model.model_dump_json(exclude={"name", "seed", "keep"}), []).append(model.name)
        return {names[0]: tuple(names) for names in alike.values()}

    def instances(self, controlled: Controlled) -> float:
        """Sequences, copies included, that a run is trained on, on average."""
        copies = controlled.member_copies
        if self.design == "pairs":
            return sum(d - 0.5 if d > 1 else 1.0 for d in copies) / 2
        return sum(copies) * (1 - 1 / self.folds)
