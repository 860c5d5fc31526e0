"""The layout of a root. No other file builds such a path.

    <table>/parts/<key>.parquet      a part              <table>/files/<key>/…              files that belong to a part
    <table>/manifests/<name>.json    what a table is     <table>/rejected/<name>.json       why a table was refused
    studies/<study>.json             its settings        studies/<study>.steps/<step>.json  what each step has run
    reports/<study>/index.html       the report          logs/…                             tracebacks
    .leases  .probes  .scratch  .dask                    of current runs

A path is text on the root's own file system. What runs need on this machine is a `Path` below `near`: the root itself where that
is local, else a folder of the cache.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tasks.storage.parts import Part

KINDS = ("parts", "manifests", "files", "rejected")  # what a table's folder holds


def file_of_part(table: str, key: str, name: str) -> str:
    """A file that belongs to a part, as a table names it: relative to the root."""
    return f"{table}/files/{key}/{name}"


def below_files(path: str) -> list[str]:
    """The inverse of `file_of_part`: the key and the name, split at each slash."""
    return path.split("/")[2:]


def _on_root(pattern: str) -> Callable[..., str]:
    """A method whose arguments fill the pattern: a path on the root's file system."""
    return lambda layout, *names: f"{layout.base}/{pattern.format(*names)}"


def _near(pattern: str) -> Callable[..., Path]:
    """The same on this machine."""
    return lambda layout, *names: layout.near / pattern.format(*names)


@dataclass(frozen=True)
class Layout:
    """The paths of one root. base: the root on its file system; near: a folder on this machine."""

    base: str
    near: Path

    table = _on_root("{}")
    kind = _on_root("{}/{}")  # the folder of a table's parts, manifests, files or rejected manifests
    part = _on_root("{}/parts/{}.parquet")  # table, key
    manifest = _on_root("{}/manifests/{}.json")  # table, fingerprint
    rejected = _on_root("{}/rejected/{}.json")  # table, fingerprint: the checks of a table that breaks its contract
    files = _on_root("{}/files/{}")  # table, key: the folder of files that belong to a part

    studies = property(_on_root("studies"))
    study = _on_root("studies/{}.json")
    steps = _on_root("studies/{}.steps")  # the folder of records of a study's steps
    step = _on_root("studies/{}.steps/{}.json")  # study, step
    reports = property(_on_root("reports"))
    report = _on_root("reports/{}")  # the folder of a study's report

    leases = property(_on_root(".leases/held"))  # which run computes which part
    pulses = property(_on_root(".leases/runs"))  # the runs that are alive
    probe = _on_root(".probes/{}")  # the folder of a file by which workers show that they see the root

    near_kind = _near("{}/{}")  # where this machine writes a table's parts, manifests or files
    log = _near("logs/{}.txt")  # for a traceback
    scratch = _near(".scratch/{}.{}")  # table, key: for what does not fit in memory while a part is made or a table is checked
    dask = property(_near(".dask"))  # the files of Dask's workers

    def relative(self, part: Part) -> str:
        return self.part(part.table, part.key).removeprefix(f"{self.base}/")
