"""Regressions: input that, before it was fixed, ended in a traceback, a hang or all of a machine's memory.

Each is now an error that says what to fix, or a reject that is counted.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import tracemalloc
from pathlib import Path

import pytest
import zstandard

from schemas import StudyError, load_study
from tasks.examples.read import _check
from tasks.examples.readers import reader_module
from tasks.examples.record import Example, Reject, TaskFile
from tasks.prompts.candidate import TaskPrompt
from tasks.prompts.rewrite import read_candidates
from tasks.storage.source_files import resolve_files
from tasks.text import lines as reading
from tasks.text.bpe.tokenizer import encode_batch, load_tokenizer, read_tokenizer
from tasks.text.lines import json_records, lines
from tests.fuzz.targets import SETTINGS, STUDY, TOKENIZER, limited, survives


def study(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "s.toml").write_bytes(text)
    with limited():
        load_study(tmp_path / "s.toml")


def found(tmp_path: Path, reader: str, content: bytes, name: str = "f", **settings) -> list[Example | Reject]:
    (tmp_path / name).write_bytes(content)
    (tmp_path / f"ref-{name}").write_bytes(content)
    with limited(20):
        file = TaskFile(name, tmp_path / name, tmp_path / f"ref-{name}")
        return list(reader_module(reader).read(file, SETTINGS | {"reader": reader} | settings))


# -- studies ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"seed = " + b"9" * 5000, "not valid TOML"),
        (b"a = " + b"[" * 100_000, "nested too deep"),
        (b"a = " + b"{a=" * 50_000, "nested too deep"),
        (b"encoder.kind." + b"a." * 100_000 + b"b = 1", "more than 30 parts"),
        (b'"x"' + b" . 'y'" * 100_000 + b" = 1", "more than 30 parts"),
        (b"#" * 2_000_000, "not a study"),
        (STUDY.replace(b'memory = "1GB"', b'memory = "' + b"9" * 400 + b'GB"'), "more than any machine has"),
        (STUDY.replace(b'"([^/]+)$"', b'"(a{99999999999999999999})"'), "not a regular expression"),
        (STUDY.replace(b'"([^/]+)$"', b'"' + b"(" * 20_000 + b'"'), "not a regular expression"),
        (STUDY.replace(b'["*.jsonl"]', b'["a\\u0000b"]'), "not a path"),
        (STUDY.replace(b'["*.jsonl"]', b'["' + b"a" * 300 + b'"]'), "not a path"),
        (STUDY.replace(b'name = "t"', b'name = "' + b"t" * 900_000 + b'"', 1), "should match pattern"),
    ],
    ids=["digits", "brackets", "braces", "dots", "quoted-dots", "long", "size", "repeat", "groups", "nul", "name", "wide"],
)
def test_a_study_that_nobody_would_write(tmp_path: Path, text: bytes, says: str) -> None:
    with pytest.raises(StudyError, match=says) as raised:
        study(tmp_path, text)
    assert "s.toml" in str(raised.value) and len(str(raised.value)) < 2000


def test_a_file_whose_name_is_no_utf8_is_named_and_not_stored(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.jsonl")).write_bytes(b"{}")
    with pytest.raises(StudyError, match="not UTF-8; rename"):
        resolve_files(["*.jsonl"], str(tmp_path), "corpus source 's'")


# -- what unpacks, and what does not end --------------------------------------------------------------------------------
def bomb(kind: str, megabytes: int) -> bytes:
    """A packed file of spaces, without a line end."""
    out = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=out, mode="wb")
        if kind == "gz"
        else zstandard.ZstdCompressor().stream_writer(out, closefd=False) as packed
    ):
        for _ in range(megabytes):
            packed.write(b" " * 1_000_000)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["gz", "zst"])
@pytest.mark.parametrize("reader", ["jsonl", "wmt_xml", "triviaqa", "sgm"])
def test_a_packed_file_that_expands_without_end_is_stopped(
    tmp_path: Path, kind: str, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 MB of spaces, packed into a few kilobytes, represent 40 GB: memory stays below what may be unpacked."""
    monkeypatch.setattr(reading, "UNPACKED", 8_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(StudyError, match="unpacks to more than 400 times"):
            found(tmp_path, reader, bomb(kind, 40), f"f.{kind}")
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()


def test_a_line_without_end_is_an_error_with_its_row_and_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LONGEST", 1_000_000)
    (tmp_path / "a.jsonl").write_bytes(b"{}\n" + b" " * 30_000_000 + b"\n{}\n")
    tracemalloc.start()
    with pytest.raises(StudyError, match=r"a\.jsonl: row 2 is longer than 1,000,000 bytes"):
        list(lines(tmp_path / "a.jsonl"))
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.reset_peak()
    assert [row for row, _ in lines(tmp_path / "a.jsonl", 1, 20)] == [], "another piece passes over it"
    assert tracemalloc.get_traced_memory()[1] < 30_000_000
    tracemalloc.stop()


def test_a_line_of_100_megabytes_is_a_record(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "' + b"a " * 50_000_000 + b'"}\n')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ((_, line, record),) = json_records(tmp_path / "a.jsonl")
    assert len(record["text"]) == 100_000_000  # type: ignore[index]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 900_000, "kilobytes: not more than nine times the line"
    assert len(line) > 100_000_000


def test_json_nested_100_000_deep_is_a_reject_of_every_reader(tmp_path: Path) -> None:
    deep = b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
    for reader in ("jsonl", "parallel", "nq_open", "pararel", "arc", "gsm8k"):
        (refused,) = found(tmp_path, reader, deep)
        assert isinstance(refused, Reject) and "not valid JSON" in refused.reason
    with pytest.raises(StudyError, match="not the JSON that this reader expects"):
        found(tmp_path, "triviaqa", b'{"Data": ' + b"[" * 100_000)


@pytest.mark.parametrize("depth", range(880, 1000, 3))
def test_json_nested_as_deep_as_python_goes_is_shown_in_few_words(tmp_path: Path, depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    for record in (b'{"input": "a", "output": "b", "answer": %s}', b'{"input": "a", "output": "b", "split": %s}'):
        (refused,) = found(tmp_path, "jsonl", record % deep + b"\n")
        assert isinstance(refused, Reject) and len(refused.reason) < 300
    fields = {"input": "a", "output": "b", "id": "c"}
    (refused,) = found(tmp_path, "jsonl", b'{"a": "x", "b": "y", "c": %s}\n' % deep, fields=fields)
    assert isinstance(refused, Reject)


def test_an_excerpt_of_a_long_line_reads_its_beginning_alone() -> None:
    tracemalloc.start()
    line = b"\xff" * 50_000_000
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    assert len(reading.excerpt(line)) == 200
    assert tracemalloc.get_traced_memory()[1] - before < 100_000
    tracemalloc.stop()


# -- task files --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("piece", [b"<doc ", b"<seg", b"</doc", b"a" * 5, b"&#", b'a="', b"a ="], ids=repr)
def test_tags_that_are_not_closed_take_time_in_proportion(tmp_path: Path, piece: bytes) -> None:
    """A megabyte of "<doc " took minutes: each was looked through to the end of the line."""
    for before in (b"", b'<doc docid="d"><seg id="1" '):
        with pytest.raises(StudyError):
            found(tmp_path, "sgm", before + piece * (1_000_000 // len(piece)) + (b">" if before else b""))


def test_a_character_reference_of_thousands_of_digits_is_left_as_it_is(tmp_path: Path) -> None:
    (one,) = found(tmp_path, "sgm", b"<doc docid=d><seg id=1>a &#" + b"9" * 5000 + b"; &#65;</seg></doc>")
    assert isinstance(one, Example) and one.input == f"a &#{'9' * 5000}; A"


def test_xml_entities_that_multiply_are_stopped(tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    text = f'<!DOCTYPE d [<!ENTITY e0 "{"lol" * 50}">{entities}]><d><doc id="a"><src lang="en">&e11;</src></doc></d>'
    with pytest.raises(StudyError, match="amplification"):
        found(tmp_path, "wmt_xml", text.encode())


def test_xml_reads_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden")
    text = f"""<!DOCTYPE d [<!ENTITY e SYSTEM "file://{tmp_path}/secret">]><d><doc id="a"><src lang="en"><seg id="1">&e;</seg></src>
<ref lang="de"><seg id="1">b</seg></ref></doc></d>"""
    try:
        message = str(found(tmp_path, "wmt_xml", text.encode()))
    except StudyError as error:
        message = str(error)
    assert "hidden" not in message


def test_xml_in_an_encoding_that_nobody_knows_is_an_error_with_its_file(tmp_path: Path) -> None:
    for name in ("klingon", "utf-7", "utf-32", "idna", "rot13"):
        with pytest.raises(StudyError, match=r"f: .*"):
            found(tmp_path, "wmt_xml", f'<?xml version="1.0" encoding="{name}"?><d></d>x'.encode())


def test_xml_between_documents_is_not_kept(tmp_path: Path) -> None:
    tracemalloc.start()
    seg = b'<doc id="b"><src lang="en"><seg id="1">A</seg></src><ref lang="de"><seg id="1">B</seg></ref></doc>'
    (one,) = found(tmp_path, "wmt_xml", b"<d>" + b"<x>some text</x>" * 60_000 + seg + b"</d>")
    assert (one.input, one.output) == ("A", "B")  # type: ignore[union-attr]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss and tracemalloc.get_traced_memory()[1] < 8_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("reader", ["sgm", "mmlu", "opentriviaqa", "tsv", "jsonl", "triviaqa"])
@pytest.mark.parametrize("encoding", ["iso2022_jp", "raw_unicode_escape"])
def test_bytes_that_an_encoding_with_states_refuses_are_rejects(tmp_path: Path, reader: str, encoding: str) -> None:
    content = b'<doc docid=d><seg id=1>a \x1b\x1c \\uZZZZ</seg></doc>\n#Q a \x1b\x1c \\uZZZZ\n^ b\tc\n{"Data": ["'
    try:
        items = found(tmp_path, reader, content, encoding=encoding)
    except StudyError as error:
        items, message = [], str(error)
    else:
        message = "row"
    assert "row" in message
    assert not [i for i in items if isinstance(i, Example) and any("\ud800" <= c <= "\udfff" for c in i.input)]


def test_an_encoding_that_cannot_say_which_bytes_are_wrong_is_refused() -> None:
    from schemas.settings.study_file import Task

    for name in ("utf-7", "idna", "punycode", "hz", "undefined", "rot13", "zlib_codec", "a\x00b", "a" * 200):
        with pytest.raises(StudyError, match="is no encoding"):
            _check(Task(name="t", family="qa", encoding=name))


# -- tokenizers, prompts -------------------------------------------------------------------------------------------------
def tokenizer(tmp_path: Path, **model) -> Path:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(TOKENIZER | {"model": TOKENIZER["model"] | model}))
    return path


def test_a_tokenizer_whose_ids_a_model_cannot_have_is_refused(tmp_path: Path) -> None:
    for vocabulary, says in (({}, "no ids at all"), ({"a": 0, "b": 4_000_000_000}, "ids up to 4000000000")):
        with pytest.raises(StudyError, match=says):
            read_tokenizer(tokenizer(tmp_path, vocab=vocabulary, merges=[]))


def test_a_tokenizer_that_knows_no_unknown_word_says_so(tmp_path: Path) -> None:
    model = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "missing"}
    text = read_tokenizer(_write(tmp_path, json.dumps(TOKENIZER | {"model": model, "pre_tokenizer": None})))
    with pytest.raises(StudyError, match="cannot encode a text"):
        encode_batch(load_tokenizer(text), ["zzz"])


def test_a_segment_whose_name_is_not_utf8_is_refused_by_a_reason_that_can_be_stored() -> None:
    """Example by libFuzzer."""
    source, reference = (b'<set><doc docid="d"><seg id="%s">words</seg></doc></set>' % name for name in (b"1\xff", b"2"))
    survives("read-sgm", source + b"\0\0" + reference)


@pytest.mark.parametrize("content", [b"[]", b"[" * 100_000, b"\xff", b"{}", b"9" * 5000, b'{"model": ' + b'{"a":' * 50_000])
def test_what_is_no_tokenizer_is_an_error_with_its_file(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(StudyError, match=r"tokenizer\.json"):
        read_tokenizer(_write(tmp_path, content))


def _write(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("row", [b"9" * 5000, b"[" * 100_000, b'{"prompt": "\\ud800 {input}"}', b'{"prompt": 1}', b"\xff"])
def test_a_file_of_prompts_that_are_none_names_its_row(tmp_path: Path, row: bytes) -> None:
    (tmp_path / "p.jsonl").write_bytes(b'{"prompt": "{input}"}\n' + row)
    with pytest.raises(StudyError, match=r"p\.jsonl"):
        read_candidates(tmp_path / "p.jsonl", TaskPrompt("", "{input}"))
    with pytest.raises(StudyError, match="cannot be read"):
        read_candidates(Path("a\0b.txt"), TaskPrompt("", "{input}"))
