"""The study and what it comes to in one process; a scheduler and workers that end with the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.cluster.cluster import Cluster
from tests.cluster.support import FILES, STUDY, Processes, count, state
from tests.support import write_corpus


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of eight small files."""
    path = tmp_path_factory.mktemp("cluster")
    write_corpus(path, [30] * FILES, words=200, length=40, seed=3)
    (path / "counting.toml").write_text(STUDY)
    return path


@pytest.fixture(scope="session")
def inline(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every part, computed in one process."""
    root = tmp_path_factory.mktemp("inline")
    count(folder, root, Cluster(0, "1GB", "", address=""))
    return state(root)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    (tmp_path / "dask").mkdir()
    started = Processes(tmp_path / "dask")
    yield started
    started.stop()
