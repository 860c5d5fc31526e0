"""`novelty`: which n-grams and aligned pairs of a generation are absent from the corpus, against brute force."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import CONTRACTS
from tasks.ngrams import novelty_scan
from tasks.ngrams.novelty_scan import NOVELTY, with_beginnings
from tasks.step import keyed, run_job
from tasks.storage.store import Part, Store
from tasks.text.encoders import ngram_encoders
from tests.ngrams.corpus import documents_with, make_study, write_corpus
from tests.support import read_rows, run_step, write_part

INPUTS = ["ape", "bat", "cow"]
OUTPUTS = ["uno", "dos", "tres"]
TASK: dict[str, Any] = {"name": "t", "family": "translation", "orders": [1, 2], "languages": ["x", "y"], "lowest_gamma": 0.3}
spoken = st.lists(st.sampled_from([*INPUTS, *OUTPUTS]), max_size=6)


def study_of(**task):
    return make_study(tasks=[TASK | task], counting={"novelty_orders": [1, 2, 3], "stop_words": "none"})


def write_tasks(root, examples, models, stopped="stop string"):
    """`examples`: (input, reference) words; `models`: name → generated words of each example. Every word is mined once."""
    mined = list(zip(INPUTS, OUTPUTS, strict=True))
    rows = [("evaluate", f"e{i}", " ".join(x), " ".join(y)) for i, (x, y) in enumerate(examples)]
    rows += [("mine", f"m{i}", x, y) for i, (x, y) in enumerate(mined)]
    grams = sorted(
        {(f"e{i}", n, tuple(x[j : j + n])) for i, (x, _) in enumerate(examples) for n in (1, 2) for j in range(len(x) - n + 1)},
        key=lambda g: (g[0], g[1], " ".join(g[2])),
    )
    n, m = len(rows), len(grams)
    texts = {
        "split": [r[0] for r in rows],
        "example": [r[1] for r in rows],
        "input": [r[2] for r in rows],
        "output": [r[3] for r in rows],
    }
    return {
        "examples": (
            write_part(
                root,
                "examples",
                texts
                | {
                    "task": ["t"] * n,
                    "row": list(range(1, n + 1)),
                    "group": [""] * n,
                    "prompt": ["?"] * n,
                    "separator": [""] * n,
                    "aliases": [[]] * n,
                    "options": [[]] * n,
                    "answer": [-1] * n,
                    "sha256": [""] * n,
                },
                {"task": "t"},
            ),
        ),
        "example_ngrams": (
            write_part(
                root,
                "example_ngrams",
                {
                    "task": ["t"] * m,
                    "split": ["evaluate"] * m,
                    "example": [g[0] for g in grams],
                    "side": ["input"] * m,
                    "order": [g[1] for g in grams],
                    "ngram": [" ".join(g[2]) for g in grams],
                    "length": [g[1] for g in grams],
                    "starts": [[0]] * m,
                    "ends": [[1]] * m,
                },
                {"task": "t"},
            ),
        ),
        "generations": tuple(
            write_part(
                root,
                "generations",
                {
                    "model": [name] * len(generated),
                    "checkpoint": [7] * len(generated),
                    "task": ["t"] * len(generated),
                    "example": [f"e{i}" for i in range(len(generated))],
                    "text": [" ".join(w) for w in generated],
                    "tokens": [[]] * len(generated),
                    "stopped": [stopped] * len(generated),
                },
                {"model": name, "checkpoint": "7", "task": "t"},
            )
            for name, generated in models.items()
        ),
    }


def grams_of(words, n):
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def aligned(study, source, target):
    """Pairs of two texts' n-grams (words as tuples) above the lowest γ, neither inside the other."""
    mine, found = list(zip(INPUTS, OUTPUTS, strict=True)), set()
    for n in TASK["orders"]:
        xs = sorted(" ".join(g) for g in grams_of(source, n))
        ys = sorted(" ".join(g) for g in grams_of(target, n))
        if study.tasks[0].whole_answer:
            ys = [" ".join(target)] if target else []
        if xs and ys:
            options = ngram_encoders.encoder_settings(study.encoder)
            fitted = ngram_encoders.fit(options, mine)
            cosines = fitted.encode("input", xs) @ fitted.encode("output", ys).T
            found |= {
                (n, xs[i], ys[j])
                for i, j in np.argwhere(cosines > TASK["lowest_gamma"])
                if f" {xs[i]} " not in f" {ys[j]} " and f" {ys[j]} " not in f" {xs[i]} "
            }
    return found


