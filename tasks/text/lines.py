"""Lines of plain, gzip and zstd files, one at a time, and JSON records in them.

What is held of a file is bounded, whatever it unpacks to: a line has a longest length, a packed file a largest growth.
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
LONGEST = 1 << 27  # bytes of one line: more is no record but a file without line ends
UNPACKED, GROWTH = 1 << 28, 400  # a packed file may unpack to so many bytes, or to so many times its own: texts reach 50


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
                yield io.BufferedReader(_Bounded(_Whole(frames, raw), raw), 1 << 20)  # type: ignore[arg-type,misc]
        else:
            yield raw


class _Bounded(io.RawIOBase):
    """A packed file that does not unpack without end: a kilobyte of gzip may hold a megabyte, one of zstd thirty."""

    def __init__(self, unpacked: Any, raw: BinaryIO) -> None:
        self.unpacked, self.count = unpacked, 0
        self.most = max(UNPACKED, GROWTH * os.fstat(raw.fileno()).st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = int(self.unpacked.readinto(buffer))
        self.count += count
        if self.count > self.most:
            raise OSError(
                f"it unpacks to more than {GROWTH} times its size, which no text does; if it is yours, unpack it first"
            )
        return count


class _Whole(io.RawIOBase):
    """A zstd stream that says when it ends in the middle of a frame, which the library passes over in silence."""

    def __init__(self, frames: Any, raw: BinaryIO) -> None:
        self.frames, self.raw = frames, raw
        self.tail = _last_frame_is_whole(raw)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = int(self.frames.readinto(buffer))
        if count == 0 and not self.tail:
            raise EOFError("it ends in the middle of a zstd frame")
        return count


def _last_frame_is_whole(raw: BinaryIO) -> bool:
    """Walk the file's frames block by block, by the sizes in their headers (RFC 8878 §3.1.1), without unpacking."""
    import zstandard

    head = b""
    try:
        while head := raw.read(18):
            if 0x184D2A50 <= int.from_bytes(head[:4], "little") <= 0x184D2A5F:  # a frame to be skipped
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
        return len(head) == 18  # broken off inside a header; or no zstd at all, which the reader says
    finally:
        raw.seek(0)


def lines(path: Path, piece: int = 0, pieces: int = 1) -> Iterator[tuple[int, bytes]]:
    """(row, line without its end), rows from 1; a byte order mark is no part of the first.

    Of several pieces only one is read: the lines that begin in every `pieces`-th stretch of STRETCH bytes, so that pieces are
    as large as each other however well the file packs. Raises StudyError, naming the row reached, where a packed file breaks
    off.
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
                            f"{path}: row {row} is longer than {LONGEST:,} bytes; one record per line is read here: "
                            "put line ends between them, or cut the record"
                        )
                    if line:
                        yield row, (line.removeprefix(codecs.BOM_UTF8) if row == 1 else line).rstrip(b"\r\n")
                if size == 0:
                    return
                offset += size
    except Exception as error:
        if not breaks_off(error):
            raise
        raise StudyError(f"{path}: broken off behind row {row}: {error}. Get the file again; nothing was taken.") from None


def breaks_off(error: Exception) -> bool:
    """Whether an error says that a packed file is torn or is none."""
    return isinstance(error, (EOFError, OSError, zlib.error)) or type(error).__name__ == "ZstdError"


def _skip(source: BinaryIO, size: int) -> tuple[int, int]:
    """Pass over so many bytes and to the end of the line that is reached; returns bytes and lines passed."""
    block = source.read(size)
    passed, ended = len(block), not block or block.endswith(b"\n")
    while not ended:
        rest = source.readline(STRETCH)
        passed, ended = passed + len(rest), not rest or rest.endswith(b"\n")
    return passed, block.count(b"\n") + (bool(block) and not block.endswith(b"\n"))


def json_records(
    path: Path, encoding: str = "utf-8", piece: int = 0, pieces: int = 1
) -> Iterator[tuple[int, bytes, dict[str, Any] | str]]:
    """(row, line, the JSON object in it or in words why there is none) for every line of a piece of the file.

    Raises StudyError for a file that is one JSON array over many lines: a few of them would pass for records.
    """
    for row, line in lines(path, piece, pieces):
        if row == 1 and line.lstrip().startswith(b"[") and not line.rstrip().endswith(b"]"):
            raise StudyError(
                f"{path}: row 1 begins a JSON array, and one record per line is read here; "
                "`jq -c '.[]'` turns the one into the other"
            )
        yield row, line, json_record(line, encoding)


def json_record(line: bytes, encoding: str = "utf-8") -> dict[str, Any] | str:
    """The JSON object in a line, or in words why there is none."""
    if not line.strip():
        return "the line is empty; remove it"
    try:
        text = line.decode(encoding)
    except UnicodeError as error:
        return f"not valid {encoding.upper()} at byte {getattr(error, 'start', 0)}; convert the file"
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
        return f"not valid JSON: {error}"
    return record if isinstance(record, dict) else f"a JSON {type(record).__name__}, not an object with named fields"


def excerpt(line: bytes | str) -> str:
    """The first characters of a record, fit for a table."""
    text = line[: 4 * EXCERPT].decode("utf-8", "replace") if isinstance(line, bytes) else line
    return text[:EXCERPT].encode("utf-8", "replace").decode("utf-8")


def decoded(line: bytes, encoding: str) -> str:
    """The text of a line; of one that is not in this encoding, with halves of characters in it (see `has_surrogates`)."""
    try:
        return line.decode(encoding, "surrogateescape")
    except UnicodeError:  # encodings with states (iso2022_jp) refuse bytes that no half of a character stands for
        return line.decode("ascii", "surrogateescape") + "\udcff"


def has_surrogates(text: str) -> bool:
    """Whether a text holds halves of characters (JSON allows them), or stray bytes decoded with `surrogateescape`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def text_of(record: dict[str, Any], field: str, *, paragraphs: bool = False) -> tuple[str, str]:
    """(text, "") or ("", why there is none): the field must be a string with something in it.

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
        return "", f"field {field!r} holds half of a surrogate pair, which is no character"
    return value, ""
