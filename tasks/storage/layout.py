"""The layout of a root. No other file builds such a path.

    <table>/parts/<key>.parquet      a part              <table>/files/<key>/…              files that belong to a part
    <table>/manifests/<name>.json    what a table is     <table>/rejected/<name>.json       why a table was refused
    studies/<study>.json             its settings        studies/<study>.steps/<step>.json  what each step has run
    reports/<study>/index.html       the report          logs/…                             tracebacks
    .leases  .probes  .scratch  .dask                    of current runs

A path is text on the root's own file system. What runs need on this machine is a `Path` below `near`: the root itself where that
is local, else a folder of the cache.
"""

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


@dataclass(frozen=True)
class Layout:
    """The paths of one root. base: the root on its file system; near: a folder on this machine."""

    base: str
    near: Path

    # -- tables ---------------------------------------------------------------------------------------------------
    def table(self, table: str) -> str:
        """The folder of a table."""
        return f"{self.base}/{table}"

    def kind(self, table: str, kind: str) -> str:
        """The folder of a table's parts, manifests, files or rejected manifests."""
        return f"{self.base}/{table}/{kind}"

    def part(self, table: str, key: str) -> str:
        """A part."""
        return f"{self.base}/{table}/parts/{key}.parquet"

    def manifest(self, table: str, fingerprint: str) -> str:
        """The manifest of a fingerprint."""
        return f"{self.base}/{table}/manifests/{fingerprint}.json"

    def rejected(self, table: str, fingerprint: str) -> str:
        """The checks of a table that breaks its contract."""
        return f"{self.base}/{table}/rejected/{fingerprint}.json"

    def files(self, table: str, key: str) -> str:
        """The folder of files that belong to a part."""
        return f"{self.base}/{table}/files/{key}"

    def relative(self, part: Part) -> str:
        """A part, relative to the root."""
        return self.part(part.table, part.key).removeprefix(f"{self.base}/")

    # -- studies --------------------------------------------------------------------------------------------------
    @property
    def studies(self) -> str:
        """The folder of all records."""
        return f"{self.base}/studies"

    def study(self, study: str) -> str:
        """The record of a study."""
        return f"{self.studies}/{study}.json"

    def steps(self, study: str) -> str:
        """The folder of records of a study's steps."""
        return f"{self.studies}/{study}.steps"

    def step(self, study: str, step: str) -> str:
        """The record of one step."""
        return f"{self.steps(study)}/{step}.json"

    @property
    def reports(self) -> str:
        """The folder of all reports."""
        return f"{self.base}/reports"

    def report(self, study: str) -> str:
        """The folder of a study's report."""
        return f"{self.reports}/{study}"

    # -- runs -----------------------------------------------------------------------------------------------------
    @property
    def leases(self) -> str:
        """The folder of leases: which run computes which part."""
        return f"{self.base}/.leases/held"

    @property
    def pulses(self) -> str:
        """The folder of the runs that are alive."""
        return f"{self.base}/.leases/runs"

    def probe(self, name: str) -> str:
        """The folder of a file by which workers show that they see the root."""
        return f"{self.base}/.probes/{name}"

    # -- on this machine ------------------------------------------------------------------------------------------
    def near_kind(self, table: str, kind: str) -> Path:
        """The folder in which this machine writes a table's parts, manifests or files."""
        return self.near / table / kind

    def log(self, name: str) -> Path:
        """A file for a traceback."""
        return self.near / "logs" / f"{name}.txt"

    def scratch(self, table: str, key: str) -> Path:
        """The folder for what does not fit in memory while a part is made or a table is checked."""
        return self.near / ".scratch" / f"{table}.{key}"

    @property
    def dask(self) -> Path:
        """The folder for the files of Dask's workers."""
        return self.near / ".dask"
