"""The trace page as a reader uses it, in a real browser: search, choose, expand. It loads nothing from anywhere else."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from schemas import Study
from tasks.report.build import REPORT
from tasks.report.trace.trace_files import CHUNK, READS
from tasks.report.trace.trace_page import script
from tasks.step import Step
from tasks.storage.store import Part, Store
from tests.browser import NONE, Browser, browser, executable
from tests.machine import without
from tests.report import trace_world as world
from tests.support import read_rows, run_step

PAGE = Step("trace page", 1, "the second stage of the report", READS, REPORT.stages[1:])
READY = "document.documentElement?.dataset.ready"
TITLE = "document.querySelector('main h2')?.textContent"


def published(root: Path, tables: dict[str, tuple[Part, ...]], target: Path, study: Study | None = None) -> list[dict]:
    """The files of the trace page in one folder, as a report has them; returns their list."""
    out = run_step(PAGE, study or world.study(), root, tables)["trace_files"]
    for part in out:
        shutil.copytree(Store(str(root)).folder("trace_files", part.key), target, dirs_exist_ok=True)
    return read_rows(root, out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trace")
    published(root, world.tables(root), root / "report")
    return root / "report"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not executable():
        without(NONE)
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def page(folder: Path, chromium: Browser) -> Browser:
    """The page of 250 examples, freshly opened."""
    return opened(chromium, folder)


def opened(chromium: Browser, folder: Path, place: str = "") -> Browser:
    chromium.open("about:blank")
    chromium.wait("location.href === 'about:blank'")
    chromium.problems.clear()
    chromium.requested.clear()
    chromium.open((folder / "trace" / "index.html").as_uri() + place)
    chromium.wait(READY)
    return chromium


def text(page: Browser, selector: str) -> str:
    return str(page.js(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))


def texts(page: Browser, selector: str) -> list[str]:
    return list(page.js(f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent)"))


# -- in the browser --------------------------------------------------------------------------------------------------
def test_search_choose_and_expand(page: Browser) -> None:
    assert text(page, "#found") == "253 examples"
    page.js("document.getElementById('search').focus()")
    page.type("capitals vandoria12?")
    page.wait("document.getElementById('found').textContent === '1 example'")
    page.press("Enter")
    assert page.wait(TITLE) == "e00012"
    assert texts(page, "#input mark.in.pair") == ["Vandoria12"]
    assert texts(page, "#input mark.gram") == ["capital"]
    assert texts(page, "#output mark.out.pair") == ["Quellin12"]
    cells = texts(page, "#pairs tbody tr:first-child > *")
    assert cells[1:8] == ["quellin12", "0.930", "5", "10", "20", "0.50", "0.039"]
    assert cells[8:] == ["9.1·10⁻⁴", "3.4·10⁻⁴", "1.2·10⁻⁴"], "models are sorted by size; by name, large is the first"
    assert "✓ right" in text(page, "#answers")
    page.click("tr.choice")
    page.wait("document.querySelectorAll('blockquote').length === 2")
    assert texts(page, "blockquote mark.in.now") == ["Vandoria12"] * 2
    assert texts(page, "blockquote mark.out.now") == ["Quellin12"] * 2
    assert "2 of 5, drawn at random" in text(page, ".behind")
    assert texts(page, "#input mark.in.now") == ["Vandoria12"]
    page.click("tr.choice")
    page.wait("document.querySelectorAll('blockquote').length === 0")
    page.click("#zeros")
    page.wait("document.querySelectorAll('tr.choice').length === 2")
    assert page.problems == []


def test_it_loads_its_own_folder_and_nothing_else(page: Browser, folder: Path) -> None:
    page.js("location.hash = '#capitals/e00150'")
    page.wait(f"{TITLE} === 'e00150'")
    page.click("tr.choice")
    page.wait("document.querySelectorAll('blockquote').length === 2")
    below = (folder / "trace").as_uri() + "/"
    loaded = [a for a in page.requested if not a.startswith(("data:", "about:"))]
    assert [a for a in loaded if not a.startswith(below)] == []
    assert {a.removeprefix(below) for a in loaded} == {
        "index.html",
        "tasks/capitals/index.js",
        "tasks/sayings/index.js",
        "tasks/capitals/0001.js",
        "tasks/capitals/documents-0001.js",
    }
    assert page.problems == []


def test_text_of_a_corpus_does_nothing(page: Browser) -> None:
    page.js("location.hash = '#capitals/e00003'")
    page.wait(f"{TITLE} === 'e00003'")
    page.click("tr.choice")
    page.wait("document.querySelectorAll('blockquote').length === 2")
    shown = page.js("document.getElementById('input').textContent")
    harmless = re.sub("[\u202e\x00]", "\ufffd", world.HOSTILE)
    assert shown == f"{harmless} What is the capital of Vandoria3?"
    assert texts(page, "#input mark.in.now") == ["Vandoria3"], "places count code points, 🜁 is one"
    assert texts(page, "blockquote mark.in.now") == ["Vandoria3"] * 2
    assert texts(page, "#answers td.answer div") == [harmless] * 3
    assert page.js("document.querySelectorAll('img, iframe, object').length") == 0
    assert page.js("document.querySelectorAll('main b').length") == 0
    assert page.js("window.hurt === undefined")
    assert page.problems == []


def test_nothing_but_its_own_script_may_run(page: Browser) -> None:
    page.js("(() => { const s = document.createElement('script'); s.textContent = 'window.hurt = 1'; document.head.append(s); })()")
    page.js("(() => { document.body.setAttribute('onclick', 'window.hurt = 1'); document.body.click(); })()")
    refused = page.js("fetch('tasks/capitals/index.js').then(() => 'read', () => 'refused')")
    assert page.js("window.hurt === undefined")
    assert refused == "refused"


def test_keys_lead_through_the_list(page: Browser) -> None:
    page.press("/")
    assert page.js("document.activeElement.id") == "search"
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "Enter"):
        page.press(key)
    assert page.wait(TITLE) == "e00001"
    page.js("document.activeElement.blur()")
    page.press("ArrowRight")
    page.wait(f"{TITLE} === 'e00002'")
    page.press("ArrowLeft")
    page.wait(f"{TITLE} === 'e00001'")
    page.click("#on")
    page.wait(f"{TITLE} === 'e00002'")
    assert text(page, "#steps").startswith("3 of 253")
    assert page.js("location.hash") == "#capitals/e00002"


def test_an_address_leads_to_an_example(folder: Path, chromium: Browser) -> None:
    page = opened(chromium, folder, f"#capitals/{quote(world.ODD, safe='')}")
    assert page.wait(TITLE) == world.ODD
    page = opened(chromium, folder, "#capitals/nobody")
    assert "no example nobody in the task capitals" in text(page, "main")
    page = opened(chromium, folder, "#capitals/%E0%A4%A")
    assert "not whole" in text(page, "main")
    assert page.problems == []


def test_filters_keep_what_was_asked_for(page: Browser) -> None:
    def choose(name: str, value: str) -> str:
        page.js(
            f"(e => {{ e.value = {json.dumps(value)}; e.dispatchEvent(new Event('input')); }})(document.getElementById('{name}'))"
        )
        return text(page, "#found")

    assert choose("task", "sayings") == "3 examples"
    assert choose("task", "capitals") == "250 examples"
    assert choose("right", "1") == "63 examples"
    assert choose("model", "tiny") == "63 examples"
    assert choose("right", "0") == "187 examples"
    page.click("#paired")
    assert text(page, "#found") == f"{sum(i % 4 > 0 and i % 7 > 0 for i in range(250))} examples"


def test_a_word_that_is_clicked_shows_its_pairs_alone(page: Browser) -> None:
    page.js("location.hash = '#capitals/e00012'")
    page.wait(f"{TITLE} === 'e00012'")
    page.click("#zeros")
    page.wait("document.querySelectorAll('tr.choice').length === 2")
    page.click("#input mark.gram")
    page.wait("document.querySelectorAll('tr.choice').length === 1")
    assert texts(page, "tr.choice mark.in") == ["capital"]
    page.click("#every")
    page.wait("document.querySelectorAll('tr.choice').length === 2")


def test_a_file_that_was_not_copied_is_named(tmp_path: Path, folder: Path, chromium: Browser) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "trace" / "tasks" / "capitals" / "0000.js").unlink()
    page = opened(chromium, tmp_path / "copy", "#capitals/e00001")
    assert "tasks/capitals/0000.js is not there" in text(page, "main")


def test_a_study_without_examples_has_a_page_that_says_so(tmp_path: Path, chromium: Browser) -> None:
    for number, (study, words) in enumerate(
        ((world.study(()), "names no task"), (world.study(), "No task has an evaluated example"))
    ):
        target = tmp_path / str(number)
        published(tmp_path / f"root{number}", {}, target, study)
        assert words in text(opened(chromium, target), "main")
        assert chromium.problems == []


def test_ten_thousand_examples_open_at_once(tmp_path: Path, chromium: Browser, capsys: pytest.CaptureFixture[str]) -> None:
    tables = world.tables(tmp_path, 10_000)
    began = time.monotonic()
    files = published(tmp_path, tables, tmp_path / "report")
    built = time.monotonic() - began
    page = opened(chromium, tmp_path / "report")
    ready = int(page.js(READY))
    begin = page.js("performance.now()")
    page.js("location.hash = '#capitals/e09876'")
    page.wait(f"{TITLE} === 'e09876'")
    shown = page.js("performance.now()") - begin
    begin = page.js("performance.now()")
    page.js("(e => { e.value = 'vandoria98'; e.dispatchEvent(new Event('input')); })(document.getElementById('search'))")
    searched = page.js("performance.now()") - begin
    assert text(page, "#found") == "111 examples"
    size = sum(f["bytes"] for f in files) / 1e6
    with capsys.disabled():
        print(
            f"\n10,000 traced examples, {size:.0f} MB: written in {built:.1f} s, open in {ready} ms; then an example takes "
            f"{shown:.0f} ms and a search {searched:.0f} ms"
        )
    assert ready < 5_000
    assert page.problems == []


# -- the files -------------------------------------------------------------------------------------------------------
def test_every_chunk_is_json_that_can_neither_end_a_script_nor_turn_a_line(folder: Path) -> None:
    files = sorted((folder / "trace" / "tasks").rglob("*.js"))
    assert len(files) == 2 * 1 + 3 + 3 + 2
    for file in files:
        content = file.read_text(encoding="utf-8")
        call = re.fullmatch(r'taskgramTrace\("(index|examples|documents)","(capitals|sayings)",(\d+),(.*)\);\n', content, re.S)
        assert call is not None
        assert json.loads(call[4])
        assert not re.search("[<>\u2028\u2029\u202a-\u202e\u2066-\u2069\x00-\x09\x0b-\x1f]", content)


def test_the_page_cannot_be_broken_by_a_title(tmp_path: Path) -> None:
    study = world.study().model_copy(update={"title": world.HOSTILE})
    published(tmp_path, world.tables(tmp_path, 2), tmp_path / "report", study)
    page = (tmp_path / "report" / "trace" / "index.html").read_text(encoding="utf-8")
    assert page.count("</script>") == 2
    assert "<img" not in page
    assert script(world.HOSTILE) in page


def test_two_runs_write_the_same_bytes_and_chunks_hold_every_example_once(tmp_path: Path, folder: Path) -> None:
    again = published(tmp_path, world.tables(tmp_path), tmp_path / "report")
    for row in again:
        assert (tmp_path / "report" / row["file"]).read_bytes() == (folder / row["file"]).read_bytes()
    found = []
    for file in sorted((folder / "trace" / "tasks" / "capitals").glob("0*.js")):
        chunk = json.loads(file.read_text(encoding="utf-8").split(",", 3)[3].removesuffix(");\n"))
        assert len(chunk) <= CHUNK
        found += [e["id"] for e in chunk]
    assert found == world.names(250)


@pytest.mark.parametrize("gone", READS)
def test_any_table_may_be_missing(tmp_path: Path, gone: str) -> None:
    tables = {t: p for t, p in world.tables(tmp_path, 3).items() if t != gone}
    files = {r["file"] for r in published(tmp_path, tables, tmp_path / "report")}
    assert {"trace/index.html", "trace/tasks/capitals/index.js"} <= files
