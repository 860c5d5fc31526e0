"""Wrong input is an error with place and remedy; unusual input has one meaning, for every way to count.

|                               | count        | query          | infinigram    | index and scan        | `taskgram count`         |
|-------------------------------|--------------|----------------|---------------|-----------------------|--------------------------|
| id beyond the vocabulary      | error        | error          | error         | error                 | its step stops before    |
| another tokenizer or analyzer | error        | error          | error         | error                 | its words are not there  |
| longer than any document      | no n-grams   | 0              | backs off     | 0                     | 0                        |
| empty                         | no orders    | error          | no examples   | error                 | error                    |
| separator inside              | –            | error          | does not occur| error; token: 0       | separates words          |
| twice                         | –            | answered twice | answered twice| answered twice        | answered twice           |
| pair of one n-gram            | –            | its documents  | –             | its documents         | its documents            |
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from schemas import CONTRACTS, StudyError
from tasks.ngrams.count.count import COUNT
from tasks.ngrams.index import INDEX, CorpusLookup, Index, Scan
from tasks.ngrams.infinigram import INFINIGRAM
from tasks.ngrams.query.query import QUERY
from tasks.ngrams.query.scan import PairQueries, PartCounter, encode
from tasks.step import Step, Work, keyed
from tasks.storage.store import Part, Store
from tasks.text.words.analyzer import analyzer
from tests.flows import test_count
from tests.flows.test_count import asked
from tests.ngrams.corpus import make_study, write_corpus
from tests.ngrams.test_infinigram import write_inputs
from tests.ngrams.test_query import counts, run, write_tasks
from tests.studies import REPOSITORY, TASKGRAM, taskgram
from tests.support import read_rows, run_step, write_part

Tables = dict[str, tuple[Part, ...]]
DOCUMENTS = [["ape", "zoo"], ["ape"], ["zoo", "ape", "zoo"]]
SEPARATED = [
    "ape,zoo",
    "ape, zoo",
    "ape. zoo",
    "ape;zoo",
    "ape\nzoo",
    "ape\tzoo",
    "ape  zoo",
    " ape",
    "ape\x00zoo",
    "ape\u2028zoo",
    "ape\u00a0zoo",
    "<|endoftext|>",
    "Ape",
    "'ape'",
    "ape.",
]


def tables_of(unit: str, root: Path) -> Tables:
    """What steps over words, or over tokens, read. Token 4 ends documents; there are six."""
    if unit == "words":
        return write_corpus(root, DOCUMENTS) | write_tasks(root, [("ape", "zoo")]) | {"tokens": (), "tokenizer": ()}
    return write_inputs(root, ["abc", "ab"], [("a", "", "b")], 1) | {"words": (), "vocabulary": ()}


def take(step: Step, unit: str, root: Path, tables: Tables) -> Tables:
    return run_step(step, make_study(counting={"index": True, "unit": unit, "all_orders": [1, 2]}), root, tables)


def elsewhere(root: Path, part: Part, footer: Mapping[str, object]) -> tuple[Part, ...]:
    """A part with the rows of another, whose footer tells of another origin."""
    store, contract = Store(str(root)), CONTRACTS[part.table]
    with store.writing({part.table: contract}, "elsewhere", {"sums": {}, **footer}) as out:
        out.write(part.table, store.read([part], contract.schema))
    return (Part(part.table, "elsewhere", part.labels),)


WAYS = [("words", COUNT), ("words", QUERY), ("words", INDEX), ("tokens", COUNT), ("tokens", INFINIGRAM), ("tokens", INDEX)]
every_way = pytest.mark.parametrize(("unit", "step"), WAYS, ids=lambda value: value if isinstance(value, str) else value.name)


# -- an id beyond the vocabulary ---------------------------------------------------------------------------------------
@every_way
@pytest.mark.parametrize("wrong", [99, -1])
def test_an_id_beyond_the_vocabulary_is_an_error_with_part_and_row(tmp_path: Path, unit: str, step: Step, wrong: int) -> None:
    tables = tables_of(unit, tmp_path)
    rows = {"document": [0, 1, 2], "ids": [[0, 1], [], [1, wrong, 0]]}
    tables[unit] = (write_part(tmp_path, unit, rows, tables[unit][0].labels),)
    with pytest.raises(StudyError, match=rf"{unit}-.*\.parquet: row 2: id {wrong} is not .*run the study again"):
        take(step, unit, tmp_path, tables)


# -- another tokenizer, another analyzer -------------------------------------------------------------------------------
@every_way
def test_parts_of_another_tokenizer_or_analyzer_are_an_error_that_names_both(tmp_path: Path, unit: str, step: Step) -> None:
    tables = tables_of(unit, tmp_path)
    other = {"settings": analyzer() | {"analyzer_version": 0}} if unit == "words" else {"inputs": {"tokenizer": ["another"]}}
    tables[unit] = elsewhere(tmp_path, tables[unit][0], other)
    made_with = "analysed with {'analyzer_version': 0}" if unit == "words" else "made with the tokenizer another"
    with pytest.raises(StudyError, match=rf"{unit}/parts/elsewhere\.parquet: {re.escape(made_with)}, .*Run the study again"):
        take(step, unit, tmp_path, tables)


@every_way
def test_parts_of_the_same_tokenizer_and_analyzer_are_read(tmp_path: Path, unit: str, step: Step) -> None:
    tables = tables_of(unit, tmp_path)
    same = {"settings": analyzer()} if unit == "words" else {"inputs": {"tokenizer": [tables["tokenizer"][0].key]}}
    tables[unit] = elsewhere(tmp_path, tables[unit][0], same)
    assert all(take(step, unit, tmp_path, tables)[contract.name] for contract in step.writes if contract.name.endswith("counts"))


# -- questions to a corpus ---------------------------------------------------------------------------------------------
@pytest.fixture(params=["index", "scan"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> CorpusLookup:
    tables, store = tables_of("words", tmp_path), Store(str(tmp_path))
    if request.param == "scan":
        return Scan.of_words(store, tables["words"], tables["vocabulary"])
    return Index.of_words(store, take(INDEX, "words", tmp_path, tables)["ngram_index"], tables["vocabulary"])


@pytest.fixture
def tokens(tmp_path: Path) -> Index:
    made = take(INDEX, "tokens", tmp_path, tables_of("tokens", tmp_path))
    return Index.of_tokens(Store(str(tmp_path)), made["token_index"], 6)


def counter(root: Path, ngrams: list[str]) -> PartCounter:
    """What the query step counts with, over the documents above."""
    tables, stage = tables_of("words", root), QUERY.stages[0]
    (job,) = stage.plan(make_study(), {t: tables.get(t, ()) for t in QUERY.reads})
    return PartCounter(
        Work(Store(str(root)), keyed(QUERY, 0, job), stage, CONTRACTS), tables["words"][0], tables["vocabulary"][0], ngrams
    )


def test_an_ngram_longer_than_any_document_does_not_occur(tmp_path: Path, corpus: CorpusLookup, tokens: Index) -> None:
    long = " ".join(["zoo", "ape"] * 20)
    assert corpus.ask([long, "ape"]).together == 0
    assert corpus.ask([long]).counted[0].occurrences == 0
    assert tokens.ask([[0, 1, 2] * 9]).counted[0].occurrences == 0
    found = tuple(v.item() for v in tokens.infinigrams([[0] * 51 + [1]]))
    assert found == (1, 2, 2, 1, 2, 2), "the longest suffix that is there decides"
    assert counts(run(tmp_path / "query", DOCUMENTS, [(long, "zoo")])) == {(long, "zoo"): 0}
    tables = tables_of("words", tmp_path / "count")
    study = make_study(counting={"all_orders": [16], "min_count": 1})
    assert read_rows(tmp_path / "count", run_step(COUNT, study, tmp_path / "count", tables)["ngram_counts"]) == []


def test_an_empty_query_is_an_error(tmp_path: Path, corpus: CorpusLookup, tokens: Index) -> None:
    with pytest.raises(StudyError, match="n-gram 2 is empty; give at least one word"):
        corpus.ask(["ape", ""])
    with pytest.raises(StudyError, match="give at least one n-gram"):
        corpus.ask([])
    with pytest.raises(StudyError, match="n-gram 1 is empty"):
        tokens.counts([[], [0]])
    with pytest.raises(StudyError, match="the n-gram '' is not normalised words"):
        counter(tmp_path / "query", ["ape", ""])


@pytest.mark.parametrize("wrong", SEPARATED)
def test_a_separator_inside_an_ngram_of_words_is_an_error_that_shows_it(tmp_path: Path, corpus: CorpusLookup, wrong: str) -> None:
    with pytest.raises(StudyError, match=re.escape(f"{wrong!r}: not normalised words with one space between")):
        corpus.ask([wrong])
    with pytest.raises(StudyError, match=re.escape(f"the n-gram {wrong!r} is not normalised words with one space between")):
        encode(pa.array(["ape", wrong], pa.large_string()), pa.array(["ape", "zoo"], pa.large_string()))


def test_what_separates_nothing_inside_a_word_is_no_error(corpus: CorpusLookup) -> None:
    words = ["o'clock", "3.14", "1,000", "é", "漢", "straße"]
    assert [corpus.ask([word]).counted[0].occurrences for word in words] == [0] * len(words)
    ids, _, _ = encode(pa.array(words, pa.large_string()), pa.array(words, pa.large_string()))
    assert ids.tolist() == list(range(len(words)))


def test_the_token_that_separates_documents_is_in_none(tmp_path: Path, tokens: Index) -> None:
    assert tokens.counts([[4], [2, 4, 0], [1, 4]]).tolist() == [0, 0, 0]
    tables = write_inputs(tmp_path / "i", ["abc", "ab"], [("abc", "", "a")], 1)
    study = make_study()
    (row,) = read_rows(tmp_path / "i", run_step(INFINIGRAM, study, tmp_path / "i", tables)["infinigram"])
    assert (row["suffix"], row["denominator"]) == (0, 5), "abc ends a document: nothing follows it, in no other document either"


def test_queries_and_pairs_may_repeat_themselves(tmp_path: Path, corpus: CorpusLookup) -> None:
    twice = corpus.ask(["zoo", "ape", "zoo"], 9)
    assert twice.counted[0] == twice.counted[2] and twice.counted[0].occurrences == 3
    pair = corpus.ask(["zoo", "zoo"], 9)
    assert pair.together == len(pair.places) == 2
    found = counter(tmp_path / "query", ["zoo", "ape", "zoo"]).count(PairQueries(np.array([[0, 1], [2, 1], [0, 0], [0, 2]])))
    assert found.occurrences.tolist() == [3, 3, 3]
    assert found.pairs.tolist() == [2, 2, 2, 2], "a pair of one n-gram with itself is in every document that contains it"
    assert counts(run(tmp_path / "step", DOCUMENTS, [("zoo", "zoo"), ("ape", "zoo")])) == {("zoo", "zoo"): 2, ("ape", "zoo"): 2}


def test_an_example_asked_twice_is_answered_twice(tmp_path: Path) -> None:
    tables = write_inputs(tmp_path, ["abc", "ab"], [("a", "", "b"), ("a", "", "b")], 1)
    one, two = read_rows(tmp_path, run_step(INFINIGRAM, make_study(), tmp_path, tables)["infinigram"])
    assert {k: v for k, v in one.items() if k != "example"} == {k: v for k, v in two.items() if k != "example"}


# -- the command line --------------------------------------------------------------------------------------------------
studies = test_count.folder  # its fixture: a study of five documents, with an index and without
LONG = " ".join(["velm"] * 400)


@pytest.mark.parametrize("study", ["indexed", "scanned"])
@pytest.mark.parametrize(
    ("phrases", "normalised", "occurrences", "together"),
    [
        ([LONG], [LONG], [0], 0),
        (["Velm, is"], ["velm is"], [2], 1),
        (["Torin. It"], ["torin it"], [1], 1),
        (["river\nof\tVelm"], ["river of velm"], [2], 1),
        (["<|endoftext|>", "velm"], ["endoftext", "velm"], [0, 4], 0),
        (["Velm", "velm", "VELM"], ["velm"] * 3, [4] * 3, 3),
    ],
    ids=["longer than any document", "comma", "full stop", "newline", "end of document", "thrice"],
)
def test_odd_phrases_have_one_meaning(
    studies: Path, study: str, phrases: list[str], normalised: list[str], occurrences: list[int], together: int
) -> None:
    found = asked(studies, study, *phrases)
    assert [p["phrase"] for p in found["phrases"]] == normalised
    assert [p["occurrences"] for p in found["phrases"]] == occurrences
    assert found["documents_with_all"] == together


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["{study}", ""], '"" has no word', 1),
        (["{study}", "velm", " \n"], "has no word: a word has a letter, a mark or a number", 1),
        (["{study}"], "the following arguments are required: PHRASE", 2),
        (["{study}", "velm", "--documents", "many"], "invalid int value: 'many'", 2),
        (["{folder}/none.toml", "velm"], "no such study file", 1),
        (["{study}", "velm", "--root", "{study}"], "cannot be used: ", 1),
        (["{study}", "velm", "--root", "{folder}/empty"], "Run: taskgram run", 1),
    ],
)
def test_wrong_words_end_in_one_line_without_a_traceback(studies: Path, words: list[str], message: str, code: int) -> None:
    given = [w.format(study=studies / "indexed.toml", folder=studies) for w in words]
    root = studies / "root"
    if "--root" in given:
        at = given.index("--root")
        root, given = Path(given[at + 1]), given[:at]
    printed = taskgram("count", *given, root=root, code=code)
    assert message in printed and "Traceback" not in printed and "internal error" not in printed


def test_words_of_another_analyzer_are_not_up_to_date(studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.text.words.analyzer.ANALYZER_VERSION", 0)
    with pytest.raises(StudyError, match=r"the words of indexed are not up to date\. Run: taskgram run"):
        asked(studies, "indexed", "velm")


def test_a_terminal_without_the_characters_and_an_argument_without_text_are_no_defect(studies: Path) -> None:
    phrase = b"velm \xff \xe2\x80\xa6"
    words = [*TASKGRAM, "count", str(studies / "scanned.toml"), phrase, "--json", "--root", str(studies / "root")]
    for encoding in ("ascii", "utf-8"):
        environment = os.environ | {"PYTHONIOENCODING": encoding}
        printed = subprocess.run(words, capture_output=True, timeout=300, cwd=REPOSITORY, env=environment)
        assert printed.returncode == 0, printed.stderr
        assert json.loads(printed.stdout.decode(encoding))["phrases"][0]["phrase"] == "velm"
