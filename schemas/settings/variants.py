"""Variants of a study: the same measures with other stop words, or with another encoder.

    [[variants]]                          labels its parts variant=stop_words=authors
    name = "authors"
    stop_words = "authors"

A variant has its own n-grams, embeddings and task-grams, and shares all that it does not change. Only the measure `sweeps` reads
them. No other table or number depends on a variant, so adding or removing one computes nothing again.
"""

from collections.abc import Sequence
from typing import Any, Self

from pydantic import field_validator, model_validator

from schemas.settings.base import Name, Settings, StopWords, value
from schemas.settings.task_settings import EncoderSettings, Task, number_or_percentile


class Variant(Settings):
    """What differs from the study; everything else is as in the study."""

    name: Name = value(..., "names the variant in results")
    stop_words: StopWords | None = value(None, "instead of those under [counting]")
    encoder: EncoderSettings | None = value(None, "instead of that under [encoder]")
    gamma: float | str | None = value(
        None,
        "γ of every task and n; default: the task's own. The cosines of two encoders are not on one scale, but a "
        'percentile keeps as many pairs of each: "p90" a tenth of the candidates',
    )
    lowest_gamma: float | None = value(None, "pairs are mined above this; default: that of the task", ge=-1, le=1)

    @field_validator("gamma", mode="before")
    @classmethod
    def _number_or_percentile(cls, value: Any) -> Any:
        return None if value is None else number_or_percentile(value)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.stop_words is None and self.encoder is None:
            raise ValueError("name stop_words or an encoder; other γ need no variant, see sweep_gammas under [measures]")
        return self

    @property
    def label(self) -> str:
        """Its label in rows and parts, e.g. "stop_words=authors" or, by its name, "encoder=labse"."""
        if self.encoder is None:
            return f"stop_words={self.stop_words}"
        return f"encoder={self.name}" if self.stop_words is None else f"variant={self.name}"

    def task(self, task: Task) -> Task:
        """The task with this variant's γ."""
        gamma: dict[str, Any] = {} if self.gamma is None else {"gamma": {}, "gamma_default": self.gamma}
        lowest = {} if self.lowest_gamma is None else {"lowest_gamma": self.lowest_gamma}
        return Task.model_validate(task.model_dump() | gamma | lowest) if gamma or lowest else task


def check_variants(variants: Sequence[Variant], tasks: Sequence[Task], stop_words: StopWords, encoder: EncoderSettings) -> None:
    """Raises ValueError for two equal variants, one that changes nothing, and a γ below what is mined."""
    seen: dict[str, str] = {}
    for variant in variants:
        if variant.stop_words in (None, stop_words) and variant.encoder in (None, encoder):
            raise ValueError(f"variants: {variant.name!r} is the study itself; remove it")
        if variant.label in seen:
            raise ValueError(f"variants: {variant.name!r} equals {seen[variant.label]!r}; remove one of the two")
        seen[variant.label] = variant.name
        for task in tasks:
            try:
                variant.task(task)
            except ValueError as error:
                reason = str(error).split("Value error, ")[-1].split(" [type=")[0]
                raise ValueError(f"variants: {variant.name!r}, task {task.name!r}: {reason}") from None
