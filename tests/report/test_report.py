"""The report loads nothing over the network, cannot be attacked by a corpus, and says what it does not know."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import threading
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest

from flows.servers.report_server import ReportServer
from schemas import Study
from schemas.settings.memorization_settings import Memorization
from schemas.settings.reader_versions import READER_VERSIONS
from tasks.report.build import READS, REPORT, plan
from tasks.report.formatting import NO_EVIDENCE, number
from tasks.report.page.html import highlight
from tasks.report.results_table import WIDTH, results_table
from tasks.storage.store import Part, Store
from tests.browser import NONE, browser, executable
from tests.machine import without
from tests.report import world
from tests.report.measures import of_sequences
from tests.support import CONTRACTS, read_rows, run_step

SECTIONS = 12
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Reader(HTMLParser):
    """Collects tags, attributes and text, and notes every end tag that closes something else."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def written(root: Path, tables: dict[str, tuple[Part, ...]], study: Study | None = None) -> tuple[Path, str, list[dict]]:
    """Folder, page and list of files of a fresh report."""
    out = run_step(REPORT, study or world.study(), root, tables)["report_files"]
    folder = Store(str(root)).folder("report_files", out[0].key)
    return folder, (folder / "index.html").read_text(encoding="utf-8"), read_rows(root, out)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[dict]]:
    root = tmp_path_factory.mktemp("report")
    return written(root, world.tables(root))


def test_page_asks_nothing_of_the_outside(report: tuple[Path, str, list[dict]]) -> None:
    _, page, rows = report
    seen = Reader(page)
    links = [
        v for _, attrs in seen.tags for k, v in attrs.items() if k in ("src", "href", "xlink:href", "srcset", "action", "data")
    ]
    assert links, "the page links to its own sections and data"
    published = {r["file"] for r in rows} | {"trace/index.html"}
    assert [v for v in links if not re.match(r"(#|data:)", v or "") and v not in published] == []
    assert re.findall(r"url\((?!\s*['\"]?#)[^)]*\)", page) == []
    assert "@import" not in page
    assert not {"script", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in seen.tags}


