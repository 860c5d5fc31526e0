"""Parts, keys and manifests: the only file that opens stored data.

A table is a list of Parquet parts under a manifest. A part lies at `<root>/<table>/parts/<key>.parquet`; its key says all
that decided its content. A manifest lists part keys, is named by their hash, and is written last.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas import Contract, StudyError

ROWS_PER_GROUP = 65_536
FOOTER = b"taskgram"


@dataclass(frozen=True)
class Part:
    """One part of a table, finished or planned. `labels` are what a person calls it, e.g. {"task": "capitals"}."""

    table: str
    key: str
    labels: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def variant(self) -> str:
        """Which of a study's variants it belongs to; empty for the study itself."""
        return self.labels.get("variant", "")


@dataclass(frozen=True)
class SourceFile:
    """A file from outside the root, known by its content."""

    name: str
    path: str
    sha256: str
    bytes: int


def digest(value: Any) -> str:
    """32 hex digits that say the whole of a JSON value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def fingerprint(parts: Sequence[Part]) -> str:
    """Names a table's state: the hash of its list of part keys."""
    return digest([p.key for p in parts])


class Store:
    """Everything a root folder holds."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.fs, self.base = fsspec.core.url_to_fs(root)
        self.local = self.fs.protocol in ("file", "local") or "file" in self.fs.protocol

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return Store, (self.root,)

    # -- places ---------------------------------------------------------------------------------------------------
    def part_path(self, part: Part) -> str:
        """Where a part lies."""
        return f"{self.base}/{part.table}/parts/{part.key}.parquet"

    def manifest_path(self, table: str, name: str) -> str:
        """Where the manifest of a fingerprint lies."""
        return f"{self.base}/{table}/manifests/{name}.json"

    def study_path(self, study: str) -> str:
        """Where it is recorded what a study has run."""
        return f"{self.base}/studies/{study}.json"

    def folder(self, table: str, key: str) -> Path:
        """The folder of files that lie beside a part (model weights, planted files). Created if it is not there."""
        if not self.local:
            raise StudyError(f"{self.root}: models and planted files need a local root; give --root a local folder")
        path = Path(self.base) / table / "files" / key
        path.mkdir(parents=True, exist_ok=True)
        return path

    # -- small files ----------------------------------------------------------------------------------------------
    def write_json(self, path: str, value: Any) -> None:
        """Write atomically: readers see the old content or the new, never half of it."""
        text = json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        self.fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        if not self.local:
            with self.fs.open(path, "wb") as out:
                out.write(text.encode())
            return
        temporary = f"{path}.{uuid.uuid4().hex}.tmp"
        try:
            with open(temporary, "wb") as out:
                out.write(text.encode())
                out.flush()
                os.fsync(out.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def read_json(self, path: str) -> Any:
        """The content, or None if there is no such file or it is not whole."""
        try:
            with self.fs.open(path, "rb") as source:
                return json.loads(source.read())
        except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
            return None

    # -- parts ----------------------------------------------------------------------------------------------------
    def read(self, parts: Sequence[Part], schema: pa.Schema, columns: Sequence[str] = ()) -> pa.Table:
        """The rows of these parts, one after the other; an empty table if there are none."""
        names = list(columns) or schema.names
        tables = [self.open(p).read(columns=names) for p in parts]
        # Not `empty_table`, which imports pandas; a question to a finished study needs no such thing.
        empty = pa.Table.from_batches([], pa.schema([schema.field(n).remove_metadata() for n in names]))
        return pa.concat_tables([empty, *(t.replace_schema_metadata(None).cast(empty.schema) for t in tables)])

    def open(self, part: Part) -> pq.ParquetFile:
        """A part for reading; StudyError if it is gone or broken."""
        path = self.part_path(part)
        try:
            return pq.ParquetFile(path, memory_map=True) if self.local else pq.ParquetFile(self.fs.open(path, "rb"))
        except (FileNotFoundError, pa.ArrowInvalid, OSError) as error:
            raise StudyError(f"{path}: {error}. Run the study again: it makes what is missing or broken.") from None

    def footer(self, part: Part) -> dict[str, Any]:
        """What a part says about its own making: step, settings, inputs, sums."""
        return json.loads(self.open(part).metadata.metadata[FOOTER])

    def describe(self, part: Part) -> dict[str, Any]:
        """The manifest's entry for a finished part; reads all its bytes."""
        path = self.part_path(part)
        info = self.open(part).metadata
        stat = self.stat(path)
        assert stat is not None
        return {
            "key": part.key, "labels": dict(part.labels), "rows": info.num_rows, "bytes": stat["bytes"],
            "mtime_ns": stat["mtime_ns"], "sha256": self.sha256(path), "sums": json.loads(info.metadata[FOOTER])["sums"],
            "files": self.files_beside(part),
        }  # fmt: skip

    def files_beside(self, part: Part) -> list[dict[str, Any]]:
        """The files in a part's folder, each with its size, time and hash."""
        folder = Path(self.base) / part.table / "files" / part.key
        if not self.local or not folder.is_dir():
            return []
        found = []
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".tmp"):
            stat = path.stat()
            found.append({"file": path.relative_to(folder).as_posix(), "bytes": stat.st_size,
                          "mtime_ns": stat.st_mtime_ns, "sha256": self.sha256(str(path))})  # fmt: skip
        return found

    def stat(self, path: str) -> dict[str, int] | None:
        """Size and time of a file, None if there is none."""
        try:
            if self.local:
                s = os.stat(path)
                return {"bytes": s.st_size, "mtime_ns": s.st_mtime_ns}
            info = self.fs.info(path)
            return {"bytes": info["size"], "mtime_ns": 0}
        except FileNotFoundError:
            return None

    def sha256(self, path: str) -> str:
        """Hash of a file's bytes."""
        with self.fs.open(path, "rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()

    def is_whole(self, part: Part, entry: Mapping[str, Any] | None, *, verify: bool = False) -> bool:
        """Whether a part can be trusted: its size and time are the manifest's, or, if those changed, its bytes are.

        Without a manifest entry (an interrupted run) the part's footer must be readable: parts appear by rename, whole.
        """
        stat = self.stat(self.part_path(part))
        if stat is None:
            return False
        if entry is None:
            try:
                return self.open(part).metadata.metadata is not None and FOOTER in self.open(part).metadata.metadata
            except StudyError:
                return False
        folder = f"{self.base}/{part.table}/files/{part.key}"
        beside = [(f"{folder}/{f['file']}", f) for f in entry.get("files", [])]
        return all(self._is_same(path, seen, verify) for path, seen in [(self.part_path(part), entry), *beside])

    def _is_same(self, path: str, seen: Mapping[str, Any], verify: bool) -> bool:
        stat = self.stat(path)
        if stat is None or stat["bytes"] != seen["bytes"]:
            return False
        return (not verify and stat["mtime_ns"] == seen["mtime_ns"]) or self.sha256(path) == seen["sha256"]

    def set_aside(self, part: Part) -> None:
        """Take a damaged part out of the way, but do not destroy it."""
        path = self.part_path(part)
        if self.stat(path) is not None:
            self.fs.mv(path, path.removesuffix(".parquet") + ".damaged")
        folder = f"{self.base}/{part.table}/files/{part.key}"
        if self.fs.exists(folder):
            self.fs.mv(folder, f"{folder}.damaged", recursive=True)

    @contextmanager
    def writing(self, tables: Mapping[str, Contract], key: str, footer: Mapping[str, Any]) -> Iterator[PartWriter]:
        """Write one part of each table; all appear, by rename, when the block ends without an error, or none does."""
        writer = PartWriter(self, tables, key)
        try:
            yield writer
            writer.publish(footer)
        finally:
            writer.discard()

    def sweep(self, table: str, older_than: float = 3600.0) -> int:
        """Remove temporary files left by killed processes; returns how many. Those of counting are given a day."""
        found = [(p, older_than) for p in self.fs.glob(f"{self.base}/{table}/parts/*.tmp")]
        found += [(p, older_than) for p in self.fs.glob(f"{self.base}/{table}/files/*/.*.tmp")]
        found += [(p, max(older_than, 86_400.0)) for p in self.fs.glob(f"{self.base}/.scratch/*")]
        swept = 0
        for path, age in found:
            stat = self.stat(path)
            if stat and time.time() - stat["mtime_ns"] / 1e9 > age:
                with suppress(FileNotFoundError):
                    self.fs.rm(path, recursive=True)
                    swept += 1
        return swept

    # -- manifests ------------------------------------------------------------------------------------------------
    def manifest(self, table: str, name: str) -> dict[str, Any] | None:
        """A manifest by its fingerprint."""
        return self.read_json(self.manifest_path(table, name))

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Last act of a step: from now on the table exists."""
        self.write_json(self.manifest_path(manifest["table"], manifest["fingerprint"]), manifest)

    def entries(self, table: str) -> dict[str, dict[str, Any]]:
        """What all manifests of a table say of each part they list, by key."""
        found: dict[str, dict[str, Any]] = {}
        for path in sorted(self.fs.glob(f"{self.base}/{table}/manifests/*.json")):
            for entry in (self.read_json(path) or {}).get("parts", []):
                found[entry["key"]] = entry
        return found


class PartWriter:
    """Writes one part per table to temporary names; used through `Store.writing`."""

    def __init__(self, store: Store, tables: Mapping[str, Contract], key: str) -> None:
        self.store, self.tables, self.key = store, tables, key
        self.temporary = {t: f"{store.base}/{t}/parts/.{key}.{uuid.uuid4().hex}.tmp" for t in tables}
        self.writers: dict[str, pq.ParquetWriter] = {}

    def write(self, table: str, rows: pa.Table | pa.RecordBatch) -> None:
        """Append rows; their columns must be the contract's, in any order."""
        schema = self.tables[table].schema
        if isinstance(rows, pa.RecordBatch):
            rows = pa.Table.from_batches([rows])
        if set(rows.column_names) != set(schema.names):
            wrong = sorted(set(rows.column_names) ^ set(schema.names))
            raise AssertionError(f"{table}: columns {wrong} are missing or not in the contract")
        if table not in self.writers:
            self.store.fs.makedirs(f"{self.store.base}/{table}/parts", exist_ok=True)
            self.writers[table] = pq.ParquetWriter(
                self.temporary[table], schema, filesystem=None if self.store.local else self.store.fs,
                write_page_index=False, **_encoding(self.tables[table]),
            )  # fmt: skip
        self.writers[table].write_table(rows.select(schema.names).cast(schema), row_group_size=ROWS_PER_GROUP)

    def publish(self, footer: Mapping[str, Any]) -> None:
        """Close, flush to disk and rename all parts."""
        for table, contract in self.tables.items():
            self.write(table, contract.schema.empty_table()) if table not in self.writers else None
            self.writers[table].add_key_value_metadata({FOOTER.decode(): json.dumps(footer, sort_keys=True)})
            self.writers[table].close()
        for table in self.tables if self.store.local else ():
            with open(self.temporary[table], "rb") as written:
                os.fsync(written.fileno())  # of all before the first is renamed: some disks say only here that they are full
        for table in self.tables:
            final = self.store.part_path(Part(table, self.key))
            if self.store.local:
                os.replace(self.temporary[table], final)
            else:
                self.store.fs.mv(self.temporary[table], final)

    def discard(self) -> None:
        """Remove what was not published, a file whose writer could not be made among it."""
        for table, temporary in self.temporary.items():
            with suppress(Exception):
                self.writers[table].close()
            with suppress(FileNotFoundError):
                self.store.fs.rm(temporary)


def _encoding(contract: Contract) -> dict[str, Any]:
    """How Parquet writes a table: zstd, or no compression but differences of numbers and of sorted n-grams, which is quicker."""
    schema = contract.schema
    if contract.compression == "zstd":
        return {"compression": "zstd", "compression_level": 1}
    encodings = {f.name: "DELTA_BINARY_PACKED" for f in schema if pa.types.is_integer(f.type)}
    encodings |= {n: "DELTA_BYTE_ARRAY" for n in contract.key if pa.types.is_binary(schema.field(n).type)}
    statistics = [f.name for f in schema if not pa.types.is_binary(f.type)]
    return {"compression": "none", "use_dictionary": False, "column_encoding": encodings, "write_statistics": statistics}
