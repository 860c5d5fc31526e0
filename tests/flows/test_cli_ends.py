"""How a command ends: its exit code tells whether its output could be written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("output", "code", "words"),
    [
        (">&-", 0, ""),  # closed before it began
        ("| true", 0, ""),  # nobody reads on
        (">/dev/full", 1, "the output could not be written: No space left on device"),
    ],
)
def test_output_that_goes_nowhere(output: str, code: int, words: str, tmp_path: Path) -> None:
    if "/dev/full" in output and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full, which acts as a full disk")
    command = f'"$0" -c "from flows.cli import command; command()" init mine --root root {output}'
    if "|" in output:
        command = f"{command}; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(
        ["bash", "-c", command, sys.executable],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(REPOSITORY), "HOME": str(tmp_path)},
        timeout=120,
    )
    assert (tmp_path / "mine.toml").exists(), ended.stderr
    assert ended.returncode == code and words in ended.stderr and ("Traceback" not in ended.stderr), ended.stderr
    assert words or not ended.stderr