def test_page_is_well_formed(report: tuple[Path, str, list[dict]]) -> None:
    seen = Reader(report[1])
    assert seen.wrong == []
    assert seen.open == []
    ids = [a["id"] for _, a in seen.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"] for t, a in seen.tags if t == "a" and (a.get("href") or "").startswith("#")} <= {f"#{i}" for i in ids}


def test_a_browser_shows_all_of_the_page_as_it_is_served(report: tuple[Path, str, list[dict]], tmp_path: Path) -> None:
    """Style, figures and files are not kept back by what the server lets a page load; the files are next to it."""
    if not executable():
        without(NONE)
    shutil.copytree(report[0], tmp_path / "reports" / "made-up")
    with ReportServer(str(tmp_path), 0) as server, browser(tmp_path / "profile") as shown:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        shown.open(f"{server.url}/made-up/index.html")
        shown.wait("document.readyState === 'complete' && document.querySelectorAll('svg').length > 0")
        assert shown.js("document.querySelectorAll('svg').length") == report[1].count("<svg ")
        assert shown.js("[...document.querySelectorAll('figure > .panels svg')].some(s => s.getBoundingClientRect().width > 99)")
        assert shown.js("getComputedStyle(document.querySelector('main')).maxWidth") != "none", "its style is there"
        assert shown.problems == []
        assert [a for a in shown.requested if not a.startswith(("data:", f"{server.url}/made-up/"))] == []
        shown.open(f"{server.url}/made-up/{next(r['file'] for r in report[2] if r['file'].endswith('.svg'))}")
        shown.wait("document.documentElement.tagName === 'svg'")
        assert shown.problems == []
        server.shutdown()


def test_hostile_text_is_shown_and_not_run(report: tuple[Path, str, list[dict]]) -> None:
    _, page, _ = report
    seen = Reader(page)
    assert "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;" in page
    assert "img" not in {tag for tag, _ in seen.tags}
    assert [a for _, a in seen.tags if any(name.startswith("on") for name in a)] == []
    assert "\x00" not in page
    assert "<b>0</b>" not in page
    assert "&lt;b&gt;0&lt;/b&gt;" in page


def test_both_spans_are_marked_even_where_they_overlap() -> None:
    assert highlight("a<b c", (0, 1), (4, 5)) == '<mark class="in">a</mark>&lt;b <mark class="out">c</mark>'
    assert highlight("abcd", (0, 3), (2, 4)) == '<mark class="in">ab</mark><mark class="both">c</mark><mark class="out">d</mark>'
    assert highlight("<i>", (-1, -1), (9, 12)) == "&lt;i&gt;"


def test_two_runs_give_the_same_bytes_and_files_of_an_interrupted_one_do_not_stay(
    tmp_path: Path, report: tuple[Path, str, list[dict]]
) -> None:
    folder = Path(Store(str(tmp_path)).folder("report_files", report[0].name))  # the key is the same
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    (folder / "figures" / "old.svg").write_text("half")
    again, _, files = written(tmp_path, world.tables(tmp_path))
    assert (again, files) == (folder, report[2])
    assert not (folder / "figures" / "old.svg").exists()


def test_file_list_is_true_and_complete(report: tuple[Path, str, list[dict]]) -> None:
    folder, _, rows = report
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert {r["file"]: (r["sha256"], r["bytes"]) for r in rows} == {
        n: (hashlib.sha256(b).hexdigest(), len(b)) for n, b in found.items()
    }
    assert {"index.html", "results.csv", "figures/memorization.csv", "figures/memorization.svg", "figures/memorization.pdf"} <= set(
        found
    )


def test_the_data_of_each_figure_is_in_the_page_and_beside_it(report: tuple[Path, str, list[dict]]) -> None:
    folder, page, rows = report
    embedded = {
        a["download"]: base64.b64decode((a["href"] or "").split("base64,")[1]) for t, a in Reader(page).tags if "download" in a
    }
    files = {Path(r["file"]).name: (folder / r["file"]).read_bytes() for r in rows if r["file"].endswith(".csv")}
    assert embedded == files


def test_what_was_not_measured_is_no_evidence_and_not_zero(report: tuple[Path, str, list[dict]]) -> None:
    _, page, _ = report
    results = page[page.index('id="results"') : page.index('id="performance"')]
    arithmetic = re.sub(r"<[^>]+>", "|", results[results.index(">arithmetic ") :])
    assert arithmetic.count(NO_EVIDENCE) == 3 * len(world.LADDER)
    assert "no pair of the evaluated examples occurs in the corpus" in arithmetic
    assert "0.00" not in arithmetic


def test_every_result_carries_the_version_of_its_task_and_reader(report: tuple[Path, str, list[dict]]) -> None:
    folder, page, _ = report
    head, *lines = (folder / "results.csv").read_text(encoding="utf-8").splitlines()
    task, version = head.split(",").index("task"), head.split(",").index("task_version")
    versions = {tuple(line.split(",")[i] for i in (task, version)) for line in lines}
    assert {("capitals", "1/planted-1"), ("choices", f"1/jsonl-{READER_VERSIONS['jsonl']}")} <= versions
    assert "version of choices" in page


def test_what_ends_answers_is_said_and_a_model_that_failed_is_named_with_the_reason(tmp_path: Path) -> None:
    study = world.study().without({"neox-lost": "its weights are <b>gone</b>"})
    _, page, _ = written(tmp_path, world.tables(tmp_path, world.few()), study)
    assert "Missing: neox-lost. It failed: its weights are &lt;b&gt;gone" in page
    assert page.count("&lt;|end|&gt; (0: generation_config.json)") == len(world.LADDER)


def test_a_report_says_which_tasks_had_solved_examples_in_front(tmp_path: Path) -> None:
    study = world.study()
    few = study.tasks[2].model_copy(update={"shots": 5})
    study = study.model_copy(update={"tasks": (*study.tasks[:2], few, *study.tasks[3:])})
    _, page, _ = written(tmp_path, world.tables(tmp_path, world.few()), study)
    assert "after solved examples (5 for choices), otherwise zero-shot" in page


def test_only_significant_numbers_are_filled(report: tuple[Path, str, list[dict]]) -> None:
    results = report[1][report[1].index('<tr class="task">') : report[1].index('id="performance"')]
    sure = sum(r["q_value"] < 0.05 for r in world.family())
    assert 0 < sure < len(world.family())
    assert results.count("●") == sure
    assert results.count("○") == len(world.family()) - sure


def test_planted_counts_are_shown_n_of_n(report: tuple[Path, str, list[dict]]) -> None:
    assert "576 of 576" in report[1]
    assert "NOT all equal" not in report[1]


def test_every_table_may_be_empty(tmp_path: Path) -> None:
    empty = {t: (world.part(tmp_path, t, []),) for t in READS}
    for tables in (empty, {}):
        _, page, _ = written(tmp_path, tables)
        assert Reader(page).open == []
        assert NO_EVIDENCE in page
        assert "There is no answer" in page or "there is no answer" in page
        assert "not planted" in page


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[Part, ...]]]:
    """A root with a few rows of each table. Tests make reports of it and leave the tables as they are."""
    root = tmp_path_factory.mktemp("few")
    return root, world.tables(root, world.few())


