"""A file is read completely or not at all: compressed or plain, truncated anywhere, it never passes for a shorter one."""

import bz2
import gzip
import io
import lzma
import random
import tarfile
import zipfile
import zlib
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import feather, parquet

from schemas import StudyError
from tasks.text.lines import excerpt, json_record, json_records, lines, text_of, value_at

NUMBERS = random.Random(5)
ROWS = [f'{{"id": {i}, "text": "{NUMBERS.randbytes(12).hex()} größer 漢字"}}'.encode() for i in range(24)]
CONTENT = b"".join(row + b"\n" for row in ROWS)
PIECES = [CONTENT[:500], CONTENT[500:501], CONTENT[501:]]  # frames end where lines do not
SKIPPED = (0x184D2A53).to_bytes(4, "little") + (40).to_bytes(4, "little") + bytes(40)


def zst(*pieces: bytes, checksum: bool = True, size: bool = True, level: int = 3) -> bytes:
    packer = zstandard.ZstdCompressor(level=level, write_checksum=checksum, write_content_size=size)
    return b"".join(packer.compress(p) for p in pieces)


PACKED = {
    "zst": zst(*PIECES),
    "zst without checksum": zst(*PIECES, checksum=False),
    "zst without sizes": zst(*PIECES, size=False),
    "zst with frames to skip": zst(PIECES[0]) + SKIPPED + zst(*PIECES[1:]),
    "zst of runs": zst(b"a" * 70_000 + b"\n", CONTENT),
    "gz": gzip.compress(CONTENT, mtime=0),
    "gz of members": b"".join(gzip.compress(p, mtime=0) for p in PIECES),
}


def write(folder: Path, kind: str, content: bytes) -> Path:
    path = folder / f"a.jsonl.{kind.split()[0]}"
    path.write_bytes(content)
    return path


def ends_between_members(kind: str, cut: int) -> bool:
    """Nothing in a file can tell that more members should follow."""
    if kind.startswith("zst"):
        rest = PACKED[kind][:cut]
        while rest:
            if rest[:4] == SKIPPED[:4] and len(rest) >= len(SKIPPED):
                rest = rest[len(SKIPPED) :]
                continue
            frame = zstandard.ZstdDecompressor().decompressobj()
            try:
                frame.decompress(rest)
            except zstandard.ZstdError:
                return False
            if not frame.eof:
                return False
            rest = frame.unused_data
        return True
    rest = PACKED[kind][:cut]
    while rest:
        member = zlib.decompressobj(wbits=31)
        member.decompress(rest)
        if not member.eof:
            return False
        rest = member.unused_data
    return True


@pytest.mark.parametrize("kind", [k for k in PACKED if k != "zst of runs"])
def test_packed_lines_are_the_plain_lines(tmp_path, kind):
    plain = tmp_path / "a.jsonl"
    plain.write_bytes(CONTENT)
    assert list(lines(plain)) == list(enumerate(ROWS, 1))
    assert list(lines(write(tmp_path, kind, PACKED[kind]))) == list(enumerate(ROWS, 1))


@pytest.mark.parametrize("kind", PACKED)
def test_a_packed_file_cut_anywhere_is_an_error_that_names_file_and_row(tmp_path, kind):
    whole, refused = PACKED[kind], 0
    for cut in range(1, len(whole), 7):
        if ends_between_members(kind, cut):
            continue
        path, seen = write(tmp_path, kind, whole[:cut]), 0
        with pytest.raises(StudyError) as error:  # noqa: PT012 - what was read before the error must be counted
            for _ in lines(path):
                seen += 1
        assert f"{path}: cannot be read after row {seen}:" in str(error.value), cut
        refused += 1
    assert refused > len(whole) / 7 - 4


@pytest.mark.parametrize("kind", ["zst", "zst without sizes", "zst with frames to skip"])
@pytest.mark.parametrize("lost", range(1, 14))
def test_the_last_bytes_of_a_zstd_file_are_missed_one_by_one(tmp_path, kind, lost):
    with pytest.raises(StudyError, match="cannot be read after row"):
        list(lines(write(tmp_path, kind, PACKED[kind][:-lost])))


@pytest.mark.parametrize("held", range(1, len(SKIPPED)))
def test_a_file_that_ends_in_a_frame_to_skip_has_lost_what_follows(tmp_path, held):
    with pytest.raises(StudyError, match="cannot be read"):
        list(lines(write(tmp_path, "zst", zst(CONTENT) + SKIPPED[:held])))


