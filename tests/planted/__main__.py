"""python -m tests.planted [WORLDS]: all 2,000 worlds on all cores; exits with 1 where a claim does not hold."""

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from tasks.cluster.cluster import WORKER_ENVIRONMENT
from tasks.storage.kernel_cache import keep_kernels_apart
from tests.planted.acceptance import ALL, verdicts

WORLDS_PER_TASK = 50


def some(design: str, first: int, worlds: int) -> list[dict[str, Any]]:
    """Worlds of one design."""
    from tests.planted.worlds import try_world

    return [try_world(design, first + i) for i in range(worlds)]


def main() -> int:
    """Print every claim."""
    os.environ |= WORKER_ENVIRONMENT
    keep_kernels_apart()
    from tests.planted.universe import DESIGNS
    from tests.planted.worlds import summary

    worlds, began = int(sys.argv[1]) if len(sys.argv) > 1 else ALL, time.monotonic()
    asked = [(design, first) for design in DESIGNS for first in range(0, worlds, WORLDS_PER_TASK)]
    with ProcessPoolExecutor() as pool:
        answers = [pool.submit(some, d, first, min(WORLDS_PER_TASK, worlds - first)) for d, first in asked]
        found = summary(row for answer in answers for row in answer.result())
    claims = verdicts(found)
    for claim, holds in claims:
        print("holds  " if holds else "FAILS  ", claim)
    print(f"{worlds} worlds of each of {len(DESIGNS)} designs in {time.monotonic() - began:.0f} s")
    return 0 if all(holds for _, holds in claims) else 1


if __name__ == "__main__":
    sys.exit(main())
