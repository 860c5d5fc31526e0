"""`make test-faults`: seeded trials of every fault, and the table of docs/reliability.md.

python -m tests.faults [--trials N] [--seed S] [--fault NAME] [--study counted|memorized|trained] [--root DIR] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.faults.faults import FAULTS
from tests.faults.trial import PATIENCE, REPOSITORY, STUDIES, Result, Run, attempt, undisturbed
from tests.machine import own_disk

PAGE = REPOSITORY / "docs" / "reliability.md"
BEGIN, END = "<!-- table -->", "<!-- end of table -->"
SIZE = "192m"  # of the disk that gets full
# In turn, so that any number of trials has its share of each; those that take longest less often.
ORDER = (
    "flow_killed",
    "worker_killed",
    "server_killed",
    "disk_full",
    "part_truncated",
    "part_flipped",
    "one_of_two_killed",
    "flow_killed",
    "worker_killed",
    "server_killed",
    "part_flipped_unseen",
    "part_flipped_of_a_killed_run",
    "clock_jumps",
    "network_cut",
)


def run(fault: str, seed: int, folder: Path, whole: Path) -> Result:
    """One trial in a folder of its own. Skipped where this machine cannot make the fault."""
    root = folder / f"{fault}-{seed}"
    root.mkdir()
    try:
        if fault != "disk_full":
            return attempt(fault, FAULTS[fault], seed, root, whole)
        return _on_a_small_disk(fault, seed, root, whole)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _on_a_small_disk(fault: str, seed: int, root: Path, whole: Path) -> Result:
    """The whole trial in a namespace in which its root is a small disk."""
    words = [*own_disk(root, SIZE), sys.executable, "-m", "tests.faults", "--inside", fault, str(seed), str(root), str(whole)]
    words += [Run.study.stem]
    inside = subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert inside.returncode == 0, inside.stdout + inside.stderr
    return Result(**json.loads(inside.stdout.splitlines()[-1]))


def table(results: Sequence[Result], failed: Sequence[str], impossible: dict[str, str]) -> str:
    """The results by fault, in Markdown."""
    lines = [
        "| fault | trials | rerun failed | lost | duplicated | differing | temporaries | processes | rerun, median |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for fault in FAULTS:
        these = [r for r in results if r.fault == fault]
        name, broken = fault.replace("_", " "), failed.count(fault)
        if not these and not broken:
            lines += [f"| {name} | 0: {impossible.get(fault, 'not run')} | | | | | | | |"]
            continue
        sums = [
            sum(len(r.lost) for r in these),
            sum(len(r.duplicated) for r in these),
            sum(len(r.differing) for r in these),
            sum(len(r.temporaries) for r in these),
            sum(len(r.processes) for r in these),
        ]
        seconds = f"{statistics.median(r.seconds for r in these):.0f} s" if these else ""
        lines += [f"| {name} | {len(these) + broken} | {broken} | {' | '.join(map(str, sums))} | {seconds} |"]
    return "\n".join(lines)


def trials_of(table: str) -> int:
    """The trials that a table is of."""
    return sum(int(n) for n in re.findall(r"^\|[^|]+\| (\d+)[ :]", table, re.MULTILINE))


def write(shown: str, page: Path) -> None:
    """Replace the table of a page, unless that is of more trials: the page keeps the best evidence."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    documented, _, after = rest.partition(END)
    if trials_of(shown) < trials_of(documented):
        print(f"{page.name} keeps its table, which is of {trials_of(documented)} trials")
        return
    page.write_text(f"{before}{BEGIN}\n{shown}\n{END}{after}", encoding="utf-8")


def main() -> int:
    """Returns 1 if anything was lost, duplicated, different or left over."""
    if sys.argv[1:2] == ["--inside"]:
        fault, seed, root, whole, study = sys.argv[2:]
        Run.study = STUDIES[study]
        print(json.dumps(asdict(attempt(fault, FAULTS[fault], int(seed), Path(root), Path(whole)))))
        return 0
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="A small study, disturbed and run once more.")
    parser.add_argument("--trials", type=int, default=56, help="how many (default: 56)")
    parser.add_argument("--seed", type=int, default=1, help="of the first trial (default: 1)")
    parser.add_argument("--fault", choices=FAULTS, action="append", help="only this one; may be given several times")
    parser.add_argument("--study", choices=STUDIES, default="counted", help="which small study (default: counted, without models)")
    parser.add_argument("--root", help="folder to work in, kept (default: a temporary one)")
    parser.add_argument(
        "--write", action="store_true", help=f"put the table into {PAGE.relative_to(REPOSITORY)}, unless its own has more trials"
    )
    options = parser.parse_args()
    if options.write and options.study != "counted":
        parser.error(f"the table of {PAGE.name} is of the study counted")
    Run.study = STUDIES[options.study]
    order = [f for f in ORDER if not options.fault or f in options.fault]
    results: list[Result] = []
    failed: list[str] = []
    impossible: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="faults-", dir=options.root) as temporary:
        folder = Path(options.root or temporary)
        whole = undisturbed(folder / "whole")
        for number in range(options.trials):
            seed = options.seed + number
            fault = order[(seed - 1) % len(order)]
            try:
                result = run(fault, seed, folder, whole)
            except pytest.skip.Exception as error:
                impossible[fault] = str(error)
                continue
            except AssertionError as error:
                failed.append(fault)
                print(f"{fault} {seed}: FAILED\n{error}", flush=True)
                continue
            results.append(result)
            print(f"{fault} {seed}: {'ok' if result.good else 'NOT WELL'} {json.dumps(asdict(result))}", flush=True)
    shown = table(results, failed, impossible)
    print(f"\n{shown}\n\n{len(results) + len(failed)} trials")
    if options.write:
        write(shown, PAGE)
    return 0 if not failed and all(r.good for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