@pytest.mark.parametrize("table", READS)
def test_any_one_table_may_be_missing(few: tuple[Path, dict[str, tuple[Part, ...]]], table: str) -> None:
    _, page, _ = written(few[0], {t: parts for t, parts in few[1].items() if t != table})
    assert page.count("<h2") == SECTIONS


def test_a_study_without_tasks_and_models_has_a_page(tmp_path: Path) -> None:
    bare = Study.model_validate({"name": "bare", "corpus": {"sources": [{"name": "s", "files": ["a.jsonl"]}]}})
    _, page, _ = written(tmp_path, {}, bare)
    assert "names no task" in page


def test_a_study_that_asks_what_is_memorized_has_a_section_and_others_do_not(tmp_path: Path) -> None:
    study = world.study().model_copy(update={"memorization": Memorization(prefix=16, suffix=8)})
    _, page, files = written(tmp_path, world.tables(tmp_path, [*world.few(), *of_sequences(world.LADDER)]), study)
    section = page[page.index('<section id="memorized"') :].partition("</section>")[0]
    assert page.count("<h2") == SECTIONS + 1 and Reader(page).open == []
    assert "Windows of 16 + 8 tokens." in section and section.count("more often than phantoms") == 5
    assert {f"figures/{name}.{kind}" for name in ("extracted", "discoverable") for kind in ("svg", "pdf", "csv")} <= {
        r["file"] for r in files
    }
    assert "memorization" not in plan(world.study(), {})[0].settings, "the key of other reports is as it was"


def test_gamma_and_versions_are_in_the_key_and_workers_are_not() -> None:
    study = world.study()
    settings = plan(study, {})[0].settings
    assert settings["versions"]["matplotlib"]
    assert plan(study.model_copy(update={"workers": 7}), {})[0].settings == settings
    task = study.tasks[0].model_copy(update={"gamma_default": 0.77})
    assert plan(study.model_copy(update={"tasks": (task, *study.tasks[1:])}), {})[0].settings != settings


def test_the_answer_claims_no_more_than_the_intervals(report: tuple[Path, str, list[dict]]) -> None:
    answer = re.search(r'<div class="answer">\s*(.*?)</div>', report[1], re.S)
    assert answer is not None
    tasks = {t: s for t in world.TASKS for s in re.findall(r"<li>(.*?)</li>", answer[1], re.S) if s.startswith(f"On {t} ")}
    assert "follow the counts of the pairs" in tasks["capitals"]
    assert "neither is distinguishable from zero" in tasks["lexicon"]
    assert "no evidence about memorization" in tasks["arithmetic"]
    assert "intervals overlap" in tasks["arithmetic"]


