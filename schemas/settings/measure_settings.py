"""Settings of the measures: draws of the bootstrap, bins, γ of sweeps, what is left out."""

from typing import Any, Literal

from pydantic import field_validator

from schemas.settings.base import Settings, value
from schemas.settings.task_settings import number_or_percentile


class Measures(Settings):
    """How the measures are computed."""

    bootstrap: int = value(1_000, "resamples of each 95 % interval", ge=50, le=100_000)
    bins: int = value(8, "bins of the curve of performance over counts; examples with count 0 are in one more bin", ge=2, le=100)
    exclude_contaminated: int = value(
        0, "13: leave out, and count, examples that share 13 words in a row with the corpus (contamination_orders)", ge=0, le=64
    )
    sweep_gammas: Literal["even"] | tuple[float | str, ...] = value(
        "even",
        'γ of the curve of Mem_n and Mem_Δ over γ, e.g. [0.3, 0.5, 0.7, "p99"]; [] for none. even: five even steps '
        "of each task and n, from lowest_gamma to what one in twenty of the mined pairs exceeds",
    )
    sweep_bootstrap: int = value(200, "as `bootstrap`, for the many intervals of a sweep", ge=50, le=100_000)
    equal_rows: int = value(0, "300: correlations of 300 rows of each task too, so that tasks can be compared; 0: none", ge=0)

    @field_validator("sweep_gammas", mode="before")
    @classmethod
    def _gammas(cls, value: Any) -> Any:
        return tuple(dict.fromkeys(map(number_or_percentile, value))) if isinstance(value, list | tuple) else value
