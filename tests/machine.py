"""What a test needs of its machine. Where that is missing the test is skipped, with a message what to do about it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest


def without(message: str) -> NoReturn:
    """Something is missing that a complete test run needs: skips the test, or fails it where CI is set."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def own_disk(folder: Path, size: str = "") -> tuple[str, ...]:
    """Words before a command that give it a disk of its own at `folder`, of that size. Skips where the system allows none."""
    options = f"-o size={size} " if size else ""
    words = ("unshare", "--map-root-user", "--mount", "sh", "-c", f'mount -t tmpfs {options}none "$0" && exec "$@"', str(folder))
    probe = subprocess.run([*words, "true"], capture_output=True, text=True) if sys.platform == "linux" else None
    if probe is None or probe.returncode:
        why = probe.stderr.strip() if probe else f"this is {sys.platform}"
        pytest.skip(f"needs Linux and the right to mount a small disk for itself (a user namespace, or root): {why}")
    return words
