"""Variants of a study: the same question asked with other stop words, or by another encoder, beside the study's own answer.

    [[variants]]                          its rows of `metrics` say "stop_words=authors mem_n", its parts variant=stop_words=authors
    name = "authors"
    stop_words = "authors"

A variant has its own n-grams, embeddings and task-grams, and shares whatever it does not change. Only the measure `sweeps` reads
them; every other table and number stays the study's own, and is not computed again when a variant comes or goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field, field_validator, model_validator

from schemas.settings.base import Name, Settings, StopWords
from schemas.settings.task_settings import Encoder, Task, number_or_percentile


class Variant(Settings):
    """What is different; what is not named is as in the study."""

    name: Name
    stop_words: StopWords | None = Field(None, description="the policy in place of that under [counting]")
    encoder: Encoder | None = Field(None, description="the encoder in place of that under [encoder]")
    gamma: float | str | None = Field(
        None,
        description="γ of every task and n; default: the task's own. Cosines of two encoders are not on one scale: a percentile, "
        'e.g. "p90", keeps as many pairs of each',
    )
    lowest_gamma: float | None = Field(None, ge=-1, le=1, description="pairs are mined above this; default: the task's own")

    @field_validator("gamma", mode="before")
    @classmethod
    def _number_or_percentile(cls, value: Any) -> Any:
        return None if value is None else number_or_percentile(value)

    @model_validator(mode="after")
    def _something(self) -> Variant:
        if self.stop_words is None and self.encoder is None:
            raise ValueError("name stop_words or an encoder; other γ need no variant, see sweep_gammas under [measures]")
        return self

    @property
    def label(self) -> str:
        """What rows and parts call it, e.g. "stop_words=authors" or, by its name, "encoder=labse"."""
        if self.encoder is None:
            return f"stop_words={self.stop_words}"
        return f"encoder={self.name}" if self.stop_words is None else f"variant={self.name}"

    def task(self, task: Task) -> Task:
        """The task with this variant's γ."""
        gamma: dict[str, Any] = {} if self.gamma is None else {"gamma": {}, "gamma_default": self.gamma}
        lowest = {} if self.lowest_gamma is None else {"lowest_gamma": self.lowest_gamma}
        return Task.model_validate(task.model_dump() | gamma | lowest) if gamma or lowest else task


def check_variants(variants: Sequence[Variant], tasks: Sequence[Task], stop_words: StopWords, encoder: Encoder) -> None:
    """Raises ValueError for two variants that are one, one that is the study itself, and a γ below what is mined."""
    seen: dict[str, str] = {}
    for variant in variants:
        if variant.stop_words in (None, stop_words) and variant.encoder in (None, encoder):
            raise ValueError(f"variants: {variant.name!r} is the study itself; remove it")
        if variant.label in seen:
            raise ValueError(f"variants: {variant.name!r} is {seen[variant.label]!r} again; remove one of the two")
        seen[variant.label] = variant.name
        for task in tasks:
            try:
                variant.task(task)
            except ValueError as error:
                reason = str(error).split("Value error, ")[-1].split(" [type=")[0]
                raise ValueError(f"variants: {variant.name!r}, task {task.name!r}: {reason}") from None
