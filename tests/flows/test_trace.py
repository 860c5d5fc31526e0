"""`taskgram trace`: which example matches, and how it is shown. The whole command runs in test_cli.py."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.cli import main
from flows.commands.example_trace import describe, judged, mark, probability, show
from flows.commands.sequence_trace import show as show_sequence
from flows.commands.trace_choice import LISTED, choose, choose_sequence
from schemas import StudyError
from tasks.storage.store import Store
from tests.report import trace_world as world

KNOWN = [
    ("rivers", "1", "What is the river of Velm?"),
    ("towns", "1", "What is the town of  Velm?"),
    ("towns", "a/2", "Where is Osk?"),
]


def test_an_example_is_meant_by_id_by_task_and_id_or_by_words_of_its_input() -> None:
    assert choose(KNOWN, "a/2") == ("towns", "a/2")
    assert choose(KNOWN, "rivers/1") == ("rivers", "1")
    assert choose(KNOWN, "TOWN of velm") == ("towns", "1"), "letters' case and spaces do not matter"
    assert choose([*KNOWN, ("rivers", "9", "no 1")], "towns/1") == ("towns", "1"), "an id comes before a text"


def test_several_examples_are_listed_and_none_is_chosen() -> None:
    with pytest.raises(StudyError, match="2 examples match '1'") as error:
        choose(KNOWN, "1")
    assert "rivers/1  What is the river of Velm?" in str(error.value)
    many = [("t", str(i), "the same") for i in range(LISTED + 5)]
    with pytest.raises(StudyError, match="and 5 more"):
        choose(many, "same")
    with pytest.raises(StudyError, match="the ids look like rivers/1"):
        choose(KNOWN, "nothing")
    with pytest.raises(StudyError, match="no evaluated example"):
        choose([], "x")


def shown(root: Path, name: str) -> dict:
    return describe(Store(str(root)), world.tables(root, 12), world.study().task("capitals"), name)


def test_all_that_is_known_of_an_example(tmp_path: Path) -> None:
    found = shown(tmp_path, "e00004")
    json.dumps(found, allow_nan=False)
    pair = next(p for p in found["pairs"] if p["documents"])
    assert (pair["input_ngram"], pair["output_ngram"], pair["documents"]) == ("vandoria4", "quellin4", 4)
    assert (pair["input_documents"], pair["output_documents"], pair["log_infinity"]) == (10, 20, -3.25)
    assert math.isclose(math.exp(pair["log_probability"]), 0.4)
    assert [m["model"] for m in found["models"]] == ["tiny", "small", "large"], "smallest first"
    assert {m["model"]: m["log_probability"] for m in pair["models"]} == {"large": -9.0, "small": -8.0, "tiny": -7.0}
    assert len(pair["excerpts"]) == 2
    for e in pair["excerpts"]:
        assert e["text"][slice(*e["input"])] == "Vandoria4"
        assert e["text"][slice(*e["output"])] == "Quellin4"
    for n in found["ngrams"]:
        text = found[n["side"]]
        assert all(text[slice(*place)].casefold() == n["ngram"] for place in n["places"])


def test_what_a_terminal_shows(tmp_path: Path) -> None:
    text = show(shown(tmp_path, "e00004"), bold=False, documents=2)
    assert "input   What is the capital of «Vandoria4»?" in text
    assert "output  ‹Quellin4› of old" in text
    assert "n 1  similarity 0.930  C 4  df 10, 20  P_1 0.4  P_∞ 0.039" in text
    assert text.count("is in «Vandoria4».") == 2
    assert "1 pair in the corpus; 1 more that no document holds" in text
    assert "not shown here" in show(shown(tmp_path, "e00004"), bold=False, pairs=0)
    assert "\x1b[1;34mVandoria4\x1b[0m" in show(shown(tmp_path, "e00004"), bold=True)


def test_hostile_text_cannot_drive_the_terminal(tmp_path: Path) -> None:
    text = show(shown(tmp_path, "e00003"), bold=False)
    assert not {c for c in text if not c.isprintable()} - {"\n"}


NAMES = ["phantoms-00a1", "uniform-0001", "uniform-0002", "uniform-00f"]


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ("uniform-0001", NAMES[1]),
        ("sequences/uniform-0002", NAMES[2]),
        ("phan", ""),
        ("phantoms-", NAMES[0]),
        ("uniform-00f", NAMES[3]),
    ],
)
def test_a_sequence_is_meant_by_its_name_or_the_beginning_of_it(given: str, chosen: str) -> None:
    assert choose_sequence(NAMES, given) == chosen
    assert choose_sequence([], given) == ""


def test_several_sequences_are_listed_and_an_example_of_the_same_name_is_told_apart() -> None:
    with pytest.raises(StudyError, match=r"3 sequences begin with 'uniform-'.*\n  uniform-0001\n"):
        choose_sequence(NAMES, "uniform-")
    with pytest.raises(StudyError, match=r"write facts/uniform-0001 or sequences/uniform-0001"):
        choose_sequence(NAMES, "uniform-0001", ["facts/uniform-0001"])
    assert choose_sequence(NAMES, "sequences/uniform-0001", ["facts/uniform-0001"]) == "uniform-0001"


def window(text: str = "ab") -> dict:
    """A window of four tokens, with a hostile one, as two models see it: one gives its suffix, the other something else."""
    counts = {"occurrences": 8, "documents": 3, "suffix_occurrences": 9, "suffix_documents": 1}
    about = {
        "sequence": "planted-00a1",
        "sample": "planted",
        "group": "canary",
        "split": "member",
        "source": text,
        "document": text,
    }
    excerpt = {"source": text, "id": text, "offset": 1, "text": f"so {text} it is", "start": 3, "end": 3 + len(text)}
    scores = {"log_probabilities": [-9.0, -0.1, -12.25, -1234.5], "ranks": [1, 1, 12345, 50000], "margins": [1.0, 2.0, -3.0, -99.5]}
    models = [
        {"model": f"pythia-{n}B", "checkpoint": 143_000, "suffix_log_probability": -1246.75, "suffix_hits": hits, **scores, **more}
        for n, hits, more in (
            (
                1,
                2,
                {
                    "first_miss": None,
                    "likeliest": [],
                    "recitation": None,
                    "measures": {"strength": 0.5, "extracted": True, "kind": text},
                },
            ),
            (2, 0, {"first_miss": 0, "likeliest": ["x"] * 4, "recitation": None, "measures": {}}),
            (
                3,
                0,
                {"first_miss": 0, "likeliest": [], "recitation": {"text": text, "documents": 1}, "measures": {"strength": None}},
            ),
        )
    ]
    tokens = {"ids": [1, 2, 3, 4], "tokens": [" a", "b", text, "d"], "text": [f" a{text}", text], "prefix": 2, "offset": 7}
    return about | counts | tokens | {"cluster": 4, "near_cluster": 2, "entropy": 64.0, "excerpts": [excerpt], "models": models}


def test_a_sequence_in_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    show_sequence(window())
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "the whole window occurs 8 times, in 3 documents" in text and "2 tokens, occurs 9 times, in 1 document\n" in text
    assert "cluster 4, cluster of near copies 2" in text and "entropy of the suffix: 64.0 bits" in text
    assert "so «ab» it is" in text
    assert re.search(r"pythia-1B +143,000 +−1246.75 +2/2 +gives the suffix", text)
    assert "not “x”" in text and "from token 3" in text
    assert text.count("−1234.50 50,000  −99.5") == 3 and re.search(r"  1 ·a +−9.00 +1 +\+1.0", text), "token by token"
    assert re.search(r"strength +0.5 +–\n *extracted +yes +–\n *kind +ab +–\n", text), "no table of what no model has"
    show_sequence(window(world.HOSTILE), documents=0)
    text = capsys.readouterr().out
    assert "so " not in text and not {c for c in text if not c.isprintable()} - {"\n"}, "hostile text drives no terminal"


@given(
    st.text(max_size=30),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30))),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30))),
)
def test_marks_add_signs_and_lose_no_letter(text: str, inputs: list, outputs: list) -> None:
    plain = "".join(c if c.isprintable() else " " for c in text if c not in "«»‹›")
    text = "".join(c for c in text if c not in "«»‹›")
    assert "".join(c for c in mark(text, inputs, outputs, bold=False) if c not in "«»‹›") == plain


@given(st.floats(-5000, 0))
def test_a_probability_is_written_however_small_it_is(log: float) -> None:
    lead, _, tens = probability(log).partition("e")
    assert math.isclose(math.log(float(lead)) + float(tens or 0) * math.log(10), log, abs_tol=0.06)


def test_judged_in_words() -> None:
    def words(value: float | None, statistic: str = "accuracy") -> str:
        return judged({"value": value, "statistic": statistic, "note": "no answer"})

    assert [words(1.0), words(0.0), words(0.5), words(None)] == ["right", "wrong", "0.50, tied", "no answer"]
    assert words(41.6, "sentence_chrf") == "chrF 42"


def test_a_study_that_was_not_run_names_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "sample", "x", "--root", str(tmp_path)]) == 1
    assert f"Run: taskgram run sample --root {tmp_path}" in capsys.readouterr().err
