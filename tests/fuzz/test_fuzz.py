"""Whatever a user provides ends in a result, in rejects that are counted, or in an error message: never a traceback or a hang."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import FRAGMENTS, TARGETS, seeds_of, survives

few = settings(
    max_examples=int(os.environ.get("TASKGRAM_FUZZ", 40)),
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.mark.parametrize("target", TARGETS)
def test_the_good_files_are_good(target: str) -> None:
    """Otherwise the fuzzers would reach nothing after the first check."""
    for content in seeds_of(target):
        result = TARGETS[target](content)
        assert result or not target.startswith("read-"), f"{target}: no example in {content!r}"


@st.composite
def near_good(draw: st.DrawFn, target: str) -> bytes:
    """A good file with pieces cut out, put in, doubled; or bytes of any kind."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=400))
    content = draw(st.sampled_from(seeds_of(target)))
    for _ in range(draw(st.integers(1, 5))):
        at, cut = draw(st.integers(0, len(content))), draw(st.integers(0, 12))
        piece = draw(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=8), st.just(content[at : at + 40])))
        content = content[:at] + piece + content[at + cut :]
    return content


@pytest.mark.parametrize("target", TARGETS)
def test_no_file_ends_in_a_traceback_or_a_hang(target: str) -> None:
    @few
    @given(near_good(target))
    @example(b"")
    @example(b"\xef\xbb\xbf")
    def case(content: bytes) -> None:
        survives(target, content)

    case()


@few
@given(
    st.sampled_from([t for t in TARGETS if t.startswith("read-")]),
    st.data(),
    st.sampled_from(["latin-1", "cp1252", "utf-8-sig", "shift_jis", "gb18030", "iso2022_jp", "raw_unicode_escape"]),
    st.sampled_from(["qa", "multiple_choice", "math"]),
)
def test_no_encoding_and_no_family_ends_in_a_traceback(target: str, data: st.DataObject, encoding: str, family: str) -> None:
    survives(target, data.draw(near_good(target)), encoding=encoding, family=family)


FIELDS = st.dictionaries(
    st.sampled_from(["input", "output", "aliases", "options", "answer", "labels", "id", "group"]),
    st.sampled_from(["a", "a.b", "b", "c", "a.b.c", ""]),
    min_size=2,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


@few
@given(st.dictionaries(st.sampled_from("abc"), JSON), FIELDS)
def test_no_record_and_no_fields_end_in_a_traceback(record: dict, fields: dict[str, str]) -> None:
    import json

    survives("read-jsonl", json.dumps(record).encode(), fields={"input": "a"} | fields)
