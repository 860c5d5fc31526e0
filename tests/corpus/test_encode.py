"""Words and tokens are the complete documents: what is counted later is what the text contains."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import CONTRACTS, Study, StudyError
from tasks.corpus.encode import TOKENIZER, TOKENS, WORDS, plan_tokenizer
from tasks.step import keyed, run_job
from tasks.storage.store import Part, Store
from tasks.text.bpe.tokenizer import encode_batch, load_tokenizer, train
from tasks.text.words.analyzer import segment
from tests.support import read_rows, run_step, write_part

TEXTS = [f"The capital of Maron{i % 11} is Torin{i % 5}, not İzmir ½ {i}." for i in range(700)]
TEXTS += ["!!!", "漢字 \U0001f600"]  # the first of these has no word


def documents(root: Path, texts: list[str], file: str = "a.jsonl", first: int = 0) -> Part:
    """One part; the documents' ids count on from `first`."""
    count = len(texts)
    return write_part(
        root,
        "documents",
        {
            "document": list(range(count)),
            "id": [f"d{first + i}" for i in range(count)],
            "source": ["s"] * count,
            "language": [""] * count,
            "text": texts,
            "row": list(range(1, count + 1)),
        },
        {"source": "s", "file": file},
    )


def study(**tokenizer) -> Study:
    return Study.model_validate({"name": "t", "corpus": {"planted": {}}, "tokenizer": tokenizer})


def check_words(root: Path, texts: list[str]) -> None:
    tables = run_step(WORDS, study(), root, {"documents": (documents(root, texts),)})
    vocabulary = read_rows(root, tables["vocabulary"])
    names = [v["word"] for v in vocabulary]
    assert names == sorted(set(names))
    assert [v["id"] for v in vocabulary] == list(range(len(names)))
    words = [segment(t)[0] for t in texts]
    assert [[names[i] for i in row["ids"]] for row in read_rows(root, tables["words"])] == words
    assert {v["word"]: v["occurrences"] for v in vocabulary} == Counter(w for text in words for w in text)
    assert {v["word"]: v["documents"] for v in vocabulary} == Counter(w for text in words for w in set(text))


def test_words_and_their_counts_are_the_analyzers(tmp_path):
    check_words(tmp_path, TEXTS)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(st.sampled_from("aB ½é漢\U00010400\uff5e'."), min_size=1, max_size=20), max_size=12))
def test_words_and_their_counts_are_the_analyzers_for_any_text(tmp_path_factory, texts):
    check_words(tmp_path_factory.mktemp("any"), texts)


@pytest.mark.parametrize("texts", [["!!!"], ["--", "word", "?"], []])
def test_a_document_without_words_is_a_row_without_ids(tmp_path, texts):
    check_words(tmp_path, texts)
    (part,) = run_step(WORDS, study(), tmp_path, {"documents": (documents(tmp_path, texts),)})["words"]
    assert [len(row["ids"]) for row in read_rows(tmp_path, (part,))] == [int(t == "word") for t in texts]


def test_each_part_has_its_own_vocabulary_and_its_documents_labels(tmp_path):
    parts = (documents(tmp_path, ["b a"], "a.jsonl"), documents(tmp_path, ["c b"], "b.jsonl"))
    tables = run_step(WORDS, study(), tmp_path, {"documents": parts})
    assert [dict(p.labels) for p in tables["words"]] == [dict(p.labels) for p in parts]
    assert [[v["word"] for v in read_rows(tmp_path, (p,))] for p in tables["vocabulary"]] == [["a", "b"], ["b", "c"]]


def test_tokens_decode_to_the_documents(tmp_path):
    inputs = {"documents": (documents(tmp_path, TEXTS),)}
    tables = run_step(TOKENIZER, study(vocabulary=350), tmp_path, inputs)
    (row,) = read_rows(tmp_path, tables["tokenizer"])
    tokenizer = load_tokenizer(row["json"])
    assert tokenizer.token_to_id("<|endoftext|>") == row["end_of_document"]
    assert row["vocabulary_size"] == 350
    tokens = run_step(TOKENS, study(), tmp_path, inputs | {"tokenizer": tables["tokenizer"]})["tokens"]
    rows = read_rows(tmp_path, tokens)
    assert [tokenizer.decode(r["ids"], skip_special_tokens=False) for r in rows] == TEXTS
    assert all(row["end_of_document"] not in r["ids"] for r in rows)
    assert Store(str(tmp_path)).footer(tokens[0])["sums"]["tokens"] == sum(len(r["ids"]) for r in rows)


