"""Settings of the grid of trainings that tells memorization and capacity apart."""

from itertools import product
from typing import Any, NamedTuple, Self

from pydantic import ValidationError, model_validator

from schemas.settings.base import Settings, value
from schemas.settings.model_settings import TrainedNetwork

REMOVALS = ("none", "memorized", "random", "matched")  # what is left out of the training, in the removal experiment


class CapacityCell(NamedTuple):
    """One setting of the grid; its runs differ in their seeds."""

    hidden: int
    corpus: float
    epochs: float
    weight_decay: float
    dedup: bool


class Capacity(Settings):
    """A grid of trainings on the sequences of a controlled corpus: sizes × corpora × epochs × weight decay × dedup × seeds
    (docs/capacity.md)."""

    hidden: tuple[int, ...] = value((16, 32, 64, 96), "widths of the models")
    layers: int = value(2, "transformer layers", ge=1)
    heads: int = value(2, "attention heads of each layer", ge=1)
    batch: int = value(16, "sequences per optimizer step", ge=1)
    learning_rate: float = value(3e-3, "peak, after the warm-up", gt=0)
    warmup: float = value(0.05, "0.05: the learning rate rises during the first twentieth of the steps", ge=0, lt=1)
    corpora: tuple[float, ...] = value((0.25, 0.5, 1.0), "(0.5, 1): half of the members of each group, and all of them")
    epochs: tuple[float, ...] = value((4.0, 12.0), "12: as many steps as it takes to see the corpus 12 times")
    weight_decay: tuple[float, ...] = value((0.1, 1.0), "of AdamW, for matrices")
    dedup: tuple[bool, ...] = value((False, True), "true: one copy of each sequence; false: all of them")
    seeds: int = value(1, "runs of each cell, which differ in initial weights and the order of the data", ge=1, le=1_000)
    checkpoints: tuple[float, ...] = value(
        (0.1, 0.2, 0.3, 0.4, 0.55, 0.7, 0.85, 1.0), "shares of the training after which every sequence is scored"
    )
    removed: float = value(
        0.0,
        "0.1: the first model of [membership] is also trained without the tenth of the sequences with one copy that it memorizes "
        "most, without a random tenth, and without a tenth that runs without them find as likely; 0: not",
        ge=0,
        lt=0.5,
    )
    removal_seeds: int = value(3, "runs without each of these; their differences have intervals from two on", ge=1, le=1_000)
    random_sequences: tuple[int, ...] = value(
        (), "(64, 256): corpora of so many sequences of random words, to count the bits that a parameter holds"
    )
    random_hidden: tuple[int, ...] = value((16, 32), "widths of the models that are trained on random words")
    random_steps: int = value(1_500, "optimizer steps of each of these", ge=1)
    save_every: float = value(120.0, "seconds between saves; a killed training resumes from the last one", gt=0)
    most_runs: int = value(500, "a grid of more runs than this is an error, so that a product of lists surprises nobody", ge=1)
    seed: int = value(0, "of corpora, initial weights and the order of the data", ge=0)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        lists: dict[str, tuple[Any, ...]] = {name: getattr(self, name) for name in CapacityCell._fields if name != "corpus"}
        lists |= {"corpora": self.corpora, "random_hidden": self.random_hidden, "random_sequences": self.random_sequences}
        for name, values in lists.items():
            if len(set(values)) != len(values) or not (values or name.startswith("random")):
                raise ValueError(f"{name} needs values that differ from each other")
        if any(not 0 < share <= 1 for share in self.corpora):
            raise ValueError("corpora are shares in (0, 1]")
        if min(self.epochs) <= 0 or min(self.weight_decay) < 0 or min(self.random_sequences, default=1) < 1:
            raise ValueError("epochs and random_sequences are more than 0, weight_decay is 0 or more")
        try:
            for hidden in {*self.hidden, *self.random_hidden}:
                self.network(hidden)
        except ValidationError as error:
            raise ValueError(str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from None
        if self.runs > self.most_runs:
            raise ValueError(
                f"the grid has {self.runs:,} runs, more than most_runs = {self.most_runs:,}; shorten hidden, corpora, epochs, "
                "weight_decay, dedup or seeds, or raise most_runs"
            )
        return self

    def network(self, hidden: int) -> TrainedNetwork:
        """The network of a width and how it is trained, but for its weight decay."""
        names = ("layers", "heads", "batch", "learning_rate", "warmup", "checkpoints", "save_every", "seed")
        return TrainedNetwork(hidden=hidden, **{name: getattr(self, name) for name in names})

    @property
    def cells(self) -> list[CapacityCell]:
        """Every cell of the grid."""
        return [CapacityCell(*of) for of in product(self.hidden, self.corpora, self.epochs, self.weight_decay, self.dedup)]

    @property
    def runs(self) -> int:
        """Trainings of all kinds."""
        random = len(self.random_sequences) * len(self.random_hidden)
        return (len(self.cells) + random) * self.seeds + (len(REMOVALS) * self.removal_seeds if self.removed else 0)