@settings(max_examples=8, deadline=None)
@given(
    st.lists(spoken, max_size=6),
    st.lists(st.tuples(spoken.filter(bool), spoken.filter(bool), spoken, spoken), min_size=1, max_size=3),
    st.integers(1, 3),
    st.sampled_from(["whole", "ngrams"]),
)
def test_novel_is_what_no_document_contains(documents, examples, parts, answer):
    study = study_of(answer=answer)
    generated = {"reference": [e[1] for e in examples], "a": [e[2] for e in examples], "b": [e[3] for e in examples]}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tasks = write_tasks(root, [e[:2] for e in examples], {name: generated[name] for name in ("a", "b")})
        tables = run_step(NOVELTY, study, root, write_corpus(root, documents or [[]], parts) | tasks)
        rows = read_rows(root, tables["generation_counts"])
    expected = {}
    for model, texts in generated.items():
        for i, words in enumerate(texts):
            of = (model, -1 if model == "reference" else 7, "t", f"e{i}")
            for n in (1, 2, 3):
                every = grams_of(words, n)
                expected[*of, "ngram", n] = (len(every), sum(not documents_with(documents, g) for g in every))
            pairs = aligned(study, examples[i][0], words)
            for n in TASK["orders"]:
                own = [(x.split(), y.split()) for m, x, y in pairs if m == n]
                expected[*of, "pair", n] = (len(own), sum(not documents_with(documents, x, y) for x, y in own))
    found = {tuple(list(r.values())[:6]): (r["total"], r["novel"]) for r in rows}
    assert {key: value for key, value in found.items() if value[0]} == {k: v for k, v in expected.items() if v[0]}
    assert all(value == (0, 0) for key, value in found.items() if not expected[key][0])


def test_the_encoder_aligns_what_was_mined_so_that_pairs_are_really_tested():
    pairs = aligned(study_of(), ["ape"], ["uno", "dos"])
    assert (1, "ape", "uno") in pairs
    assert (1, "ape", "dos") not in pairs


def test_a_task_s_encoder_is_learnt_once_and_is_never_another_task_s(tmp_path, monkeypatch):
    """Two models of one task, then a task with other mining examples, then the first task again."""
    learnt = []
    monkeypatch.setattr(
        ngram_encoders, "fit", lambda options, mine, fit=ngram_encoders.fit: learnt.append(mine) or fit(options, mine)
    )
    monkeypatch.setattr(novelty_scan, "_fitted", {})
    one = write_corpus(tmp_path, [["ape"]]) | write_tasks(tmp_path, [(["ape"], ["uno"])], {"a": [["uno", "tres"]], "b": [["tres"]]})
    rows = read_rows(tmp_path, one["examples"])
    mined = dict(zip(OUTPUTS, reversed(OUTPUTS), strict=True))
    rows = [r | ({"output": mined[r["output"]]} if r["split"] == "mine" else {}) for r in rows]
    swapped = {name: [r[name] for r in rows] for name in rows[0]}
    other = one | {"examples": (write_part(tmp_path, "examples", swapped, {"task": "t", "of": "another root"}),)}

    def asked(inputs):
        found = read_rows(tmp_path, run_step(NOVELTY, study_of(), tmp_path, inputs)["generation_queries"])
        return {(r["model"], r["input_ngram"], r["output_ngram"]) for r in found if r["kind"] == "pair"}

    assert asked(one) == asked(one) == {("reference", "ape", "uno"), ("a", "ape", "uno")}
    assert len(learnt) == 1
    assert asked(other) == {("a", "ape", "tres"), ("b", "ape", "tres")}
    assert asked(one) == {("reference", "ape", "uno"), ("a", "ape", "uno")}
    assert len(learnt) == 3


def test_a_new_model_asks_for_itself_and_the_corpus_is_scanned_once_for_all(tmp_path):
    """What was asked of the others stays written; each part of the corpus is read once, however many models there are."""
    corpus = write_corpus(tmp_path, [["ape"], ["uno"]], 2)
    examples = [(["ape"], ["uno"])]

    def keys(models):
        tables = run_step(NOVELTY, study_of(), tmp_path, corpus | write_tasks(tmp_path, examples, models))
        return [{keyed(NOVELTY, n, job).key for job in stage.plan(study_of(), tables)} for n, stage in enumerate(NOVELTY.stages)]

    before, after = keys({"a": [["uno"]]}), keys({"a": [["uno"]], "b": [["dos"]]})
    assert before[1] < after[1]
    assert len(after[1] - before[1]) == 1
    assert [len(stage) for stage in after[2:]] == [len(stage) for stage in before[2:]] == [1, 2, 1]


