"""What killed workers left on the disk is swept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from schemas import StudyError
from tasks.cluster.cluster import Cluster


def test_scratch_of_killed_workers_is_swept_and_that_of_living_ones_stays(tmp_path: Path) -> None:
    space = tmp_path / "dask-scratch-space"
    program = "import os, sys, time; from distributed import diskutils as d; x = d.WorkSpace(sys.argv[1]).new_work_dir(name={!r}); "
    words = [sys.executable, "-c", program.format("worker-living") + "print(flush=True); time.sleep(99)", str(space)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as living:
        assert living.stdout is not None and living.stdout.readline()
        subprocess.run([sys.executable, "-c", program.format("worker-killed") + "os._exit(9)", str(space)], check=False)
        assert (space / "worker-killed").is_dir()
        (tmp_path / "a file").touch()  # is not ours, and in nobody's way
        Cluster(1, "1GB", str(tmp_path), address="").sweep()
        assert sorted(p.name for p in space.glob("*-*")) == ["worker-living", "worker-living.dirlock"]
        living.kill()


def test_where_nothing_was_killed_nothing_is_swept(tmp_path: Path) -> None:
    Cluster(1, "1GB", str(tmp_path / "nowhere"), address="").sweep()
    assert not (tmp_path / "nowhere").exists()


def test_workers_that_cannot_start_say_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cluster = Cluster(1, "1GB", str(tmp_path / "file"), address="")
    with pytest.raises(StudyError, match="the workers do not start: NotADirectoryError: .*--workers 0"):
        list(cluster.run(abs, [(1,)], "any"))
    assert not cluster.started
