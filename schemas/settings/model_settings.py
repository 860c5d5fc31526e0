"""Settings of a study's models: trained here, from a folder or from the hub; and how they are scored."""

import re
from typing import Literal, Self

from pydantic import field_validator, model_validator

from schemas.settings.base import HubName, Name, Place, Revision, Settings, distinct, value


class Injection(Settings):
    """Held-out windows that a training is repeated with, to see how long it remembers them (docs/memorization.md)."""

    at: float = value(0.5, "0.5: the first after half of the steps", gt=0, lt=1)
    windows: int = value(64, "windows of `phantoms`; as many others are never injected", ge=2, le=100_000)
    repetitions: int = value(1, "how often each window is injected", ge=1, le=1_000)
    every: int = value(1, "10: each repetition begins ten steps after the end of the one before it", ge=1)

    @property
    def label(self) -> str:
        """As tables name it: "64 windows ×10 every 5 at 0.5"."""
        spaced = f" every {self.every}" if self.repetitions > 1 else ""
        return f"{self.windows} windows ×{self.repetitions}{spaced} at {self.at:g}"


class TrainedNetwork(Settings):
    """A GPT-NeoX network and how it is trained from scratch."""

    hidden: int = value(64, "width; an even multiple of `heads`", ge=8)
    layers: int = value(2, "transformer layers", ge=1)
    heads: int = value(2, "attention heads of each layer", ge=1)
    batch: int = value(16, "sequences per optimizer step", ge=1)
    learning_rate: float = value(3e-3, "peak, after the warm-up", gt=0)
    weight_decay: float = value(0.1, "of AdamW, for matrices", ge=0)
    warmup: float = value(0.05, "0.05: the learning rate rises during the first twentieth of the steps", ge=0, lt=1)
    checkpoints: tuple[float, ...] = value((1.0,), "(0.25, 1.0) keeps the weights after a quarter of the training, and at its end")
    save_every: float = value(120.0, "seconds between saves; a killed training resumes from the last one", gt=0)
    seed: int = value(0, "of the initial weights")

    @field_validator("checkpoints")
    @classmethod
    def _ends(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < share <= 1 for share in value) or 1.0 not in value or len(set(value)) != len(value):
            raise ValueError("checkpoints are distinct shares in (0, 1] and include 1.0, the end of the training")
        return tuple(sorted(value))

    @model_validator(mode="after")
    def _shape(self) -> Self:
        if self.hidden % self.heads or self.hidden // self.heads % 2:
            remedy = f"an even whole number, e.g. hidden = {2 * self.heads * max(1, round(self.hidden / self.heads / 2))}"
            raise ValueError(f"hidden = {self.hidden} cannot be divided among heads = {self.heads}; the quotient must be {remedy}")
        return self


class Pretrain(TrainedNetwork):
    """A GPT-NeoX model of the ladder, trained from scratch on the study's tokens."""

    tokens: int = value(1_600_000, "training tokens, the same for every size of a ladder", ge=1_000)
    context: int = value(128, "tokens per sequence", ge=16)
    inject: tuple[Injection, ...] = value((), "trainings with held-out windows in some batches, next to that of the model itself")

    @field_validator("inject")
    @classmethod
    def _distinct(cls, value: tuple[Injection, ...]) -> tuple[Injection, ...]:
        distinct("duplicate injection", (injection.label for injection in value))
        return value


class Model(Settings):
    """A model to evaluate: pretrained here, from a folder, or from the hub."""

    name: Name = value(..., "names the model in results")
    pretrain: Pretrain | None = None
    path: Place = value("", "folder of a saved causal language model")
    hub: HubName = value("", "hub name, e.g. EleutherAI/pythia-70m")
    revision: Revision = value("main", "branch, tag or commit of the hub model; resolved to a commit")
    checkpoint: int = value(0, 'training step of the weights, for the figures; 0: taken from a revision such as "step3000"', ge=0)
    run: str = value("", "training of which several models are checkpoints; a hub model's: `hub`", max_length=200)
    allow_pickle_weights: bool = value(False, "read pytorch_model.bin where there are no safetensors; tensors only")
    trust_remote_code: bool = value(False, "run the code that comes with the model; read it first")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if sum([self.pretrain is not None, bool(self.path), bool(self.hub)]) != 1:
            raise ValueError("name exactly one of [models.pretrain], path, hub")
        return self

    @property
    def training_step(self) -> int:
        """`checkpoint`, or the step in a revision such as "step3000" or "step1000-tokens4B"."""
        return self.checkpoint or (self._revision_step or 0)

    @property
    def has_step(self) -> bool:
        """Whether the training step is known; 0 is one, if the study or the revision names it."""
        return "checkpoint" in self.model_fields_set or self._revision_step is not None

    @property
    def _revision_step(self) -> int | None:
        named = re.match(r"step(\d+)(?!\d)", self.revision) if self.hub else None
        return int(named[1]) if named else None


class Scoring(Settings):
    """How models are scored and generate."""

    other_inputs: int = value(8, "4: each output is also scored after the inputs of four other examples, for Mem_Δ", ge=0, le=64)
    batch_tokens: int = value(8192, "most tokens, padding included, in one forward pass", ge=64)
    dtype: Literal["float32", "bfloat16", "float16"] = value("float32", "numbers the weights are loaded as")
    device: Literal["cpu", "cuda", "auto"] = value("cpu", "auto: the GPU if there is one")
    device_map: Literal["", "auto", "balanced", "sequential"] = value("", "auto: over several GPUs, by the package accelerate")
    pieces: int = value(1, "8 cuts each task into eight jobs, for more workers or GPUs than models × tasks", ge=1, le=10_000)
    models_at_once: int = value(0, "workers of this machine that hold a model at once; 0: all. Changes no result", ge=0)
    temperature: float = value(0.0, "of generated answers; 0: always the likeliest token", ge=0, le=100)
    top_p: float = value(1.0, "0.9 draws from the likeliest tokens that together have a probability of 90 %", gt=0, le=1)
