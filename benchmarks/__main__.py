"""python -m benchmarks [--quick] [--rows NAME,…] [--sizes 1M,10M] [--compile] [--profile NAME,…]

Measures, writes benchmarks/results.json row by row, and the tables of docs/benchmarks.md from it. What was measured stays until
it is measured again, so that rows can be run one at a time. --quick writes nothing and judges: it exits with 1 where answers
differ or a ratio is below half its bar.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results, table
from benchmarks.corpora import Corpora
from benchmarks.measure import OURS, ROOT, Measured, measure
from benchmarks.rows import FIGURES, ROWS

QUICK_RUNS = 2
COMPILED = "compile"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 0, or 1 where --quick found something wrong."""
    options = _parser().parse_args(arguments)
    corpora = Corpora(options.folder, options.data)
    names = options.rows.split(",") if options.rows else list(ROWS)
    if unknown := set(names) - set(ROWS):
        print(f"there is no row {', '.join(sorted(unknown))}; the rows are {', '.join(ROWS)}", file=sys.stderr)
        return 2
    if options.table:
        table.write()
        return 0
    if options.profile:
        from benchmarks.profile import profile

        profile(names, corpora)
        return 0
    if options.compile:
        for name in names:
            results.write(_compile_time(name, corpora))
        table.write()
        return 0
    return _quick(names, corpora) if options.quick else _all(names, _sizes(options.sizes), corpora)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, three runs; judges, writes nothing")
    parser.add_argument("--rows", default="", metavar="NAME,…", help=f"some of {', '.join(ROWS)}")
    parser.add_argument("--sizes", default="", metavar="1M,…", help="only the cases with so many tokens")
    parser.add_argument(
        "--compile", action="store_true", help="how long numba compiles what a row needs, with an empty cache"
    )
    parser.add_argument("--profile", action="store_true", help="where the time of our side goes")
    parser.add_argument("--table", action="store_true", help="only write the tables of docs/benchmarks.md again")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="corpus and tokenizers, if any")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir()) / "taskgram-benchmarks",
        help="where inputs and the peers' indexes are kept",
    )
    return parser


def _sizes(text: str) -> set[int]:
    return {int(float(s.strip().upper().removesuffix("M")) * 1_000_000) for s in text.split(",") if s.strip()}


def _run(name: str, case: Mapping[str, Any], runs: int, corpora: Corpora) -> list[results.Record]:
    sides = [OURS, *(p for p in case["bars"] if p not in FIGURES)]
    measured: dict[str, Measured] = measure(name, sides, case, runs, corpora.folder, corpora.shared)
    return results.records(name, case, measured, corpora.source)


def _all(names: Sequence[str], sizes: set[int], corpora: Corpora) -> int:
    for name in names:
        for case in ROWS[name].cases:
            if not sizes or case["tokens"] in sizes:
                found = _run(name, case, ROWS[name].runs, corpora)
                results.write(found)
                for record in found:
                    print(table.line(record), flush=True)
    table.write()
    return 0


def _quick(names: Sequence[str], corpora: Corpora) -> int:
    began, found = time.monotonic(), []
    for name in names:
        case = ROWS[name].quick
        if case is None:
            print(f"{name:<14} needs a run of minutes: see make bench")
            continue
        for record in _run(name, case, QUICK_RUNS, corpora):
            found.append(record)
            print(table.line(record), flush=True)
    wrong = results.failures(found)
    for line in wrong:
        print(f"below half the bar, or wrong: {line}")
    barred = [r for r in found if r["reached"] is not None]
    missing = sorted({r["peer"] for r in found if results.is_missing(r)})
    print(
        f"bench-quick: {sum(r['reached'] for r in barred)} of {len(barred)} bars reached, "
        f"{sum(r['equal'] is True for r in found)} answers equal, {len(wrong)} failures"
        f"{', not installed: ' + ', '.join(missing) if missing else ''}, {time.monotonic() - began:.0f} s"
    )
    return 1 if wrong else 0


def _compile_time(name: str, corpora: Corpora) -> list[results.Record]:
    """Seconds until the first answer with an empty cache of numba, less the same with a full one."""
    case = ROWS[name].quick
    if case is None:
        return []

    def first_answer(environment: Mapping[str, str]) -> float:
        figures = measure(name, [OURS], case, 1, corpora.folder, corpora.shared, environment)[OURS].figures
        return figures["ready_seconds"] + figures["first_run_seconds"]

    with tempfile.TemporaryDirectory() as empty:
        cold, warm = (first_answer({"NUMBA_CACHE_DIR": empty}) for _ in range(2))
    print(f"{name:<14} compiled in {max(0.0, cold - warm):.1f} s")
    return [
        {
            "row": COMPILED,
            "peer": "",
            "figure": name,
            "sizes": {},
            "unit": "s",
            "ratio": max(0.0, cold - warm),
            "bar": None,
            "at_most": True,
            "figures": {},
            "equal": None,
            "note": "",
            "reached": None,
            "machine": results.machine(),
            "corpus": corpora.source,
        }
    ]


if __name__ == "__main__":
    sys.exit(main())