@pytest.mark.parametrize("kind", ["zst", "zst without sizes", "gz", "gz of members"])
def test_a_flipped_byte_never_gives_other_lines(tmp_path, kind):
    whole, found = PACKED[kind], 0
    for place in range(0, len(whole), 3):
        flipped = bytearray(whole)
        flipped[place] ^= 0x41
        try:
            assert list(lines(write(tmp_path, kind, bytes(flipped)))) == list(enumerate(ROWS, 1)), place
        except StudyError:
            found += 1
    assert found > 0.9 * len(whole) / 3


def long_zst(window: int) -> bytes:
    """As `zstd --long=N` writes it: a stream of unknown size, so that its window is in the header."""
    settings = {"window_log": window, "enable_ldm": True, "write_content_size": 0, "hash_log": 17, "chain_log": 17}
    packer = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(compression_level=3, **settings))
    target = io.BytesIO()
    with packer.stream_writer(target, closefd=False) as writer:
        writer.write(CONTENT)
    return target.getvalue()


@pytest.mark.parametrize("window", [27, 28, 31])
def test_zstd_files_with_long_windows_are_read(tmp_path, window):
    content = long_zst(window)
    assert zstandard.get_frame_parameters(content).window_size == 1 << window
    assert list(lines(write(tmp_path, "zst", content))) == list(enumerate(ROWS, 1))


def flipped(content: bytes, place: int) -> bytes:
    """The content with one byte changed; from the end for a negative place."""
    changed = bytearray(content)
    changed[place] ^= 1
    return bytes(changed)


def archive(kind: str) -> bytes:
    """The lines as a file that is not read."""
    target = io.BytesIO()
    if kind == "tar":
        with tarfile.open(fileobj=target, mode="w") as tar:
            member = tarfile.TarInfo("a.jsonl")
            member.size = len(CONTENT)
            tar.addfile(member, io.BytesIO(CONTENT))
    elif kind == "zip":
        with zipfile.ZipFile(target, "w") as zipped:
            zipped.writestr("a.jsonl", CONTENT)
    elif kind == "parquet":
        parquet.write_table(pa.table({"text": ["a"]}), target)
    else:
        feather.write_feather(pa.table({"text": ["a"]}), target)
    return target.getvalue()


