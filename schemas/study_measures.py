"""Settings of the measures: how many draws, which bins, what is compared with what."""

from __future__ import annotations

from pydantic import Field

from schemas.settings import Settings


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