def test_little_memory_asks_some_at_a_time_and_finds_the_same(tmp_path):
    """The part is then read more than once."""
    tables = write_corpus(tmp_path, [["ape", "uno", "dos"], ["tres", "bat"]]) | write_tasks(
        tmp_path, [(["ape", "bat"], ["uno", "dos"])], {"a": [["uno", "dos", "tres", "ape", "bat", "cow"]]}
    )
    made = run_step(NOVELTY, study_of(), tmp_path, tables)
    (job,) = NOVELTY.stages[3].plan(study_of(), made)
    planned = keyed(NOVELTY, 3, job)
    wide = [read_rows(tmp_path, (part,)) for part in planned.parts(NOVELTY.stages[3])]
    store = Store(str(tmp_path))
    for memory in (120, 600):
        result = run_job(store, keyed(NOVELTY, 3, replace(job, memory=memory)), NOVELTY.stages[3], CONTRACTS)
        assert result["passes"] > 1
        assert [read_rows(tmp_path, (part,)) for part in planned.parts(NOVELTY.stages[3])] == wide
    assert all(rows for rows in wide)


def held_out(root, texts):
    """held_out_documents: (language, words)."""
    n = len(texts)
    return {
        "held_out_documents": (
            write_part(
                root,
                "held_out_documents",
                {
                    "document": list(range(n)),
                    "id": [f"h{i}" for i in range(n)],
                    "source": ["s"] * n,
                    "language": [language for language, _ in texts],
                    "words": [len(words) for _, words in texts],
                    "text": [" ".join(words) for _, words in texts],
                },
            ),
        )
    }


def test_held_out_text_is_cut_to_the_references_and_counted_as_they_are(tmp_path):
    """In the language of the outputs; a reference that no held-out document is as long as has no counterpart."""
    documents = [["ape", "bat"], ["uno", "dos"]]
    examples = [(["ape"], ["uno", "dos"]), (["bat"], ["dos"]), (["cow"], ["uno"] * 9)]
    texts = [("x", ["ape", "bat", "cow"]), ("y", ["uno", "dos", "tres", "dos"])]
    inputs = write_corpus(tmp_path, documents) | write_tasks(tmp_path, examples, {"a": [["uno"]] * 3}) | held_out(tmp_path, texts)
    made = run_step(NOVELTY, study_of(), tmp_path, inputs)
    asked = [r for r in read_rows(tmp_path, made["generation_queries"]) if r["model"] == "held_out"]
    for example, length in (("e0", 2), ("e1", 1)):
        own = [r["output_ngram"] for r in asked if r["example"] == example and r["order"] == length]
        assert len(own) == 1
        assert own[0] in " ".join(texts[1][1])
    assert {r["example"] for r in asked} == {"e0", "e1"}
    assert all(r["kind"] == "ngram" for r in asked)
    counts = {
        (r["example"], r["order"]): (r["total"], r["novel"])
        for r in read_rows(tmp_path, made["generation_counts"])
        if r["model"] == "held_out"
    }
    for (example, order), (total, novel) in counts.items():
        own = [r["output_ngram"].split() for r in asked if r["example"] == example and r["order"] == order]
        assert (total, novel) == (len(own), sum(not documents_with(documents, g) for g in own))


def test_the_last_word_of_a_generation_that_was_cut_off_is_not_new(tmp_path):
    """ "to" is how far "tores" came; "uno to" would be a new 2-gram, and a new pair, for the same reason."""
    documents, generated = [["uno", "dos", "ape"]], [["uno", "dos", "to"], ["to"], []]
    examples = [(["ape"], ["uno"])] * 3
    for stopped, total, novel in (("length", {1: 2, 2: 1, 3: 0}, 0), ("stop string", {1: 4, 2: 2, 3: 1}, 4)):
        (tmp_path / stopped).mkdir()
        inputs = write_corpus(tmp_path / stopped, documents) | write_tasks(tmp_path / stopped, examples, {"a": generated}, stopped)
        made = run_step(NOVELTY, study_of(), tmp_path / stopped, inputs)
        rows = [r for r in read_rows(tmp_path / stopped, made["generation_counts"]) if r["model"] == "a" and r["kind"] == "ngram"]
        assert {n: sum(r["total"] for r in rows if r["order"] == n) for n in (1, 2, 3)} == total
        assert sum(r["novel"] for r in rows) == novel
        asked = read_rows(tmp_path / stopped, made["generation_queries"])
        assert any("to" in r["output_ngram"].split() for r in asked) == (stopped != "length")
    assert ngram_encoders.generated_words("math", "so 2\n#### 1", "length") == (["so", "2"], 0), "what follows #### is no text"
    assert ngram_encoders.generated_words("qa", "", "length") == ([], 0)


