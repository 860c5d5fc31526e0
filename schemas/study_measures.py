"""Settings of the measures: how many draws, which bins, what is compared with what."""

from __future__ import annotations

from pydantic import Field

from schemas.settings import Settings


class Measures(Settings):
    """How the measures are taken."""

    bootstrap: int = Field(1_000, ge=50, le=100_000, description="draws of every bootstrap")
    bins: int = Field(8, ge=2, le=100, description="bins of performance against counts, beside the zero bin")
    calibration_worlds: int = Field(
        0,
        ge=0,
        le=100_000,
        description="worlds of known truth, of each of four kinds, on which the statistics are tried out; 100 take 9 s",
    )
