"""Where our side spends its time: by py-spy's native frames, where it may attach to a process, and by Python functions.

Two views are needed: a compiled kernel has no name in a native stack, and Python sees no further than the call of a kernel.
"""

import cProfile
import json
import pstats
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.corpora import Corpora
from benchmarks.rows import ROWS
from benchmarks.side import OURS, ROOT

SHOWN, SECONDS = 10, 4.0


def profile(names: Sequence[str], corpora: Corpora) -> None:
    """Print both views of each row at its smallest size, one process per row."""
    for name in (n for n in names if ROWS[n].quick):
        words = [name, json.dumps(ROWS[name].quick), str(corpora.folder), str(corpora.shared)]
        command = [sys.executable, "-m", "benchmarks.profile", *words]
        print(f"\n== {name}: {ROWS[name].work}", flush=True)
        subprocess.run(command, cwd=ROOT, check=False)
        for share, frame in _native([*command, "quiet"]):
            print(f"  {share:6.1%}  {frame}")


def _native(command: Sequence[str]) -> list[tuple[float, str]]:
    """Innermost frames by their share of samples; none if py-spy is not installed or may not attach."""
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    leaves: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "raw.txt"
        how = ["record", "--native", "--format", "raw", "--rate", "200", "-o", str(out)]
        if spy:
            subprocess.run([spy, *how, "--", *command], cwd=ROOT, capture_output=True, check=False)
        for line in out.read_text(encoding="utf-8").splitlines() if out.exists() else []:
            stack, _, times = line.rpartition(" ")
            if "work (" in stack or "<lambda>" in stack:
                leaves[_named(stack.split(";"))] += int(times)
    return [(times / leaves.total(), frame) for frame, times in leaves.most_common(SHOWN)]


def _named(frames: Sequence[str]) -> str:
    """The innermost frame and the innermost one of this repository: a compiled kernel's frame has only an address."""
    caller = next((f for f in reversed(frames) if "tasks/" in f or "benchmarks/" in f), "")
    return f"{frames[-1]}  in  {caller.replace(str(ROOT) + '/', '')}"


def _alone(name: str, case: Mapping[str, Any], corpora: Corpora, quiet: bool) -> None:
    """Some seconds of one side, warm, in this process."""
    import time

    row = ROWS[name]
    row.prepare(corpora, case)
    side = row.sides[OURS](corpora, case)
    side.work(side.fresh())
    profiler, began = cProfile.Profile(), time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        made = side.fresh()
        if not quiet:
            profiler.enable()
        side.work(made)
        profiler.disable()
    side.close()
    if not quiet:
        stats: Any = pstats.Stats(profiler)
        total = stats.total_tt
        for (file, _, function), (_, _, seconds, _, _) in sorted(stats.stats.items(), key=lambda kv: -kv[1][2])[:SHOWN]:
            print(f"  {seconds / total:6.1%}  {function}  ({Path(file).name})")
        print("  native frames:", flush=True)


if __name__ == "__main__":
    _alone(sys.argv[1], json.loads(sys.argv[2]), Corpora(Path(sys.argv[3]), Path(sys.argv[4])), "quiet" in sys.argv)
