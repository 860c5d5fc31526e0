"""python -m benchmarks [--quick | --compile | --table | --check] [--rows NAME,…] [--sizes 1M,10M] [--machine LABEL]

Measures, and writes benchmarks/results.json row by row and the tables of docs/benchmarks.md from it. A record stays until its row
is measured again on the same processor, so that rows can be run one at a time. --quick writes nothing, and exits with 1 if answers
differ or a ratio is below half its bar.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import records, table
from benchmarks.corpora import Corpora
from benchmarks.rows import QUANTITIES, ROWS
from benchmarks.side import OURS, ROOT
from benchmarks.timing import measure

QUICK_RUNS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rows that are named; 0, or 1 if --quick finds a failure."""
    options = _parser().parse_args(arguments)
    corpora = Corpora(options.folder, options.data)
    names = options.rows.split(",") if options.rows else list(ROWS)
    if unknown := set(names) - set(ROWS):
        print(f"there is no row {', '.join(sorted(unknown))}; the rows are {', '.join(ROWS)}", file=sys.stderr)
        return 2
    if options.check:
        return _check(options.machine or records.processor())
    if options.quick:
        return _quick(names, corpora)
    if options.compile:
        for name in names:
            records.write(_compile_time(name, corpora, options.machine))
    elif not options.table:
        sizes = {int(float(s.strip().upper().removesuffix("M")) * 1_000_000) for s in options.sizes.split(",") if s.strip()}
        for name, case in ((row, case) for row in names for case in ROWS[row].cases):
            if not sizes or case["tokens"] in sizes:
                records.write(_run(name, case, ROWS[name].runs, corpora, options.machine))
    table.write(label=options.machine)
    return 0


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, formatter_class=raw)
    parser.add_argument("--quick", action="store_true", help="small sizes, three runs; fails below half a bar, writes nothing")
    parser.add_argument("--rows", default="", metavar="NAME,…", help=f"some of {', '.join(ROWS)}")
    parser.add_argument("--sizes", default="", metavar="1M,…", help="only the cases with this number of tokens")
    parser.add_argument("--compile", action="store_true", help="how long numba compiles the kernels of a row, with an empty cache")
    parser.add_argument("--table", action="store_true", help="only write the tables of docs/benchmarks.md again")
    parser.add_argument("--check", action="store_true", help="name the rows that are older than their code; 1 if there are any")
    parser.add_argument("--machine", default="", metavar="LABEL", help="what to call this processor, if not by its model")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="corpus and tokenizers, if any")
    kept = Path(tempfile.gettempdir()) / "taskgram-benchmarks"
    parser.add_argument("--folder", type=Path, default=kept, help="where inputs and the peers' indexes are kept")
    return parser


def _run(name: str, case: Mapping[str, Any], runs: int, corpora: Corpora, label: str = "") -> list[records.Record]:
    sides = [OURS, *(p for p in case["bars"] if p not in QUANTITIES)]
    made = records.make_records(name, case, measure(name, sides, case, runs, corpora), corpora.source, label)
    for record in made:
        print(table.line(record), flush=True)
    return made


def _check(label: str) -> int:
    lines = records.outdated(records.read(), label)
    if not table.is_current():
        lines.append("docs/benchmarks.md is not made from benchmarks/results.json: python -m benchmarks --table")
    print("\n".join(lines) or f"every row was measured on {label} since its code last changed")
    return 1 if lines else 0


def _quick(names: Sequence[str], corpora: Corpora) -> int:
    started, made = time.monotonic(), []
    for name in names:
        case = ROWS[name].quick
        if case is None:
            print(f"{name:<14} takes minutes: see make bench")
            continue
        made += _run(name, case, QUICK_RUNS, corpora)
    failures = records.failures(made)
    for line in failures:
        print(f"below half the bar, or wrong: {line}")
    judged = [r for r in made if r["reached"] is not None]
    missing = sorted({r["peer"] for r in made if records.is_missing(r)})
    reached, equal = sum(r["reached"] for r in judged), sum(r["equal"] is True for r in made)
    ended = (
        f"{len(failures)} failures{', not installed: ' + ', '.join(missing) if missing else ''}, {time.monotonic() - started:.0f} s"
    )
    print(f"bench-quick: {reached} of {len(judged)} bars reached, {equal} answers equal, {ended}")
    return 1 if failures else 0


def _compile_time(name: str, corpora: Corpora, label: str) -> list[records.Record]:
    """Seconds until the first answer with an empty cache of numba, less the same with a full one."""
    case = ROWS[name].quick
    if case is None:
        return []

    def first_answer(environment: Mapping[str, str]) -> float:
        figures = measure(name, [OURS], case, 1, corpora, environment)[OURS].figures
        return figures["ready_seconds"] + figures["first_run_seconds"]

    with tempfile.TemporaryDirectory() as empty:
        cold, warm = (first_answer({"NUMBA_CACHE_DIR": empty}) for _ in range(2))
    seconds = max(0.0, cold - warm)
    print(f"{name:<14} compiled in {seconds:.1f} s")
    made = {"row": records.COMPILED, "peer": "", "version": "", "figure": name, "sizes": {"row": name}, "unit": "s"}
    judged = {"ratio": seconds, "figures": {}, "at_most": True, "equal": None, "note": ""}
    return [made | judged | records.about(name, corpora.source, label)]


if __name__ == "__main__":
    sys.exit(main())
