"""A root on a disk that may only be read: what reads works there, and what writes says so in words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.machine import own_disk
from tests.support import NOTES, write_corpus

REPOSITORY = Path(__file__).resolve().parent.parent.parent
COMMANDS = """
taskgram() { echo "== $1"; "$0" -m flows.cli "$@" --root "$root"; echo "ended $?"; }
root=$1
taskgram run "$2" --only plant > /dev/null || exit 9
mount -o remount,ro "$root" || exit 8
for command in status clean run; do taskgram $command "$2"; done
"""


def test_what_reads_works_and_what_writes_says_why_it_cannot(tmp_path: Path) -> None:
    write_corpus(tmp_path, [5], words=20, length=4, seed=1)
    (tmp_path / "small.toml").write_text('name = "small"\nworkers = 0\n' + NOTES)
    root = tmp_path / "root"
    root.mkdir()
    within = own_disk(root)
    ran = subprocess.run(
        [*within, "bash", "-c", COMMANDS, sys.executable, str(root), str(tmp_path / "small.toml")],
        cwd=REPOSITORY,
        env={k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    if ran.returncode == 8:
        pytest.skip(f"needs the right to make a disk of its own read-only: {ran.stderr.strip()}")
    output = {part.split("\n")[0]: part for part in f"{ran.stdout}\n{ran.stderr}".split("== ")[1:]}
    assert "ended 0" in output["status"] and "ingest" in output["status"]
    assert "Traceback" not in ran.stdout + ran.stderr
    assert "cannot be written: Read-only file system" in ran.stderr
    assert f"{root}/.prefect: cannot be written to" in ran.stderr and "give another root" in ran.stderr
    assert "ended 1" in output["clean"] and "ended 1" in output["run"]