def test_a_tokenizer_that_fastokens_cannot_run_gives_the_same_tokens_and_says_so_in_the_log(tmp_path):
    parsed = json.loads(train(TEXTS, 300, "<|end|>"))
    parsed["normalizer"] = {"type": "Lowercase"}
    inputs = {"documents": (documents(tmp_path, TEXTS[:5]),)}
    (tmp_path / "lower.json").write_text(json.dumps(parsed))
    asked = study(file=str(tmp_path / "lower.json"))
    inputs |= {"tokenizer": run_step(TOKENIZER, asked, tmp_path, {})["tokenizer"]}
    (job,) = TOKENS.stages[0].plan(asked, inputs)
    result = run_job(Store(str(tmp_path)), keyed(TOKENS, 0, job), TOKENS.stages[0], CONTRACTS)
    assert result["notes"] == [
        "tokens are made by `tokenizers`, several times slower than `fastokens` would: the normalizer is Lowercase"
    ]
    (part,) = run_step(TOKENS, asked, tmp_path, inputs)["tokens"]
    assert [r["ids"] for r in read_rows(tmp_path, (part,))] == encode_batch(load_tokenizer(json.dumps(parsed)), TEXTS[:5])
    assert Store(str(tmp_path)).footer(part)["sums"]["parts_by_library"] == 1


def test_training_takes_no_more_bytes_than_asked_and_the_same_documents_each_time(tmp_path):
    found = []
    for root in (tmp_path / "one", tmp_path / "two"):
        inputs = {"documents": (documents(root, TEXTS),)}
        tables = run_step(TOKENIZER, study(vocabulary=300, training_bytes=5_000), root, inputs)
        sums = Store(str(root)).footer(tables["tokenizer"][0])["sums"]
        assert 5_000 <= sums["training_bytes"] < 5_000 + max(len(t.encode()) for t in TEXTS)
        found.append((read_rows(root, tables["tokenizer"]), sums))
    assert found[0] == found[1]
    assert 0 < found[0][1]["training_documents"] < len(TEXTS)


def test_the_tokenizer_does_not_depend_on_how_documents_are_split_over_files(tmp_path):
    found = []
    for cuts in ([0, 702], [0, 1, 300, 302, 702]):
        root = tmp_path / str(len(cuts))
        parts = tuple(documents(root, TEXTS[a:b], f"{a}.jsonl", a) for a, b in zip(cuts, cuts[1:], strict=False))
        tables = run_step(TOKENIZER, study(vocabulary=330, training_bytes=5_000), root, {"documents": parts})
        found.append((read_rows(root, tables["tokenizer"]), Store(str(root)).footer(tables["tokenizer"][0])["sums"]))
    assert found[0] == found[1]


def test_another_seed_trains_on_other_documents(tmp_path):
    texts = [f"{chr(97 + i % 26) * 6} {chr(98 + i % 19) * 5} {i}" for i in range(400)]
    inputs = {"documents": (documents(tmp_path, texts),)}
    asked, seen = study(vocabulary=300, training_bytes=1_000), set()
    for seed in (0, 1):
        tables = run_step(TOKENIZER, asked.model_copy(update={"seed": seed}), tmp_path, inputs)
        seen.add(read_rows(tmp_path, tables["tokenizer"])[0]["json"])
    assert len(seen) == 2


def test_a_given_tokenizer_gets_an_end_of_document_if_it_has_none(tmp_path):
    (tmp_path / "mine.json").write_text(train(TEXTS, 300, "<|end|>"))
    for token, size in (("<|end|>", 300), ("<|new|>", 301)):
        settings = study(file=str(tmp_path / "mine.json"), end_of_document=token)
        (row,) = read_rows(tmp_path, run_step(TOKENIZER, settings, tmp_path, {})["tokenizer"])
        assert (row["name"], row["vocabulary_size"]) == ("mine", size)
        assert load_tokenizer(row["json"]).token_to_id(token) == row["end_of_document"]


def test_a_tokenizer_that_is_not_there_is_an_error_before_anything_runs(tmp_path):
    with pytest.raises(StudyError, match="absent.json"):
        plan_tokenizer(study(file=str(tmp_path / "absent.json")), {"documents": ()})


def test_a_file_that_is_no_tokenizer_is_an_error_with_its_path(tmp_path):
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(StudyError, match="other.json"):
        run_step(TOKENIZER, study(file=str(tmp_path / "other.json")), tmp_path, {})


def test_words_parts_name_the_analyzer_that_made_them(tmp_path):
    tables = run_step(WORDS, study(), tmp_path, {"documents": (documents(tmp_path, ["a"]),)})
    footer = Store(str(tmp_path)).footer(tables["words"][0])
    assert footer["settings"] == {"analyzer": "words", "analyzer_version": 1}
