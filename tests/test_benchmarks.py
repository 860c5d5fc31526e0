"""The benchmarks: how bars are judged, which records are kept, and that small rows run and agree. No peer needs to be installed."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks import records, sources, table
from benchmarks.__main__ import main
from benchmarks.corpora import Corpora, ngrams, pairs
from benchmarks.rows import BYTES, QUANTITIES, ROWS, M, case, disagreement, equal, nearly_equal_infinigrams
from benchmarks.side import OURS
from benchmarks.timing import Timing, measure

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """A stream that is its own base, so that no world has to be planted."""
    made = Corpora(tmp_path_factory.mktemp("inputs"), Path("none"))
    random = np.random.default_rng(1)
    cuts = np.unique(random.integers(1, 20_000, 150))
    np.savez(made.place("tokens.npz"), ids=(random.zipf(1.3, 20_000) % 500).astype(np.int32), offsets=[0, *cuts, 20_000])
    return made


def figures(seconds, items=1_000, **more):
    return {"cpu_seconds": seconds, "wall_seconds": seconds, "items": items, "peak_memory": 3e9, "memory_before": 1e9, **more}


def judged(ours, theirs, bar):
    asked = case(10 * M, {"numpy": bar}, queries=100_000, n=5)
    return records.make_records("counts", asked, {OURS: Timing(figures(ours)), "numpy": Timing(figures(theirs))}, "made")


@pytest.mark.parametrize(("theirs", "ratio", "reached", "wrong"), [(4.0, 4.0, True, 0), (2.5, 2.5, False, 0), (1.4, 1.4, False, 1)])
def test_a_ratio_is_judged_by_its_bar_and_fails_below_half_of_it(theirs, ratio, reached, wrong):
    (record,) = judged(1.0, theirs, 3.0)
    assert record["ratio"] == pytest.approx(ratio) and record["reached"] is reached
    assert len(records.failures([record])) == wrong


def test_a_peer_asked_less_is_compared_per_item():
    timings = {OURS: Timing(figures(2.0, 1_000_000)), "tokengrams": Timing(figures(1.0, 500))}
    (record,) = records.make_records("counts", case(10, {"tokengrams": 300.0}, queries=10), timings, "made")
    assert record["ratio"] == pytest.approx(1_000)


@pytest.mark.parametrize(("peak", "reached", "wrong"), [(1.9e9, True, 0), (3e9, False, 0), (4.1e9, False, 1)])
def test_where_less_is_better_twice_the_bar_is_half_of_it(peak, reached, wrong):
    timings = {OURS: Timing(figures(1.0) | {"peak_memory": peak})}
    (record,) = records.make_records("all-orders-2", case(100, {"memory": 2.0}, min_count=2), timings, "made")
    assert record["reached"] is reached and len(records.failures([record])) == wrong


def test_a_missing_peer_is_listed_and_no_error_but_a_broken_one_is():
    for problem, wrong in (("not installed (infini_gram)", 0), ("ValueError: broken", 1)):
        timings = {OURS: Timing(figures(1.0)), "infini-gram": Timing(problem=problem)}
        (record,) = records.make_records("infinigram", case(10, {"infini-gram": 3.0}), timings, "made")
        assert problem in record["note"] and record["reached"] is None and len(records.failures([record])) == wrong


def test_answers_that_differ_are_a_failure_whatever_the_ratio(tmp_path):
    for name, counts in (("a", [1, 2, 3]), ("b", [1, 2]), ("c", [1, 5])):
        np.savez(tmp_path / name, counts=np.array(counts))
    a, b, c = (tmp_path / f"{name}.npz" for name in "abc")
    assert disagreement(ROWS["counts"], a, b) == "" and disagreement(ROWS["counts"], a, None) is None
    timings = {OURS: Timing(figures(1.0), answer=a), "tokengrams": Timing(figures(90.0), answer=c)}
    (record,) = records.make_records("counts", case(10, {"tokengrams": 4.0}, queries=3), timings, "made")
    assert record["equal"] is False and records.failures([record]) == ["counts tokengrams: counts differ"]


def test_infinigrams_may_differ_only_as_infinigram_is_known_to():
    ours = {"suffix": np.arange(20) % 3, "numerator": np.ones(20, int), "denominator": np.full(20, 2)}
    changed = [(0, "suffix", 1), (0, "denominator", 3)]
    for row, name, more in changed:
        peers = {k: v.copy() for k, v in ours.items()}
        peers[name][row] += more
        assert nearly_equal_infinigrams(ours, peers) == "" and equal(ours, peers) != ""
    for name, less in (("suffix", -1), ("numerator", 1), ("denominator", -1)):
        peers = {k: v.copy() for k, v in ours.items()}
        peers[name][1] += less
        assert nearly_equal_infinigrams(ours, peers) != ""


def test_only_real_numbers_may_be_apart_and_only_so_far():
    ours = {"cosine": np.array([0.5, 0.25]), "row": np.array([1, 2])}
    assert (
        equal(ours, {**ours, "cosine": ours["cosine"] + 1e-7}, 1e-6) == "" != equal(ours, {**ours, "cosine": ours["cosine"] + 1e-7})
    )
    assert equal(ours, {**ours, "row": ours["row"] + 1}, 2.0) == "row differ" and equal(
        ours, {**ours, "cosine": np.full(2, np.nan)}, 1.0
    )


def test_cases_are_what_rows_say_of_them():
    counts = ROWS["counts"]
    assert counts.cases[1] == case(10 * M, {"tokengrams": 4.0, "numpy": None}, queries=10_000, n=5, peers=10_000)
    assert counts.quick == case(M // 2, {"tokengrams": 4.0, "numpy": None}, queries=10_000, n=5, peers=2_000)
    assert ROWS["all-orders-2"].cases[2] == case(10 * M, memory="256MB", min_count=2) and ROWS["workers"].quick is None
    known = {"peers", "tokens", "bars"}
    assert all(set(c["bars"]) <= {*QUANTITIES, *row.sides} and known & c.keys() for row in ROWS.values() for c in row.cases)


def test_results_are_replaced_row_by_row_and_become_the_page(tmp_path):
    path, doc = tmp_path / "results.json", tmp_path / "benchmarks.md"
    growth = records.make_records("words", case(7_000_000), {OURS: Timing(figures(1.0))}, "made")
    records.write([*judged(1.0, 4.0, 3.0), *growth], path)
    records.write(judged(1.0, 0.5, 1.0), path)
    found = records.read(path)
    assert [(r["row"], r["ratio"]) for r in found] == [("words", None), ("counts", 0.5)]
    assert len(json.loads(path.read_text())) == 2 and records.measurement(found[1]) == records.measurement(judged(1.0, 1.0, 2.0)[0])
    doc.write_text(f"# Benchmarks\n{table.BEGIN}\nold\n{table.END}\nby hand\n")
    table.write(doc, path)
    text = doc.read_text()
    assert "\nold\n" not in text and "by hand" in text and "7M tokens" in text
    assert "0.5 × | ≥ 1 | **not reached**" in text
    table.write(doc, path)
    assert doc.read_text() == text and table.is_current(doc, path)
    doc.write_text("# no marks")
    with pytest.raises(ValueError, match="lost its marks"):
        table.write(doc, path)


def test_records_are_kept_for_each_processor_and_the_page_has_one_with_the_ratios_of_the_others(tmp_path):
    path, doc = tmp_path / "results.json", tmp_path / "benchmarks.md"
    doc.write_text(f"{table.BEGIN}{table.END}")
    for label, theirs in (("Zilog", 2.0), ("Alpha", 4.0), ("Alpha", 5.0)):
        timings = {OURS: Timing(figures(1.0)), BYTES: Timing(figures(theirs))}
        records.write(records.make_records("index", case(10 * M, {BYTES: 4.0}), timings, "made", label), path)
    assert [(r["processor"], r["ratio"], r["bar"]) for r in records.read(path)] == [("Alpha", 5.0, 1.0), ("Zilog", 2.0, 1.0)]
    table.write(doc, path, "Zilog")
    (row,) = (line for line in doc.read_text().splitlines() if line.startswith("| suffix array") and BYTES in line)
    assert "| 2 × | 5 × | ≥ 1 | reached |" in row and "| on Alpha |" in doc.read_text()


def test_a_row_is_older_than_its_code_when_a_module_that_it_measures_changes_but_not_for_a_comment(tmp_path):
    shutil.copytree(ROOT / "tasks", tmp_path / "tasks")
    kernels, rows = tmp_path / "tasks" / "ngrams" / "kernels" / "scan_kernels.py", ("pairs", "words", "counts")
    before = {row: sources.code(row, tmp_path) for row in rows}
    assert before == {row: sources.code(row) for row in rows}

    def changed(text):
        kernels.write_text(text)
        sources.parsed.cache_clear()
        return {row for row in rows if sources.code(row, tmp_path) != before[row]}

    text = kernels.read_text()
    assert changed(f"{text}\n# a remark\n") == set()
    assert changed(f"{text}\nX = 1\n") == {"pairs"}
    record = {"processor": "Zilog", "row": "pairs", "code": sources.code("pairs")}
    lines = records.outdated([record, {**record, "row": "words"}], "Zilog")
    assert "words: some of its records are older than its code on Zilog" in lines and "align: not measured on Zilog" in lines
    assert not any(line.startswith("pairs:") for line in lines)


def test_every_row_names_the_code_it_measures_and_the_page_is_made_from_the_records():
    assert all(sources.files(row) for row in ROWS) and table.is_current()


def test_a_figure_that_has_a_bar_no_more_goes_when_its_row_is_measured_again(tmp_path):
    path = tmp_path / "results.json"
    timings = {OURS: Timing(figures(1.0) | {"orchestration": 9.0})}
    records.write(records.make_records("orchestration", case(120 * M, {"orchestration": 5.0}), timings, "made"), path)
    assert [(r["figure"], r["reached"]) for r in records.read(path)] == [("orchestration", False)]
    records.write(records.make_records("orchestration", case(120 * M), timings, "made"), path)
    assert [(r["figure"], r["reached"]) for r in records.read(path)] == [("", None)]


def test_a_longer_stream_has_the_same_documents_and_new_ngrams(corpora):
    ids, offsets = corpora.tokens(50_000)
    assert len(ids) == 50_000 == offsets[-1] and (np.diff(offsets) > 0).all()
    assert (ids[:20_000] == corpora.tokens(20_000)[0]).all()
    assert np.bincount(ids[:20_000]).max() * 0.2 < np.bincount(ids[20_000:40_000]).max()
    assert (ids[:20_000] != ids[20_000:40_000]).mean() > 0.5


def test_queries_are_within_one_document_and_pairs_across_its_sides(corpora):
    stream = corpora.tokens(20_000)
    assert ngrams(stream, 40, 5).shape == (40, 5)
    ids, offsets, ends = pairs(stream, 100)
    assert set(np.diff(offsets)) <= {1, 2, 3, 4, 5} and offsets[-1] == len(ids)
    assert len({tuple(ids[a:b]) for a, b in zip(offsets, offsets[1:], strict=False)}) == len(offsets) - 1
    assert ends.shape == (100, 2) and ends.max() < len(offsets) - 1


def test_small_rows_run_in_processes_of_their_own_and_agree(corpora):
    asked = case(0, {"Python loop": None}, pairs=20, tokens_each=30, peers=10)
    timings = measure("edit-distances", [OURS, "Python loop"], asked, 1, corpora)
    found = records.make_records("edit-distances", asked, timings, "made")
    assert [r["equal"] for r in found] == [True] and not records.failures(found)
    assert all(r["ratio"] > 0 and r["figures"][OURS]["peak_memory"] > 50e6 for r in found)
    wanted = case(20_000, {"speed": None}, queries=400)
    (pair,) = records.make_records("pairs", wanted, measure("pairs", [OURS], wanted, 1, corpora), "made")
    assert pair["note"] == "" and pair["figures"][OURS]["found_pairs"] == 400


def test_an_unknown_row_is_named(capsys):
    assert main(["--rows", "word"]) == 2
    assert "there is no row word" in capsys.readouterr().err


def test_nothing_imports_the_benchmarks():
    for path in (p for package in ("schemas", "tasks", "flows") for p in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None) or ""]
            assert not any(str(n).split(".")[0] == "benchmarks" for n in names), path
