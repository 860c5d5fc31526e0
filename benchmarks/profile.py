"""Where our side spends its time: by Python functions. For a view of compiled kernels, which have no names in it:

py-spy record --native --rate 200 -o profile.svg -- python -m benchmarks --profile --rows pairs
"""

import cProfile
import pstats
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.corpora import Corpora
from benchmarks.rows import ROWS
from benchmarks.side import OURS

SHOWN, SECONDS = 10, 4.0


def profile(names: Sequence[str], corpora: Corpora) -> None:
    """Print the functions that some seconds of each row take most of, at its smallest size, warm, in this process."""
    for name in names:
        row = ROWS[name]
        if row.quick is None:
            continue
        side = row.sides[OURS](corpora, row.quick)
        side.work(side.fresh())
        profiler, began = cProfile.Profile(), time.perf_counter()
        while time.perf_counter() - began < SECONDS:
            made = side.fresh()
            profiler.runcall(side.work, made)
        for close in side.close:
            close()
        stats: Any = pstats.Stats(profiler)
        print(f"\n== {name}: {row.work}")
        for (file, _, function), (_, _, seconds, _, _) in sorted(stats.stats.items(), key=lambda kv: -kv[1][2])[:SHOWN]:
            print(f"  {seconds / stats.total_tt:6.1%}  {function}  ({Path(file).name})", flush=True)
