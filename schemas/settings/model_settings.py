"""Settings of a study's models: trained here, from a folder or from the hub; and how they are scored."""

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from schemas.settings.base import HubName, Name, Place, Revision, Settings


class Injection(Settings):
    """Held-out windows that a training is repeated with, to see how long it remembers them (docs/memorization.md)."""

    at: float = Field(0.5, gt=0, lt=1, description="0.5: the first after half of the steps")
    windows: int = Field(64, ge=2, le=100_000, description="windows of `phantoms`; as many others are never injected")
    repetitions: int = Field(1, ge=1, le=1_000, description="how often each window is injected")
    every: int = Field(1, ge=1, description="10: each repetition begins ten steps after the end of the one before it")

    @property
    def label(self) -> str:
        """As tables name it: "64 windows ×10 every 5 at 0.5"."""
        spaced = f" every {self.every}" if self.repetitions > 1 else ""
        return f"{self.windows} windows ×{self.repetitions}{spaced} at {self.at:g}"


class Pretrain(Settings):
    """A GPT-NeoX model of the ladder, trained from scratch on the study's tokens."""

    hidden: int = Field(64, ge=8, description="width; an even multiple of `heads`")
    layers: int = Field(2, ge=1, description="transformer layers")
    heads: int = Field(2, ge=1, description="attention heads of each layer")
    tokens: int = Field(1_600_000, ge=1_000, description="training tokens, the same for every size of a ladder")
    batch: int = Field(16, ge=1, description="sequences per optimizer step")
    context: int = Field(128, ge=16, description="tokens per sequence")
    learning_rate: float = Field(3e-3, gt=0, description="peak, after the warm-up")
    weight_decay: float = Field(0.1, ge=0, description="of AdamW, for matrices")
    warmup: float = Field(0.05, ge=0, lt=1, description="0.05: the learning rate rises during the first twentieth of the steps")
    checkpoints: tuple[float, ...] = Field(
        (1.0,), description="(0.25, 1.0) keeps the weights after a quarter of the training, and at its end"
    )
    save_every: float = Field(120.0, gt=0, description="seconds between saves; a killed training resumes from the last one")
    seed: int = Field(0, description="of the initial weights")
    inject: tuple[Injection, ...] = Field(
        (), description="trainings with held-out windows in some of the batches; they change the model itself in nothing"
    )

    @field_validator("inject")
    @classmethod
    def _distinct(cls, value: tuple[Injection, ...]) -> tuple[Injection, ...]:
        labels = [injection.label for injection in value]
        if double := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"inject names {double[0]} twice")
        return value

    @field_validator("checkpoints")
    @classmethod
    def _ends(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < share <= 1 for share in value) or 1.0 not in value or len(set(value)) != len(value):
            raise ValueError("checkpoints are distinct shares in (0, 1] and include 1.0, the end of the training")
        return tuple(sorted(value))


class Model(Settings):
    """A model to evaluate: pretrained here, from a folder, or from the hub."""

    name: Name = Field(description="names the model in results")
    pretrain: Pretrain | None = None
    path: Place = Field("", description="folder of a saved causal language model")
    hub: HubName = Field("", description="hub name, e.g. EleutherAI/pythia-70m")
    revision: Revision = Field("main", description="branch, tag or commit of the hub model; resolved to a commit")
    checkpoint: int = Field(
        0, ge=0, description='training step of the weights, for the figures; 0: taken from a revision such as "step3000"'
    )
    run: str = Field(
        "",
        max_length=200,
        description="training that this checkpoint is of, where several models are checkpoints of one; a hub model's: `hub`",
    )
    allow_pickle_weights: bool = Field(
        False, description="read pytorch_model.bin where there are no safetensors; anything in it but tensors is refused"
    )
    trust_remote_code: bool = Field(False, description="run the code that comes with the model; read it first")

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

    other_inputs: int = Field(
        8, ge=0, le=64, description="4: each output is also scored after the inputs of four other examples, for Mem_Δ"
    )
    batch_tokens: int = Field(8192, ge=64, description="most tokens, padding included, in one forward pass")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="numbers the weights are loaded as")
    device: Literal["cpu", "cuda", "auto"] = Field("cpu", description="auto: the GPU if there is one")
    device_map: Literal["", "auto", "balanced", "sequential"] = Field(
        "", description="auto spreads a model that is too large for one GPU over several (needs the package accelerate)"
    )
    pieces: int = Field(
        1, ge=1, le=10_000, description="8 cuts each task into eight jobs, for more workers or GPUs than models × tasks"
    )
    models_at_once: int = Field(
        0, ge=0, description="workers of this machine that may hold a model in memory at once; 0: all. Changes no result"
    )
    temperature: float = Field(0.0, ge=0, le=100, description="of generated answers; 0: always the likeliest token")
    top_p: float = Field(
        1.0, gt=0, le=1, description="0.9 draws from the likeliest tokens that together have a probability of 90 %"
    )
