"""Lines of plain, gzip and zstd files, one at a time, and the JSON records in them.

    {"id": "a-17", "text": "The harbour of Velm is deep."}

Memory is bounded whatever a file unpacks to: the length of a line and the growth of a compressed file are limited.
"""

import codecs
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from schemas import StudyError

EXCERPT = 200
STRETCH = 4_000_000
LONGEST = 1 << 27  # bytes of a line; more means a file without line ends
WINDOW = 1 << 31  # the largest that `zstd --long` writes; memory is taken only for what is unpacked
PACKED_AT_ONCE = 1 << 11  # bytes of zstd, which unpack to 64 MB at most
UNPACKED, GROWTH = (1 << 28, 400)  # limits of unpacking: bytes, or times the file's size if that is more; text reaches 50 times


# What a file that is not plain text begins with (255 bytes before tar's mark), its name, and what to do about it.
_UNPACK = "unpack it, or pack its lines with gzip or zstd"
_CONVERT = 'convert it to JSON lines (a task can also name its folder: `reader = "hf:FOLDER"`)'
_FORMATS = (
    (rb"\x1f\x8b\x08", "a gzip file", "let its name end in .gz"),
    (rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", "a zstd file", "let its name end in .zst"),
    (rb"PAR1[\x00-\x1f]", "a Parquet file", _CONVERT),
    (rb"ARROW1\0\0", "an Arrow file", _CONVERT),
    (rb"\xfd7zXZ\0", "an xz file", _UNPACK),
    (rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)", "a bzip2 file", _UNPACK),
    (rb"\x04\x22\x4d\x18", "an lz4 file", _UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it and name its files"),
    (rb"PK(?:\x03\x04|\x05\x06)", "a zip archive", "unpack it and name its files"),
    (rb"[^\0]{1,100}\0[\s\S]{156,255}ustar[\0 ]", "a tar archive", "unpack it and name its files"),
)
_PACKED = {".gz": ("a gzip file", b"\x1f\x8b\x08"), ".zst": ("a zstd file", b"\x28\xb5\x2f\xfd")}
_HEAD = 264  # bytes that tell a format
_DAMAGED = "it is damaged; compare it with its original"


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """A file's content, unpacked if its name ends in .gz or .zst. Raises OSError for any other format than text."""
    with path.open("rb") as raw:
        head, (packed, begin) = raw.read(_HEAD), _PACKED.get(path.suffix, ("", b""))
        raw.seek(0)
        kind, remedy = _format_of(head)
        if packed and kind != packed and not begin.startswith(head):  # a beginning of it is truncated, as its reader reports
            raise OSError(f"it is {kind or 'not packed'}, but its name ends in {path.suffix}; correct the name")
        if not packed:
            if kind:
                raise OSError(f"it is {kind}; {remedy}")
            yield raw
            return
        content = io.BufferedReader(_Unpacked((_gunzipped if path.suffix == ".gz" else _zstd_frames)(raw), raw), 1 << 20)
        kind, remedy = _format_of(content.peek(_HEAD)[:_HEAD])
        if kind:
            raise OSError(f"it is {packed} that contains {kind}; {remedy}")
        yield content


def _format_of(head: bytes) -> tuple[str, str]:
    """What a file is by its first bytes, and what to do about it; empty for text."""
    return next(((kind, remedy) for pattern, kind, remedy in _FORMATS if re.match(pattern, head)), ("", ""))


class _Unpacked(io.RawIOBase):
    """Decompressed pieces as a stream of limited size: a kilobyte of gzip may unpack to a megabyte, one of zstd to thirty."""

    def __init__(self, pieces: Iterator[bytes], raw: BinaryIO) -> None:
        self.pieces, self.content = pieces, memoryview(b"")
        self.left = max(UNPACKED, GROWTH * os.fstat(raw.fileno()).st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self.content:
            self.content = memoryview(next(self.pieces, b""))
            self.left -= len(self.content)
        if self.left < 0:
            trust = "which text never does; if you trust it, unpack it first"
            raise OSError(f"it unpacks to more than {GROWTH} times its size, {trust}")
        size = min(len(buffer), len(self.content))
        buffer[:size], self.content = self.content[:size], self.content[size:]
        return size


def _gunzipped(raw: BinaryIO) -> Iterator[bytes]:
    file = gzip.GzipFile(fileobj=raw)
    yield from iter(lambda: file.read1(1 << 20), b"")


def _zstd_frames(raw: BinaryIO) -> Iterator[bytes]:
    """EOFError if the file ends in the middle of a frame, which the library's own reader ignores."""
    import zstandard

    library, frame, packed = zstandard.ZstdDecompressor(max_window_size=WINDOW), None, b""
    while packed := packed or raw.read(PACKED_AT_ONCE):
        frame = frame or library.decompressobj()
        if content := frame.decompress(packed):
            yield content
        frame, packed = (None, frame.unused_data) if frame.eof else (frame, b"")
    if frame is not None:
        raise EOFError("it ends in the middle of a zstd frame")


def lines(path: Path, piece: int = 0, pieces: int = 1) -> Iterator[tuple[int, bytes]]:
    """(row, line without its end), rows from 1; a byte order mark before the first line is dropped. With `pieces` > 1, only the
    lines that begin in every `pieces`-th stretch of STRETCH bytes are read, so that pieces are equally large however well the file
    compresses. Raises StudyError with the row reached and the cause if the file cannot be read."""
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
                        remedy = "a file has one record per line: put line ends between the records, or shorten this one"
                        raise StudyError(f"{path}: row {row} is longer than {LONGEST:,} bytes, but {remedy}")
                    if line:
                        yield row, (line.removeprefix(codecs.BOM_UTF8) if row == 1 else line).rstrip(b"\r\n")
                if size == 0:
                    return
                offset += size
    except Exception as error:
        raise unreadable(path, error, f" after row {row}") from None


_CAUSES = (  # the libraries' messages, and what they mean
    ("too much memory", "its zstd window is above 2^31 bytes; pack it again with --long=31"),
    ("allocation", "not enough memory for its zstd window; unpack it first"),
    ("dictionary", "it is packed with a zstd dictionary, which is not in the file; unpack it first, with that dictionary"),
    ("crc check|checksum", f"{_DAMAGED}: its checksum is not that of its content"),
    ("incorrect length", f"{_DAMAGED}: its length is not that of its content"),
    ("not a gzipped file|unknown frame descriptor", "what follows its packed content is not packed; remove it"),
    ("", _DAMAGED),
)


def unreadable(path: Path, error: Exception, where: str = "") -> Exception:
    """The StudyError for what went wrong while a file was read; the error itself where it says nothing about the file."""
    text = str(error)
    if isinstance(error, EOFError) or text.endswith("(b'\\x1f')"):  # the latter: one byte of a gzip header
        cause = f"it is truncated: {text[:1].lower()}{text[1:]}. Get the file again"
    elif isinstance(error, zlib.error | gzip.BadGzipFile) or type(error).__name__ == "ZstdError":
        cause = next(cause for message, cause in _CAUSES if re.search(message, text, re.IGNORECASE)) + f" ({text})"
    elif isinstance(error, OSError):
        cause = error.strerror or text
    else:
        return error
    return StudyError(f"{path}: cannot be read{where}: {cause}; none of its records were used.")


def _skip(source: BinaryIO, size: int) -> tuple[int, int]:
    """Skip `size` bytes and the rest of the line reached; returns (bytes, lines) skipped."""
    block = source.read(size)
    passed, ended = len(block), not block or block.endswith(b"\n")
    while not ended:
        rest = source.readline(STRETCH)
        passed, ended = passed + len(rest), not rest or rest.endswith(b"\n")
    return passed, block.count(b"\n") + (bool(block) and not block.endswith(b"\n"))


Record = dict[str, Any] | str  # or the reason why there is none


def json_records(path: Path, encoding: str = "utf-8", piece: int = 0, pieces: int = 1) -> Iterator[tuple[int, bytes, Record]]:
    """(row, line, its JSON object or the reason why it has none) for every line of a piece of the file. Raises StudyError for a
    file that is one JSON array over many lines, of which some could pass for records."""
    for row, line in lines(path, piece, pieces):
        if row == 1 and line.lstrip().startswith(b"[") and not line.rstrip().endswith(b"]"):
            remedy = "a file has one record per line; convert it with `jq -c '.[]'`"
            raise StudyError(f"{path}: row 1 begins a JSON array, but {remedy}")
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


def value_at(record: Any, path: str) -> Any:
    """The value of a field; a dot enters a field, and in a list the field of each item. KeyError, in words, if there is none.
    value_at({"a": [{"b": 1}, {"b": 2}]}, "a.b") = [1, 2]. A field whose own name has the dot comes first."""
    if isinstance(record, list) and all(isinstance(item, Mapping) for item in record):
        return [value_at(item, path) for item in record]
    if isinstance(record, Mapping):
        if path in record:
            return record[path]
        name, dot, rest = path.partition(".")
        if dot and name in record:
            try:
                return value_at(record[name], rest)
            except KeyError as error:
                raise KeyError(f"no field {path!r}" + str(error.args[0]).removeprefix(f"no field {rest!r}")) from None
        raise KeyError(f"no field {path!r}; there are {', '.join(map(str, record))[:120]}")
    raise KeyError(f"no field {path!r}")


def text_of(record: Mapping[str, Any], field: str, *, paragraphs: bool = False) -> tuple[str, str]:
    """(text, "") or ("", reason why there is none): the field (see `value_at`) must be a non-empty string. With `paragraphs` it may
    be a list of strings, which are joined with line breaks."""
    try:
        value = value_at(record, field)
    except KeyError as missing:
        return "", str(missing.args[0])
    if paragraphs and isinstance(value, list) and all(isinstance(v, str) for v in value):
        value = "\n".join(value)
    if not isinstance(value, str):
        return "", f"field {field!r} is {'null' if value is None else f'a {type(value).__name__}'}, not text"
    if not value.strip():
        return "", f"field {field!r} is empty"
    if has_surrogates(value):
        return "", f"field {field!r} contains half of a surrogate pair, which is not a character"
    return value, ""