def test_held_out_documents_that_the_corpus_contains_are_left_out(tmp_path):
    """Word for word; one that begins like a document, or that a document contains, is not the same. Parts number words apart."""
    documents = [["ape"], ["uno", "dos"], ["dos"], ["tres", "uno", "dos"], ["dos", "uno"]]
    texts = [("y", t) for t in (["uno", "dos"], ["uno"], ["dos", "uno"], ["uno", "dos", "tres"], ["dos", "new"], ["uno", "dos"])]
    examples = [(["ape"], ["uno", "dos"]), (["bat"], ["dos"])]
    inputs = (
        write_corpus(tmp_path, documents, 3) | write_tasks(tmp_path, examples, {"a": [["uno"]] * 2}) | held_out(tmp_path, texts)
    )
    made = run_step(NOVELTY, study_of(), tmp_path, inputs)
    found = {r["number"] for r in read_rows(tmp_path, made["held_out_repeats"])}
    assert found == {i for i, (_, words) in enumerate(texts) if words in documents} == {0, 2, 5}
    asked = {r["output_ngram"] for r in read_rows(tmp_path, made["generation_queries"]) if r["model"] == "held_out"}
    assert asked <= {"uno", "dos", "tres", "new", "uno dos", "dos tres", "dos new"}
    long = write_part(
        tmp_path,
        "held_out_documents",
        {
            "document": [0, 1],
            "id": ["a", "b"],
            "source": ["s"] * 2,
            "language": ["y"] * 2,
            "words": [3, 9],
            "text": ["tres uno"] * 2,
        },
    )
    cut = run_step(NOVELTY, study_of(), tmp_path, inputs | {"held_out_documents": (long,)})
    assert [r["number"] for r in read_rows(tmp_path, cut["held_out_repeats"])] == [0], (
        "as many words, and equal as far as it is kept"
    )


def test_without_generations_nothing_is_done(tmp_path):
    tables = run_step(
        NOVELTY, study_of(), tmp_path, write_corpus(tmp_path, [["ape"]]) | write_tasks(tmp_path, [(["ape"], ["uno"])], {})
    )
    assert tables["generation_counts"] == ()


def test_questions_and_words_of_two_analyzers_are_not_mixed(tmp_path):
    corpus = write_corpus(tmp_path, [["ape"]])
    tables = run_step(NOVELTY, study_of(), tmp_path, corpus | write_tasks(tmp_path, [(["ape"], ["uno"])], {"a": [["uno"]]}))
    store, (part, *_) = Store(str(tmp_path)), tables["generation_queries"]
    older = {"sums": {}, "settings": store.footer(part)["settings"] | {"analyzer_version": -1}}
    with store.writing({"generation_queries": CONTRACTS["generation_queries"]}, "old", older) as out:
        out.write("generation_queries", store.read([part], CONTRACTS["generation_queries"].schema))
    stage = NOVELTY.stages[2]  # which reads all that is asked
    (job,) = stage.plan(study_of(), tables | {"generation_queries": (Part("generation_queries", "old", part.labels),)})
    assert "analysed with {'analyzer_version': -1}" in run_job(store, keyed(NOVELTY, 2, job), stage, CONTRACTS)["error"]


def test_with_each_ngram_come_its_beginnings_and_words():
    rows = with_beginnings(pl.DataFrame({"ngram": ["cow bat ape", "bat", "cow's bat"]}))
    assert rows.rows() == [
        ("ape", 1, 0),
        ("bat", 1, 1),
        ("cow", 1, 2),
        ("cow bat", 2, 1),
        ("cow bat ape", 3, 0),
        ("cow's", 1, 3),
        ("cow's bat", 2, 1),
    ]


def test_pairs_of_long_answers_are_looked_up_whole(tmp_path):
    """Their first eight words decide only whether they are looked up at all."""
    answer = ["uno", "dos", "tres"] * 3
    for number, (document, novel) in enumerate(((["ape", *answer], 0), (["ape", *answer[:8], "cow"], 1))):
        root = tmp_path / str(number)
        root.mkdir()
        inputs = write_corpus(root, [document]) | write_tasks(root, [(["ape"], answer)], {"a": [answer]})
        rows = read_rows(root, run_step(NOVELTY, study_of(answer="whole", lowest_gamma=0.01), root, inputs)["generation_counts"])
        assert {(r["total"], r["novel"]) for r in rows if r["kind"] == "pair" and r["total"]} == {(1, novel)}
