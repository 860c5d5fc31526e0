"""Settings of the measures: how many draws, which bins, what is compared with what."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from schemas.settings.base import Settings
from schemas.settings.task_settings import number_or_percentile


class Measures(Settings):
    """How the measures are taken."""

    bootstrap: int = Field(1_000, ge=50, le=100_000, description="draws of every bootstrap")
    bins: int = Field(8, ge=2, le=100, description="bins of performance against counts, beside the zero bin")
    exclude_contaminated: int = Field(
        0,
        ge=0,
        le=64,
        description="n, one of counting.contamination_orders: evaluated examples that share n words in a row with the corpus are "
        "left out of every measure, and counted; 0: none is",
    )
    sweep_gammas: Literal["even"] | tuple[float | str, ...] = Field(
        "even",
        description='γ of the curve of Mem_n and Mem_Δ over γ, e.g. [0.3, 0.5, 0.7, "p99"]; [] for none. even: five even steps '
        "of each task and n, from lowest_gamma to what one in twenty of the mined pairs exceeds",
    )
    sweep_bootstrap: int = Field(200, ge=50, le=100_000, description="draws of each interval of a sweep: there are many")

    equal_rows: int = Field(
        0,
        ge=0,
        description="N at which tasks are compared, e.g. the rows of the smallest; 0: tasks are not compared at one N",
    )

    @field_validator("sweep_gammas", mode="before")
    @classmethod
    def _gammas(cls, value: Any) -> Any:
        return tuple(dict.fromkeys(map(number_or_percentile, value))) if isinstance(value, list | tuple) else value