DICTIONARY = zstandard.train_dictionary(1_000, [b"the harbour of Velm is deep %d" % i * 20 for i in range(400)])
CAUSES = {  # (name, content) by what the error says
    "it is truncated: compressed file ended.* Get the file again": ("gz", PACKED["gz"][:-9]),
    "it is truncated: .*; none": ("gz", PACKED["gz"] + b"\x1f"),
    "it is truncated: it ends in the middle of a zstd frame. Get the file again": ("zst", PACKED["zst"][:-2]),
    "it is damaged; .*: its checksum is not .*CRC": ("gz", flipped(PACKED["gz"], -6)),
    "it is damaged; .*: its length is not": ("gz", flipped(PACKED["gz"], -1)),
    "it is damaged; .*: its checksum is not .*zstd": ("zst", flipped(PACKED["zst"], -1)),
    "it is damaged; compare it with its original .*Error -3": ("gz", PACKED["gz"][:12] + b"\xff" * 30),
    "what follows its packed content is not packed; remove it .*gzip": ("gz", PACKED["gz"] + b"more"),
    "what follows its packed content is not packed; remove it .*zstd": ("zst", PACKED["zst"] + b"more"),
    r"its zstd window is above 2\^31 bytes; pack it again with --long=31": (
        "zst",
        bytes([*b"\x28\xb5\x2f\xfd", 0, 22 << 3, 1, 0, 0]),
    ),
    "it is packed with a zstd dictionary": ("zst", zstandard.ZstdCompressor(dict_data=DICTIONARY).compress(CONTENT)),
    "it is not packed, but its name ends in .gz": ("gz", CONTENT),
    "it is not packed, but its name ends in .zst": ("zst", CONTENT),
    "it is a zstd file, but its name ends in .gz": ("gz", PACKED["zst"]),
    "it is a gzip file, but its name ends in .zst": ("zst", PACKED["gz"]),
    "it is a gzip file; let its name end in .gz": ("x", PACKED["gz"]),
    "it is a zstd file; let its name end in .zst": ("x", PACKED["zst with frames to skip"]),
    "it is a zstd file; let": ("x", SKIPPED + PACKED["zst"]),
    "it is an xz file; unpack it": ("x", lzma.compress(CONTENT)),
    "it is a bzip2 file; unpack it": ("x", bz2.compress(CONTENT)),
    "it is a Parquet file; convert it to JSON lines": ("x", archive("parquet")),
    "it is an Arrow file; convert it to JSON lines": ("x", archive("arrow")),
    "it is a tar archive; unpack it": ("x", archive("tar")),
    "it is a zip archive; unpack it": ("x", archive("zip")),
    "it is a gzip file that contains a tar archive; unpack it": ("gz", gzip.compress(archive("tar"))),
    "it is a zstd file that contains a gzip file": ("zst", zst(PACKED["gz"])),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_what_a_file_cannot_be_read_for_is_said_in_words(tmp_path, cause):
    """To get the file again helps only where it is truncated."""
    with pytest.raises(StudyError, match=rf"a\.jsonl\.\w+: cannot be read after row \d+: {cause}") as error:
        list(lines(write(tmp_path, *CAUSES[cause])))
    assert ("Get the file again" in str(error.value)) == ("truncated" in cause)


@pytest.mark.parametrize("kind", ["zst", "gz"])
def test_plain_text_under_a_packed_name_is_an_error(tmp_path, kind):
    with pytest.raises(StudyError, match="after row 0"):
        list(lines(write(tmp_path, kind, CONTENT)))


@pytest.mark.parametrize(("kind", "content"), [("x", b""), ("gz", gzip.compress(b"", mtime=0)), ("zst", zst(b""))])
def test_an_empty_file_has_no_line(tmp_path, kind, content):
    assert list(lines(write(tmp_path, kind, content))) == []


def test_the_last_line_needs_no_end_and_an_end_makes_no_line(tmp_path):
    for content in (b"a\n\nb", b"a\r\n\r\nb\r\n"):
        assert list(lines(write(tmp_path, "x", content))) == [(1, b"a"), (2, b""), (3, b"b")]


def test_a_byte_order_mark_counts_only_at_the_beginning(tmp_path):
    path = write(tmp_path, "x", b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n")
    assert list(lines(path)) == [(1, b"a"), (2, b"\xef\xbb\xbfb")]


@pytest.mark.parametrize("content", [b'[\n{"a": 1},\n{"a": 2}\n]\n', b'  [{"a": 1},\n{"a": 2}]\n', b'\xef\xbb\xbf[\n{"a": 1}\n]'])
def test_a_json_array_over_many_lines_is_no_file_of_records(tmp_path, content):
    path = write(tmp_path, "x", content)
    with pytest.raises(StudyError, match=r"a\.jsonl\.x: row 1 begins a JSON array.*jq"):
        list(json_records(path))


def test_a_list_in_a_line_of_its_own_costs_that_line_only(tmp_path):
    path = write(tmp_path, "x", b'[1, 2]\n{"a": 1}\n')
    assert [(row, record) for row, _, record in json_records(path)] == [
        (1, "a JSON list, not an object with named fields"),
        (2, {"a": 1}),
    ]


@given(st.dictionaries(st.text(max_size=4), st.none() | st.integers() | st.text(max_size=8), max_size=3), st.binary(max_size=12))
def test_any_line_is_an_object_or_a_reason(record, noise):
    import json

    assert json_record(json.dumps(record).encode()) == record
    found = json_record(b"\x00" + noise)
    assert isinstance(found, str)
    assert found


@given(st.binary(max_size=400) | st.text(st.characters(), max_size=400))
def test_an_excerpt_can_be_stored_and_is_short(line):
    found = excerpt(line)
    assert found.encode().decode() == found
    assert len(found) <= 200


def test_a_text_may_be_a_list_of_paragraphs_only_where_that_is_asked_for():
    record = {"a": ["one", "two"], "b": ["one", 2], "c": [], "d": "x"}
    assert text_of(record, "a", paragraphs=True) == ("one\ntwo", "")
    assert text_of(record, "d", paragraphs=True) == ("x", "")
    assert text_of(record, "a")[1] == "field 'a' is a list, not text"
    assert text_of(record, "b", paragraphs=True)[1] == "field 'b' is a list, not text"
    assert text_of(record, "c", paragraphs=True)[1] == "field 'c' is empty"


def test_a_dot_enters_a_field_and_a_fields_own_name_comes_first():
    record = {"a": {"b": [{"c": 1}, {"c": 2}], "t": "x"}, "a.t": "y", "d": 1}
    assert (value_at(record, "a.b.c"), value_at(record, "a.t"), value_at({"a": {"t": "x"}}, "a.t")) == ([1, 2], "y", "x")
    for path in ("a.b.x", "d.x", "x", "a.", ".a", "a.x.y"):
        with pytest.raises(KeyError, match=f"no field '{path}'"):
            value_at(record, path)
    assert text_of({"a": {"b": ["x", "y"]}}, "a.b", paragraphs=True) == ("x\ny", "")
    assert text_of({"a": {"c": 1}}, "a.b")[1] == "no field 'a.b'; there are c"
