"""Clean counts: counts without contaminated documents, against brute force."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ngrams.query.query import QUERY
from tests.ngrams.corpus import documents_with, make_study, occurrences, write_corpus
from tests.ngrams.test_query import documents_of, ngrams_of, words, write_tasks
from tests.support import read_rows, run_step

ORDER = 3
texts_of = st.tuples(st.lists(words, max_size=5), st.lists(words, min_size=1, max_size=5))
pairs_of = st.lists(st.tuples(ngrams_of, ngrams_of), max_size=4, unique=True)


def recounted(root, documents, tasks, parts=1, **counting):
    """tasks: name → (mined pairs, evaluated texts). Each evaluated example has the n-grams of all pairs."""
    tables = write_corpus(root, documents, parts)
    for name, (mined, texts) in tasks.items():
        own = [list(dict.fromkeys(side)) for side in zip(*mined, strict=True)] if mined else [[], []]
        examples = [(own[0], own[1], " ".join(x), " ".join(y)) for x, y in texts]
        for table, made in write_tasks(root, mined, examples, task=name).items():
            tables[table] = tables.get(table, ()) + made
    counting = {"contamination_orders": [ORDER, ORDER + 1]} | counting
    written = run_step(QUERY, make_study(counting=counting), root, tables)
    return {name: read_rows(root, written[name]) for name in ("clean_pair_counts", "clean_ngram_stats")}


def grams(text):
    return [text[i : i + ORDER] for i in range(len(text) - ORDER + 1)]


@settings(max_examples=12, deadline=None)
@given(
    documents_of, pairs_of, pairs_of, st.lists(texts_of, min_size=1, max_size=2), st.lists(texts_of, max_size=2), st.integers(1, 3)
)
def test_counts_without_contaminated_documents_equal_brute_force(documents, one, two, texts, others, parts):
    tasks = {"a": (one, texts), "b": (two, others)}
    with tempfile.TemporaryDirectory() as folder:
        found = recounted(Path(folder), documents, tasks, parts)
    pairs, stats = [], []
    for task, (mined, evaluated) in tasks.items():
        held = {d for sides in evaluated for text in sides for gram in grams(text) for d in documents_with(documents, gram)}
        clean = [document for i, document in enumerate(documents) if i not in held]
        mined = mined if evaluated else []  # without an evaluated example no pair is one of an example's
        for x, y in sorted(mined):
            left = len(documents_with(clean, x.split(), y.split()))
            if left < len(documents_with(documents, x.split(), y.split())):
                pairs.append((task, x, y, left))
        for gram in sorted({g for pair in mined for g in pair}):
            s = gram.split()
            left = len(documents_with(clean, s))
            if left < len(documents_with(documents, s)):
                stats.append((task, gram, len(s), occurrences(s, clean), left))
    assert [tuple(r.values()) for r in found["clean_pair_counts"]] == pairs
    assert [tuple(r.values()) for r in found["clean_ngram_stats"]] == stats


def test_a_document_is_contaminated_for_the_task_whose_text_it_contains(tmp_path):
    """The second document contains task a's question; task b still counts it."""
    documents = [["ape", "zoo"], ["ape", "bat", "é", "zoo"]]
    text = (["ape", "bat", "é"], ["zoo"])
    found = recounted(tmp_path, documents, {"a": ([("ape", "zoo")], [text]), "b": ([("ape", "zoo")], [(["ape"], ["zoo"])])})
    assert [tuple(r.values()) for r in found["clean_pair_counts"]] == [("a", "ape", "zoo", 1)]


def test_without_contamination_orders_nothing_is_recounted(tmp_path):
    found = recounted(
        tmp_path, [["ape", "bat", "é"]], {"a": ([("ape", "bat")], [(["ape", "bat", "é"], ["zoo"])])}, contamination_orders=[]
    )
    assert found == {"clean_pair_counts": [], "clean_ngram_stats": []}


def test_little_memory_notes_the_same_documents(tmp_path):
    """The queries are then asked in several passes, each of which notes its own."""
    documents = [["ape", "bat", "é", "zoo"], ["bat", "é", "zoo", "ape"], ["zoo", "ape"]]
    tasks = {"a": ([("ape", "zoo"), ("bat", "zoo"), ("é", "ape")], [(["ape", "bat", "é", "zoo"], ["bat", "é", "zoo"])])}
    roomy = recounted(tmp_path / "roomy", documents, tasks)
    study = make_study(counting={"contamination_orders": [ORDER]})
    assert roomy["clean_pair_counts"]
    from dataclasses import replace

    from schemas import CONTRACTS
    from tasks.step import keyed, run_job
    from tasks.storage.store import Store

    root = tmp_path / "narrow"
    tables = write_corpus(root, documents)
    mined, texts = tasks["a"]
    own = [list(dict.fromkeys(side)) for side in zip(*mined, strict=True)]
    tables |= write_tasks(root, mined, [(own[0], own[1], " ".join(x), " ".join(y)) for x, y in texts], task="a")
    (job,) = QUERY.stages[0].plan(study, tables)
    planned = keyed(QUERY, 0, replace(job, memory=400))
    result = run_job(Store(str(root)), planned, QUERY.stages[0], CONTRACTS)
    assert result["passes"] > 1
    parts = [p for p in planned.parts(QUERY.stages[0]) if p.table == "contaminated_pair_partials"]
    without = {(r["input_ngram"], r["output_ngram"]): r["documents"] for r in read_rows(root, tuple(parts))}
    assert without == {("ape", "zoo"): 2, ("bat", "zoo"): 2, ("é", "ape"): 2}