def test_terminal_table_is_aligned_and_narrow() -> None:
    def table(name: str, rows: list[dict]) -> pa.Table:
        return pa.Table.from_pylist(rows, schema=CONTRACTS[name].schema)

    models = [
        {
            "model": m,
            "checkpoint": 800,
            "source": "folder",
            "revision": "",
            "path": "",
            "sha256": "",
            "parameters": p,
            "parameters_non_embedding": 1,
            "tokens_seen": -1,
            "loss": None,
            "seed": -1,
            "membership": "",
            "tokenizer": "",
            "ends": "",
        }
        for m, p in world.LADDER.items()
    ]
    text = results_table(table("metrics", world.metrics()), table("metric_family", world.family()), table("models", models))
    lines = text.splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert len(lines) == 2 + len(world.TASKS) * (len(world.LADDER) + 1) + 1
    column = lines[0].index("Mem_n")
    of_models = [line for line in lines[2:-1] if line.startswith("  ")]
    assert len(of_models) == len(world.TASKS) * len(world.LADDER)
    assert all(line[column - 2 : column] == "  " for line in of_models)
    assert sum(NO_EVIDENCE in line for line in lines) == len(world.LADDER)
    more = [*world.metrics(), *of_sequences(world.LADDER)]
    sequences = results_table(table("metrics", more), table("metric_family", world.family()), table("models", models))
    assert sequences.startswith(f"{text}\n\nmodel ") and max(map(len, sequences.splitlines())) <= WIDTH
    canaries = sequences.partition("canaries:\n")[2].splitlines()[len(world.LADDER) - 1].split()
    assert canaries[0] == "large" and canaries[-3:] == ["points", "[57.2,", "63.2]"] and "61.2 % [58.2, 64.2]" in sequences
    alone = results_table(table("metrics", more[len(world.metrics()) :]), table("metric_family", []), table("models", models))
    assert sequences.endswith(alone), "a study without tasks has them too"
    assert "no measure" in results_table(table("metrics", []), table("metric_family", []), table("models", [])).lower()


def test_numbers_are_written_for_people() -> None:
    assert number(-0.001) == "0.00"
    assert number(-0.25) == "−0.25"
    assert number(0.5, "exact_match") == "50.0 %"
    assert number(23.04, "bleu") == "23.0"
    assert number(None) == number(float("nan")) == "–"


def test_a_measure_that_the_report_does_not_know_is_shown_with_its_number(tmp_path: Path) -> None:
    new = world.metric("leverage", "capitals", "large", 12.3456, 0.5, statistic="ratio", unit="sequence", note="on 9 sequences")
    none = world.metric("leverage", "capitals", "small", None, statistic="ratio", unit="sequence", note="no sequence was scored")
    tables = world.tables(tmp_path, [*world.few(), none | {"detail": world.HOSTILE}, new | {"detail": world.HOSTILE}])
    left_out = {"measure": "leverage", "task": "capitals", "model": "large", "checkpoint": 800, "order": 0}
    excluded = [left_out | {"reason": "too short", "rows": 4321, "of": "sequences"}]
    _, page, _ = written(tmp_path, tables | {"exclusions": (world.part(tmp_path, "exclusions", excluded, {"task": "new"}),)})
    table = page[page.index("<summary>leverage (1 number)</summary>") :].partition("</details>")[0]
    cells = re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", table)
    assert cells[:8] == ["task", "statistic", "n", "unit", "detail", "small", "large", "note"]
    assert cells[8:12] == ["capitals", "ratio", "", "sequence"] and "&lt;script&gt;" in cells[12]
    assert cells[13:15] == [NO_EVIDENCE, "12.35 [11.85,\u00a012.85]"]
    assert cells[15] == "no sequence was scored; on 9 sequences"
    assert "too short" in page and "4\u202f321" in page, "its exclusions too"
