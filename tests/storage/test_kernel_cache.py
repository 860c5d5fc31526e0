"""Machine code of kernels is never older than any of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.storage.kernel_cache import DAYS_KEPT, keep_kernels_apart, kernels_home, state_of_kernels

REPOSITORY = Path(__file__).resolve().parents[2]
INNER = "from numba import njit\n\n\n@njit(cache=True)\ndef weight():\n    return {weight}\n"
OUTER = """\
from numba import njit

from tasks.inner_kernels import weight


@njit(cache=True)
def twice():
    return 2 * weight()
"""
ASK = "from tasks import outer_kernels as k; print(k.twice(), sum(k.twice.stats.cache_hits.values()))"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package `tasks` with two kernels, of which one calls the other."""
    folder = tmp_path / "src" / "tasks"
    (folder / "storage").mkdir(parents=True)
    for name in ("__init__.py", "storage/__init__.py", "storage/kernel_cache.py", "storage/disk.py"):
        (folder / name).write_bytes((REPOSITORY / "tasks" / name).read_bytes())
    (folder / "outer_kernels.py").write_text(OUTER)
    (folder / "inner_kernels.py").write_text(INNER.format(weight=3))
    return folder


def printed(program: str, source: Path, **environment: str) -> list[str]:
    """What a program prints, as words, with `source` first on the path."""
    known = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "TASKGRAM_CACHE", "XDG_CACHE_HOME")}
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=source,
        env=known | {"PYTHONPATH": str(source)} | environment,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def test_an_edit_in_a_called_kernel_reaches_the_caller(package: Path, tmp_path: Path) -> None:
    source, cache = package.parent, str(tmp_path / "cache")
    assert printed(ASK, source, XDG_CACHE_HOME=cache) == ["6", "0"]
    assert printed(ASK, source, XDG_CACHE_HOME=cache) == ["6", "1"], "the second process compiles nothing"
    (package / "inner_kernels.py").write_text(INNER.format(weight=5))
    assert printed(ASK, source, XDG_CACHE_HOME=cache) == ["10", "0"]
    (package / "inner_kernels.py").write_text(INNER.format(weight=3))
    assert printed(ASK, source, XDG_CACHE_HOME=cache) == ["6", "1"], "both states are kept"


def test_a_folder_that_cannot_be_written_is_no_error(package: Path, tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    assert printed(ASK, package.parent, XDG_CACHE_HOME=str(in_the_way), HOME=str(in_the_way)) == ["6", "0"]


def test_the_folder_is_known_to_numba_before_our_kernels_are_compiled(tmp_path: Path) -> None:
    program = (
        "import numba; before = numba.config.CACHE_DIR; from tasks.ngrams.kernels import ngram_kernels as kernels\n"
        "print(before or '-', numba.config.CACHE_DIR, kernels.mix.stats.cache_path)"
    )
    for first in ("", "import tasks; "):
        before, folder, used = printed(first + program, REPOSITORY, XDG_CACHE_HOME=str(tmp_path))
        assert before == (folder if first else "-")
        assert Path(folder) == tmp_path / "taskgram" / "kernels" / state_of_kernels(REPOSITORY / "tasks")
        assert Path(used).parent == Path(folder)


def test_the_state_follows_every_kernel_file_and_nothing_else(package: Path) -> None:
    before = state_of_kernels(package)
    (package / "steps.py").write_text("changed = True")
    assert state_of_kernels(package) == before
    (package / "deeper").mkdir()
    (package / "inner_kernels.py").rename(package / "deeper" / "inner_kernels.py")
    assert state_of_kernels(package) != before


def test_what_a_user_has_set_stays_and_what_another_version_has_set_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    ours = kernels_home() / state_of_kernels(REPOSITORY / "tasks")
    for given, wanted in (("/mine", "/mine"), (str(kernels_home() / "another"), str(ours)), ("", str(ours))):
        monkeypatch.setenv("NUMBA_CACHE_DIR", given)
        keep_kernels_apart()
        assert os.environ["NUMBA_CACHE_DIR"] == wanted
    assert ours.is_dir()


def test_states_that_were_not_used_for_a_month_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    month = time.time() - (DAYS_KEPT + 1) * 86_400
    old, recent = kernels_home() / "old", kernels_home() / "recent"
    for folder in (old, recent):
        (folder / "ngrams").mkdir(parents=True)
    os.utime(old, (month, month))
    keep_kernels_apart()
    assert recent.exists() and not old.exists()
    ours = Path(os.environ["NUMBA_CACHE_DIR"])
    os.utime(ours, (month, month))
    keep_kernels_apart()
    assert time.time() - ours.stat().st_mtime < 3_600, "a use keeps it"
