"""The n-grams of examples, and their positions."""

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tasks.taskgrams.extract import EXTRACT, ngrams_of, whole_answers
from tasks.text.words.analyzer import normalise, segment
from tasks.text.words.word_ngrams import stop_words
from tests.support import read_rows, run_step
from tests.taskgrams.world import examples_part, study_of, sums


def extract(tmp_path, rows, **task):
    part = examples_part(tmp_path, rows)
    tables = run_step(EXTRACT, study_of(**task), tmp_path, {"examples": (part,)})
    return read_rows(tmp_path, tables["example_ngrams"]), sums(tmp_path, tables["example_ngrams"])


@given(st.text("aB é'.-½한", max_size=24), st.integers(1, 4))
def test_every_place_of_an_ngram_holds_its_words_and_no_place_is_missed(text, n):
    words = segment(text)[0]
    found = ngrams_of(text, n)
    assert sum(len(g.starts) for g in found) == max(0, len(words) - n + 1)
    assert [g.words for g in found] == sorted({tuple(words[i : i + n]) for i in range(len(words) - n + 1)})
    for gram in found:
        for start, end in zip(gram.starts, gram.ends, strict=True):
            inside = segment(text[start:end])[0]
            # A form that decomposes (½ is "1 2") gives several words one span, so that a span may contain more words.
            assert " ".join(gram.words) in " ".join(inside)


def test_spans_index_the_text_they_are_from(tmp_path):
    texts = {"input": "Straße nach  Torin, Straße nach Velk", "output": "Der Weg: Torin!"}
    rows, _ = extract(tmp_path, [(texts["input"], texts["output"])], family="translation", orders=(2,), languages=("de", "de"))
    cut = {(r["side"], r["ngram"]): [texts[r["side"]][s:e] for s, e in zip(r["starts"], r["ends"], strict=True)] for r in rows}
    assert cut["input", "strasse nach"] == ["Straße nach", "Straße nach"]
    assert cut["input", "nach torin"] == ["nach  Torin"]
    assert cut["input", "torin strasse"] == ["Torin, Straße"]
    assert cut["output", "weg torin"] == ["Weg: Torin"]


def test_a_whole_answer_stands_under_every_order_and_is_never_dropped(tmp_path):
    rows, _ = extract(tmp_path, [("Who sang it in Velk?", "The Who")], family="qa", orders=(1, 3))
    outputs = [(r["order"], r["ngram"], r["length"], r["starts"], r["ends"]) for r in rows if r["side"] == "output"]
    assert outputs == [(1, "the who", 2, [0], [7]), (3, "the who", 2, [0], [7])]


def test_aliases_are_mined_from_but_not_evaluated_on(tmp_path):
    example = ("Where is Velk?", "Torin!", ["Old Torin", "torin", "?"])
    rows, _ = extract(tmp_path, [("mine", *example), ("evaluate", *example)], family="qa", orders=(2,))
    outputs = {s: [r["ngram"] for r in rows if r["split"] == s and r["side"] == "output"] for s in ("mine", "evaluate")}
    assert outputs == {"mine": ["old torin", "torin"], "evaluate": ["torin"]}
    assert all((r["starts"], r["ends"]) == ([0], [5]) for r in rows if r["side"] == "output")
    assert [g.words for g in whole_answers("…", ["old torin"])] == [("old", "torin")]


def test_ngrams_of_nothing_but_stop_words_are_dropped_unless_the_study_keeps_them(tmp_path):
    example = [("the capital of the land is Velk", "it is of the best")]
    task = dict(family="math", orders=(2,))
    dropped, counted = extract(tmp_path, example, **task)
    kept, none = extract(tmp_path, example, **task, stop_words="none")
    gone = {(r["side"], r["ngram"]) for r in kept} - {(r["side"], r["ngram"]) for r in dropped}
    assert gone == {("input", "of the"), ("output", "it is"), ("output", "is of"), ("output", "of the")}
    assert (counted["stopword_ngrams"], none["stopword_ngrams"]) == (4, 0)


def test_a_place_of_an_ngram_with_holes_reaches_over_what_was_deleted(tmp_path):
    text = "The capital of the Land, the capital of a land!"
    rows, _ = extract(tmp_path, [(text, "Velk is it")], family="math", orders=(2, 3), stop_words="authors")
    cut = {r["ngram"]: [text[s:e] for s, e in zip(r["starts"], r["ends"], strict=True)] for r in rows if r["side"] == "input"}
    assert cut == {
        "capital land": ["capital of the Land", "capital of a land"],
        "land capital": ["Land, the capital"],
        "capital land capital": ["capital of the Land, the capital"],
        "land capital land": ["Land, the capital of a land"],
    }
    assert not [r for r in rows if r["side"] == "output"], "one word is left of the output"


texts = st.text("aB é'.-½한 ofthe", max_size=30)


@given(texts, st.integers(1, 5), st.sampled_from(["none", "drop_all_stopword_ngrams", "authors"]))
@hypothesis_settings(max_examples=300, deadline=None)
def test_the_surface_of_every_place_normalises_to_the_ngram(text, n, policy):
    deleted = stop_words("en") if policy == "authors" and n <= 3 else frozenset()
    for gram in ngrams_of(text, n, policy, "en"):
        for start, end in zip(gram.starts, gram.ends, strict=True):
            surface = " ".join(w for w in normalise(text[start:end]).split(" ") if w not in deleted)
            # A form that decomposes (½ is "1 2") gives several words one span, so that a span may contain more words.
            assert surface == " ".join(gram.words) or ("½" in text[start:end] and " ".join(gram.words) in surface)


def test_outputs_shorter_than_n_words_are_excluded_and_counted(tmp_path):
    rows, counted = extract(
        tmp_path,
        [("red green blue", "rot"), ("red green", "rot grün")],
        family="translation",
        orders=(1, 2, 3),
        languages=("en", "de"),
    )
    assert {(r["order"], r["ngram"]) for r in rows if r["side"] == "output"} == {(1, "rot"), (1, "grün"), (2, "rot grün")}
    assert counted["outputs_shorter_than_n"] == 3
    assert (counted["outputs_shorter_than_n2"], counted["outputs_shorter_than_n3"]) == (1, 2)


def test_a_rationale_ends_before_its_last_line(tmp_path):
    rows, _ = extract(tmp_path, [("How many apples?", "She has 12 apples.\n#### 77")], family="math", orders=(1,))
    assert {r["ngram"] for r in rows if r["side"] == "output"} >= {"12", "apples"}
    assert "77" not in {r["ngram"] for r in rows}


def test_settings_that_do_not_matter_do_not_change_the_key():
    def plan(**task):
        return EXTRACT.stages[0].plan(study_of(**task), {"examples": ()})

    assert plan(lowest_gamma=0.1) == plan(gamma_default=0.9) == plan(orders=(3, 2, 1))
    assert plan(orders=(1,)) != plan(orders=(1, 2))
