"""Reading and writing a root: parts, the files that belong to them, manifests, small JSON files.

A table is a list of Parquet parts under a manifest. The key of a part is the hash of everything that determines its content. A
manifest lists part keys, is named by their hash, and is written last.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas import Contract, StudyError
from tasks.storage.disk import cache_folder
from tasks.storage.layout import KINDS, Layout
from tasks.storage.parts import Part, SourceFile, digest, fingerprint
from tasks.storage.writing import FOOTER, PartWriter, is_sealed, whole_file

__all__ = ["Part", "SourceFile", "Store", "digest", "fingerprint"]


class Store:
    """One root. root: a folder or an fsspec URL; layout: its paths."""

    def __init__(self, root: str) -> None:
        self.root = root
        if "://" in root:
            self.fs, self.base = fsspec.core.url_to_fs(root, use_listings_cache=False)  # another run writes there too
        else:  # a path is taken literally: to fsspec "a::b" would be a chained address
            self.fs, self.base = fsspec.filesystem("file"), os.path.abspath(os.path.expanduser(root))
        self.base = self.base.rstrip("/")
        self.local = "file" in self.fs.protocol
        self.layout = Layout(self.base, Path(self.base) if self.local else cache_folder() / digest(root)[:16])

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return Store, (self.root,)

    def part_path(self, part: Part) -> str:
        return self.layout.part(part.table, part.key)

    # -- files that belong to a part ------------------------------------------------------------------------------
    def folder(self, table: str, key: str) -> Path:
        """The folder of a part's files (model weights, planted files), created if missing."""
        path = self.layout.near_kind(table, "files") / key
        path.mkdir(parents=True, exist_ok=True)
        return path

    def fetched(self, part: Part) -> Path:
        """The files of a finished part on this machine: their folder, or a copy of it, made once."""
        path, there = self.layout.near_kind(part.table, "files") / part.key, self.layout.files(part.table, part.key)
        if not self.local and not _complete(path).exists():
            with _alone(path):
                if not _complete(path).exists():  # else another worker of this machine has made it meanwhile
                    self._fetch(there, path)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _fetch(self, there: str, path: Path) -> None:
        if path.exists() and self.fs.exists(there):
            shutil.rmtree(path)  # left by an interrupted copy, or older than the part
        for remote in self.fs.find(there):
            local = path / remote.removeprefix(f"{there}/")
            local.parent.mkdir(parents=True, exist_ok=True)
            self.fs.get_file(remote, str(local))
        path.mkdir(parents=True, exist_ok=True)
        _complete(path).touch()

    def publish_files(self, table: str, key: str) -> None:
        path, there = self.layout.near_kind(table, "files") / key, self.layout.files(table, key)
        if self.local or not path.is_dir():
            return
        for file in sorted(p for p in path.rglob("*") if p.is_file() and p.suffix != ".tmp"):
            self.fs.put_file(str(file), f"{there}/{file.relative_to(path).as_posix()}")
        _complete(path).touch()

    # -- small files ----------------------------------------------------------------------------------------------
    def write_json(self, path: str, value: Any) -> None:
        """Write atomically: readers see the old content or the new, never a mixture."""
        text = json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        self.fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        if not self.local:
            with self.fs.open(path, "wb") as out:
                out.write(text.encode())
            return
        try:
            with whole_file(Path(path)) as out:
                out.write(text.encode())
        except FileNotFoundError:  # another run mistook it for a leftover of a killed one
            self.write_json(path, value)

    def read_json(self, path: str) -> Any:
        """The content, or None if there is no such file or it is not whole."""
        try:
            # In one request: an object that is written again between open and read is an error.
            return json.loads(self.fs.cat_file(path))
        except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
            return None

    def listed(self, folder: str, ending: str = "") -> list[str]:
        """The paths in a folder, in order; none if there is no such folder. No glob: a root may be named "a[b]*"."""
        try:
            return sorted(path for path in self.fs.ls(folder, detail=False) if path.endswith(ending))
        except FileNotFoundError:
            return []

    # -- parts ----------------------------------------------------------------------------------------------------
    def read(self, parts: Sequence[Part], schema: pa.Schema, columns: Sequence[str] = ()) -> pa.Table:
        """The rows of these parts, one after the other; an empty table if there are none."""
        return _joined((self.open(p).read(columns=list(columns) or schema.names) for p in parts), schema, columns)

    def read_between(self, parts: Sequence[Part], schema: pa.Schema, column: str, low: str, high: str) -> pa.Table:
        """The rows with low <= `column` <= high. Row groups that hold none, by their statistics, are not read: fast where parts are
        sorted by that column, or by it after a column that is constant within the part."""
        options: dict[str, Any] = {"columns": schema.names, "filters": [(column, ">=", low), (column, "<=", high)]}
        return _joined((self.open(p, pq.read_table, partitioning=None, **options) for p in parts), schema, ())

    def open(self, part: Part, reader: Callable[..., Any] = pq.ParquetFile, mapped: bool = True, **options: Any) -> Any:
        """A part for reading, or what another reader makes of it; StudyError if it is gone or broken. mapped: what
        was read counts as memory of the process."""
        path = self.part_path(part)
        try:
            source = path if self.local else self.fs.open(path, "rb")
            return reader(source, memory_map=self.local and mapped, page_checksum_verification=True, **options)
        except (FileNotFoundError, pa.ArrowInvalid, OSError) as error:
            raise StudyError(f"{path}: {error}. Run the study again: it makes what is missing or broken.") from None

    def footer(self, part: Part) -> dict[str, Any]:
        """How a part was made, from its footer: step, settings, inputs, sums."""
        return json.loads(self.open(part).metadata.metadata[FOOTER])

    def describe(self, part: Part) -> dict[str, Any]:
        """The manifest's entry for a finished part; reads all its bytes."""
        path = self.part_path(part)
        info = self.open(part).metadata
        folder = self.layout.files(part.table, part.key)
        paths = [p for p in sorted(self.fs.find(folder)) if not p.endswith(".tmp")] if self.fs.isdir(folder) else []
        files = [{"file": p.removeprefix(f"{folder}/"), **self._stamped(p)} for p in paths]
        sums = json.loads(info.metadata[FOOTER])["sums"]
        about = {"key": part.key, "labels": dict(part.labels), "rows": info.num_rows, "sums": sums, "files": files}
        return about | self._stamped(path)

    def _stamped(self, path: str) -> dict[str, Any]:
        return {**(self.stat(path) or {}), "sha256": self.sha256(path)}

    def stat(self, path: str) -> dict[str, int] | None:
        """Size and time of a file, None if there is none."""
        try:
            if self.local:
                s = os.stat(path)
                return {"bytes": s.st_size, "mtime_ns": s.st_mtime_ns}
            info = self.fs.info(path)
            written = info.get("LastModified") or info.get("created") or info.get("mtime")
            moment = written.timestamp() if isinstance(written, datetime) else float(written or 0)
            return {"bytes": info["size"], "mtime_ns": int(moment * 1e9)}
        except FileNotFoundError:
            return None

    def sha256(self, path: str) -> str:
        with self.fs.open(path, "rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()

    def is_whole(self, part: Part, entry: Mapping[str, Any] | None, *, verify: bool = False) -> bool:
        """Whether a part can be trusted: its size and time are the manifest's, or, if those changed, its bytes are. Without a
        manifest entry (an interrupted run) the part itself is checked: its bytes must have the hash that it carries."""
        stat = self.stat(self.part_path(part))
        if stat is None:
            return False
        if entry is None:
            with suppress(OSError), self.fs.open(self.part_path(part), "rb") as file:
                return is_sealed(file)
            return False
        folder = self.layout.files(part.table, part.key)
        files = [(f"{folder}/{f['file']}", f) for f in entry.get("files", [])]
        return all(self._is_same(path, seen, verify) for path, seen in [(self.part_path(part), entry), *files])

    def _is_same(self, path: str, seen: Mapping[str, Any], verify: bool) -> bool:
        stat = self.stat(path)
        if stat is None or stat["bytes"] != seen["bytes"]:
            return False
        same_time = stat["mtime_ns"] == seen["mtime_ns"]
        if not verify and same_time:
            return True
        if self.sha256(path) != seen["sha256"]:
            return False
        if not same_time and self.local:  # copied, or restored: with its recorded time it is not hashed again by every run
            with suppress(OSError):
                os.utime(path, ns=(time.time_ns(), seen["mtime_ns"]))
        return True

    def set_aside(self, part: Part) -> None:
        path = self.part_path(part)
        if self.stat(path) is not None:
            self.fs.mv(path, path.removesuffix(".parquet") + ".damaged")
        folder = self.layout.files(part.table, part.key)
        if self.fs.exists(folder):
            self.fs.mv(folder, f"{folder}.damaged", recursive=True)

    @contextmanager
    def writing(self, tables: Mapping[str, Contract], key: str, footer: Mapping[str, Any]) -> Iterator[PartWriter]:
        """Write one part of each table; all appear, by rename, when the block ends without an error, or none does."""
        writer = PartWriter(self.layout, None if self.local else self.fs, tables, key)
        try:
            yield writer
            writer.publish(footer, self.publish_files)
        finally:
            writer.discard()

    # -- manifests ------------------------------------------------------------------------------------------------
    def manifest(self, table: str, name: str) -> dict[str, Any] | None:
        return self.read_json(self.layout.manifest(table, name))

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """The last action of a step: from now on the table exists."""
        self.write_json(self.layout.manifest(manifest["table"], manifest["fingerprint"]), manifest)

    def entries(self, table: str, parts: Sequence[Part]) -> dict[str, dict[str, Any]]:
        """Manifest entries of parts, by key: from the newest manifest for parts that exist, and for missing ones from the manifest
        of exactly these parts, if there is one."""
        wanted = {p.key for p in parts if self.stat(self.part_path(p)) is not None}
        newest: dict[str, dict[str, Any]] = {}
        paths = self.listed(self.layout.kind(table, "manifests"), ".json") if wanted else []
        for path in sorted(paths, key=lambda path: -(self.stat(path) or {"mtime_ns": 0})["mtime_ns"]):
            for entry in (self.read_json(path) or {}).get("parts", []):
                if entry["key"] in wanted:
                    newest.setdefault(entry["key"], entry)
            if len(newest) == len(wanted):
                break
        gone = {p.key for p in parts} - wanted
        last = self.manifest(table, fingerprint(parts)) if gone else None
        return newest | {entry["key"]: entry for entry in (last or {}).get("parts", []) if entry["key"] in gone}

    def stored(self, table: str) -> Iterator[tuple[str, str]]:
        """(path, key of the part or fingerprint) of every file in a table's folder."""
        for kind in KINDS:
            folder = self.layout.kind(table, kind)
            for path in self.fs.find(folder):
                yield (path, path.split(f"/{table}/{kind}/", 1)[1].split("/")[0].removesuffix(".parquet").removesuffix(".json"))


def _joined(tables: Iterable[pa.Table], schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
    """The tables as one, with these columns of the schema, or all; an empty table if there are none."""
    wanted = pa.schema([schema.field(n).remove_metadata() for n in columns or schema.names])
    empty = pa.Table.from_batches([], wanted)  # not `empty_table`, which imports pandas
    return pa.concat_tables([empty, *(t.replace_schema_metadata(None).cast(wanted) for t in tables)])


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process of this machine at a time; a killed one releases its lock. No exclusion where the file system has no locks."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f".{folder.name}.lock"), "wb") as lock:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _complete(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.complete")
