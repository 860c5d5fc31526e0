"""Lines of plain, gzip and zstd files, one at a time, and the JSON records in them.

    {"id": "a-17", "text": "The harbour of Velm is deep."}

Memory is bounded whatever a file unpacks to: the length of a line and the growth of a compressed file are limited.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from schemas import StudyError

EXCERPT = 200
STRETCH = 4_000_000
LONGEST = 1 << 27  # bytes of a line; more means a file without line ends
UNPACKED, GROWTH = (1 << 28, 400)  # limits of unpacking: bytes, or times the file's size if that is more; text reaches 50 times


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """A file's content, unpacked if its name ends in .gz or .zst."""
    with path.open("rb") as raw:
        if path.suffix == ".gz":
            with gzip.open(raw) as unpacked:
                yield io.BufferedReader(_Bounded(unpacked, raw), 1 << 20)  # type: ignore[arg-type,misc]
        elif path.suffix == ".zst":
            import zstandard

            with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as frames:
                yield io.BufferedReader(_Bounded(_CompleteFrames(frames, raw), raw), 1 << 20)  # type: ignore[arg-type,misc]
        else:
            yield raw


class _Bounded(io.RawIOBase):
    """A decompressed stream of limited size: a kilobyte of gzip may unpack to a megabyte, one of zstd to thirty."""

    def __init__(self, unpacked: Any, raw: BinaryIO) -> None:
        self.unpacked, self.count = unpacked, 0
        self.limit = max(UNPACKED, GROWTH * os.fstat(raw.fileno()).st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = int(self.unpacked.readinto(buffer))
        self.count += count
        if self.count > self.limit:
            raise OSError(
                f"it unpacks to more than {GROWTH} times its size, which text never does; if you trust it, unpack it first"
            )
        return count


class _CompleteFrames(io.RawIOBase):
    """A zstd stream that raises EOFError if the file ends in the middle of a frame, which the library ignores."""

    def __init__(self, frames: Any, raw: BinaryIO) -> None:
        self.frames, self.raw = frames, raw
        self.complete = _last_frame_is_complete(raw)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = int(self.frames.readinto(buffer))
        if count == 0 and not self.complete:
            raise EOFError("it ends in the middle of a zstd frame")
        return count


def _last_frame_is_complete(raw: BinaryIO) -> bool:
    """Walk the file's frames block by block, by the sizes in their headers (RFC 8878 §3.1.1), without decompressing."""
    import zstandard

    head = b""
    try:
        while head := raw.read(18):
            if 0x184D2A50 <= int.from_bytes(head[:4], "little") <= 0x184D2A5F:  # a skippable frame
                length = int.from_bytes(head[4:8], "little")
                raw.seek(8 - len(head), io.SEEK_CUR)
                if len(head) < 8 or len(raw.read(length)) < length:
                    return False
                continue
            parameters, size = zstandard.get_frame_parameters(head), zstandard.frame_header_size(head)
            raw.seek(size - len(head), io.SEEK_CUR)
            last = False
            while not last:
                block = raw.read(3)
                if len(block) < 3:
                    return False
                bits = int.from_bytes(block, "little")
                last, kind, length = bool(bits & 1), bits >> 1 & 3, bits >> 3
                length = 1 if kind == 1 else length
                if len(raw.read(length)) < length:
                    return False
            if parameters.has_checksum and len(raw.read(4)) < 4:
                return False
        return True
    except zstandard.ZstdError:
        return len(head) == 18  # shorter: truncated inside a header; else not zstd, which the reader reports
    finally:
        raw.seek(0)


def lines(path: Path, piece: int = 0, pieces: int = 1) -> Iterator[tuple[int, bytes]]:
    """(row, line without its end), rows from 1; a byte order mark before the first line is dropped.

    With `pieces` > 1, only the lines that begin in every `pieces`-th stretch of STRETCH bytes are read, so that pieces are
    equally large however well the file compresses. Raises StudyError with the row reached if a compressed file is truncated.
    """
    row = offset = 0
    try:
        with open_bytes(path) as source:
            while True:
                if (offset // STRETCH) % pieces != piece:
                    size, passed = _skip(source, STRETCH - offset % STRETCH)
                    row += passed
                else:
                    line = source.readline(LONGEST + 1)
                    size, row = len(line), row + bool(line)
                    if size > LONGEST:
                        raise StudyError(
                            f"{path}: row {row} is longer than {LONGEST:,} bytes, but a file has one record per line: "
                            "put line ends between the records, or shorten this one"
                        )
                    if line:
                        yield row, (line.removeprefix(codecs.BOM_UTF8) if row == 1 else line).rstrip(b"\r\n")
                if size == 0:
                    return
                offset += size
    except Exception as error:
        if not breaks_off(error):
            raise
        raise StudyError(
            f"{path}: cannot be read after row {row}: {error}. Get the file again; none of its records were used."
        ) from None


def breaks_off(error: Exception) -> bool:
    """Whether an error means that a compressed file is truncated or damaged."""
    return isinstance(error, (EOFError, OSError, zlib.error)) or type(error).__name__ == "ZstdError"


def _skip(source: BinaryIO, size: int) -> tuple[int, int]:
    """Skip `size` bytes and the rest of the line reached; returns (bytes, lines) skipped."""
    block = source.read(size)
    passed, ended = len(block), not block or block.endswith(b"\n")
    while not ended:
        rest = source.readline(STRETCH)
        passed, ended = passed + len(rest), not rest or rest.endswith(b"\n")
    return passed, block.count(b"\n") + (bool(block) and not block.endswith(b"\n"))


def json_records(
    path: Path, encoding: str = "utf-8", piece: int = 0, pieces: int = 1
) -> Iterator[tuple[int, bytes, dict[str, Any] | str]]:
    """(row, line, its JSON object or the reason why it has none) for every line of a piece of the file.

    Raises StudyError for a file that is one JSON array over many lines, of which some could pass for records.
    """
    for row, line in lines(path, piece, pieces):
        if row == 1 and line.lstrip().startswith(b"[") and not line.rstrip().endswith(b"]"):
            raise StudyError(
                f"{path}: row 1 begins a JSON array, but a file has one record per line; convert it with `jq -c '.[]'`"
            )
        yield row, line, json_record(line, encoding)


def json_record(line: bytes, encoding: str = "utf-8") -> dict[str, Any] | str:
    """The JSON object in a line, or the reason why it has none."""
    if not line.strip():
        return "the line is empty; remove it"
    try:
        text = line.decode(encoding)
    except UnicodeError as error:
        return f"not valid {encoding.upper()} at byte {getattr(error, 'start', 0)}; convert the file"
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError includes numbers of thousands of digits
        return f"not valid JSON: {error}"
    return record if isinstance(record, dict) else f"a JSON {type(record).__name__}, not an object with named fields"


def excerpt(line: bytes | str) -> str:
    """The first characters of a record as valid UTF-8, for a table."""
    text = line[: 4 * EXCERPT].decode("utf-8", "replace") if isinstance(line, bytes) else line
    return text[:EXCERPT].encode("utf-8", "replace").decode("utf-8")


def decoded(line: bytes, encoding: str) -> str:
    """The text of a line; bytes that are not in this encoding become lone surrogates (see `has_surrogates`)."""
    try:
        return line.decode(encoding, "surrogateescape")
    except UnicodeError:  # stateful encodings (iso2022_jp) reject bytes that have no surrogate
        return line.decode("ascii", "surrogateescape") + "\udcff"


def has_surrogates(text: str) -> bool:
    """Whether a text contains lone surrogates (JSON allows them), or bytes decoded with `surrogateescape`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def text_of(record: dict[str, Any], field: str, *, paragraphs: bool = False) -> tuple[str, str]:
    """(text, "") or ("", reason why there is none): the field must be a non-empty string.

    With `paragraphs` it may be a list of strings, which are joined with line breaks.
    """
    if field not in record:
        return "", f"no field {field!r}"
    value = record[field]
    if paragraphs and isinstance(value, list) and all(isinstance(v, str) for v in value):
        value = "\n".join(value)
    if not isinstance(value, str):
        return "", f"field {field!r} is {'null' if value is None else f'a {type(value).__name__}'}, not text"
    if not value.strip():
        return "", f"field {field!r} is empty"
    if has_surrogates(value):
        return "", f"field {field!r} contains half of a surrogate pair, which is not a character"
    return value, ""
