"""Every reader can read the figures, which say what they show and what is missing, and come as page, SVG, PDF and CSV."""

from __future__ import annotations

import csv
import io
import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from tasks.report.data import ReportData
from tasks.report.figures import all_figures
from tasks.report.figures.report_figure import ReportFigure
from tasks.report.figures.sequence_figures import by_doubling
from tasks.report.page import page as page_module
from tasks.report.plot import drawing, palette
from tasks.report.plot.drawing import drawing_files
from tests.report import world
from tests.report.measures import of_sequences, row

CSS = (Path(page_module.__file__).parent / "report.css").read_text(encoding="utf-8")
# Machado, Oliveira & Fernandes (2009), severity 1, for linear RGB
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]),
}
TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]])


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear RGB, D65."""
    xyz = TO_XYZ @ np.clip(rgb, 0, 1) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(first: str, second: str) -> float:
    """As WCAG defines it."""
    bright, dark = sorted((float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (first, second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def themes() -> dict[str, dict[str, str]]:
    """The page's colours by name, for light and dark."""
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.S)[:2]
    return {name: dict(re.findall(r"--(\w+):\s*(#\w{6})", text)) for name, text in (("light", light), ("dark", dark))}


def made(metrics: list[dict] | None = None, **other: object) -> ReportData:
    """The tables of the made-up study with these metrics, and nothing of the corpus."""
    settings = {
        "study": "sample",
        "title": "",
        "tasks": [
            {"name": t, "family": "qa", "first_order": 1, "orders": [1, 2], "shots": 0, "mined_on_evaluated": False, "gamma": {}}
            for t in world.TASKS
        ],
        "models": list(world.LADDER),
        "planted": False,
        "methods": {},
        "versions": {},
    }
    lists = ("exclusions", "training", "sources", "mining", "pairs", "tables", "contaminated")
    mappings = ("document_rejects", "example_rejects", "examples", "gammas", "distribution", "truth", "planted")
    if metrics is None:
        settings["memorization"] = {"prefix": 16, "suffix": 16}
    empty: dict = dict.fromkeys(lists, []) | dict.fromkeys(mappings, {})
    models = [{"model": m, "checkpoint": 800, "parameters": p} for m, p in world.LADDER.items()]
    found = {
        "settings": settings,
        "metrics": [*world.metrics(), *of_sequences(world.LADDER)] if metrics is None else metrics,
        "family": world.family(),
        "models": models,
    }
    return ReportData(**(empty | found | other))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def drawn() -> dict[str, ReportFigure]:
    return {f.name: f for f in all_figures.draw(made())}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_colours_stay_apart_for_every_reader(theme: str, deficiency: str) -> None:
    colours, see = themes()[theme], DEFICIENCIES[deficiency]
    several = [lab(see @ linear(colours[f"c{i}"])) for i in range(len(palette.COLOURS))]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(several, 2)) >= 8
    ramp = [lab(see @ linear(colours[f"r{i}"])) for i in range(len(palette.RAMP))]
    assert min(np.linalg.norm(a - b) for a, b in itertools.pairwise(ramp)) >= 6
    lightness = [float(c[0]) for c in ramp]
    assert lightness == sorted(lightness, reverse=theme == "light"), "the ramp runs one way for every reader"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_can_be_seen_on_the_page(theme: str) -> None:
    colours = themes()[theme]
    for name in [n for n in colours if re.fullmatch(r"[cr]\d", n)]:
        assert contrast(colours[name], colours["page"]) >= 1.9, name
    for name in ("ink", "soft", "accent"):
        assert contrast(colours[name], colours["page"]) >= 4.5, name


def test_the_files_have_the_colours_of_the_light_page() -> None:
    light = themes()["light"]
    assert [light[f"c{i}"] for i in range(len(palette.COLOURS))] == list(palette.COLOURS)
    assert [light[f"r{i}"] for i in range(len(palette.RAMP))] == list(palette.RAMP)


def test_no_two_lines_of_a_panel_share_marker_and_dash(drawn: dict[str, ReportFigure]) -> None:
    several = 0
    for figure in drawn.values():
        for panel in figure.panels:
            looks = [(k.marker, str(k.dash)) if k.marker != "bar" else (k.colour, k.dash) for _, k in panel.legend]
            assert len(looks) == len(set(looks)), panel.name
            several += len(looks) > 1
    assert several > 20
    nine = {(k.marker, str(k.dash)) for k in (palette.rung_style(i, 9) for i in range(9))}
    assert len(nine) == 9


def test_every_figure_of_the_catalogue_is_drawn_with_data_and_words(drawn: dict[str, ReportFigure]) -> None:
    absent = {"training", "counts"}  # no tables of these in `made`
    assert {n for n, f in drawn.items() if not f.panels} == absent
    for name in set(drawn) - absent:
        rows = list(csv.DictReader(io.StringIO(drawn[name].csv)))
        assert rows, name
        assert drawn[name].caption
        for panel in drawn[name].panels:
            assert panel.description, panel.name


def test_panels_of_a_figure_share_their_ordinate(drawn: dict[str, ReportFigure]) -> None:
    from matplotlib.figure import Figure as Drawing

    spans = set()
    for panel in drawn["memorization"].panels:
        if panel.legend:
            axes = Drawing().add_subplot()
            panel.paint(axes)
            spans.add(axes.get_ylim())
    assert len(spans) == 1


def test_a_caption_says_what_is_seen(drawn: dict[str, ReportFigure]) -> None:
    observations = " ".join(drawn["memorization"].observations)
    assert "Mem_1 of capitals grows from 0.18 to 0.45 over the ladder" in observations
    assert "Mem_1 of lexicon goes from 0.12 to 0.03 over the ladder, but the intervals overlap" in observations
    assert "grows" not in " ".join(s for s in drawn["memorization"].observations if "lexicon" in s)
    assert "keeps its sign under all 12 remedies" in " ".join(drawn["confounds"].observations)
    assert drawn["extracted"].observations == [
        "large extracts canaries more often than phantoms, by 60.2 [57.2, 63.2] points",
        "large extracts planted sentences more often than phantoms, by 24.5 [21.5, 27.5] points",
        "Whether large extracts windows of the corpus more often than phantoms is undecided: −1.0 points [−4.0, 2.0], and the "
        "interval includes zero",
    ]
    assert "large finds, in 100 samples, planted texts more often than phantoms" in drawn["discoverable"].observations[0]
    assert "180k parameters [120k, 240k]" in " ".join(drawn["emergence"].observations)


def test_a_figure_says_what_is_missing_and_why(drawn: dict[str, ReportFigure]) -> None:
    assert "arithmetic: no pair of the evaluated examples occurs in the corpus" in " ".join(drawn["memorization"].gaps)
    assert "the task has no groups" in " ".join(drawn["confounds"].gaps)
    assert "not identified" in " ".join(drawn["emergence"].gaps)
    assert drawn["training"].missing == "no model was trained here"
    bare = {f.name: f for f in all_figures.draw(made([], family=[]))}
    assert all(f.missing and not f.panels for f in bare.values())


def test_filled_markers_are_the_corrected_family() -> None:
    facts = made()
    rows = {(r["task"], r["model"]): r["q_value"] for r in facts.family if r["measure"] == "mem_n"}
    written = csv.DictReader(io.StringIO(next(f for f in all_figures.draw(facts) if f.name == "memorization").csv))
    found = {(r["task"], r["model"]): float(r["q_value"]) for r in written if r["measure"] == "mem_n" and r["q_value"]}
    assert found == rows


def test_a_star_has_the_interval_of_its_p_and_ten_effective_clusters() -> None:
    line = made().line("capitals", "large")
    assert line.rows["mem_n"] and line.rows["mem_n"]["interval"] == "two_way" and line.significant("mem_n")
    few = [r | {"clusters": 9.9} if r["interval"] == "two_way" else r for r in world.metrics()]
    line = made(few).line("capitals", "large")
    assert line.q["mem_n"] < 0.05 and not line.significant("mem_n")
    assert [any(p.filled for p in drawn_points(data)) for data in (made(few), made())] == [False, True]


def drawn_points(data: ReportData) -> list:
    """The points of Mem_1 of capitals, with and without enough clusters."""
    from tasks.report.figures.memorization_figures import _lines

    every = [r for r in data.measured("mem_n") if r["statistic"] == "spearman"]
    return [p for line in _lines(data, every, "mem_n", "capitals", []) if line.name == "n = 1" for p in line.points]


def test_files_are_the_same_bytes_twice_and_carry_no_date(drawn: dict[str, ReportFigure]) -> None:
    for name in ("memorization", "attribution"):
        first, again = (drawing_files(name, f.panels) for f in ({f.name: f for f in all_figures.draw(made())}[name], drawn[name]))
        assert first == again
        svg, pdf = first
        assert pdf.startswith(b"%PDF") and b"CreationDate" not in pdf
        assert svg.startswith("<svg") and "var(--" not in svg
        assert len(pdf) < 200_000


def test_panels_keep_their_size_within_a_file(drawn: dict[str, ReportFigure]) -> None:
    """A file is as wide as its widest row, and contains every panel: a point is one unit of the drawing."""
    panels = drawn["attribution"].panels
    svg, _ = drawing_files("attribution", panels)
    width, height = (float(side) for side in re.findall(r'(?:width|height)="([\d.]+)pt"', svg.partition(">")[0]))
    assert svg.partition(">")[0].count(f'viewBox="0 0 {width:g} {height:g}"') == 1
    assert width == pytest.approx(72 * sum(p.width for p in panels[: drawing.COLUMNS])) and len(panels) > 1
    assert height > 72 * max(p.height for p in panels)
    assert all(f">{p.title}</text>" in svg for p in panels)


def bad(case: str) -> list[dict]:
    """Tables as a poor study leaves them."""
    plain = {"order": 1, "unit": "pair"}
    score = row("main_score", "capitals", "large", 0.4, 0.1, statistic="exact_match", unit="example")
    pairless = [
        row(m, "capitals", "large", None, note="no pair of the evaluated examples occurs in the corpus", **plain)
        for m in ("mem_n", "mem_delta")
    ]
    constant = row("mem_n", "capitals", "large", None, note="log P_LLM is constant: its rank correlation is not defined", **plain)
    return {
        "no pair found": [score, *pairless],
        "one model": [score, row("mem_n", "capitals", "large", 0.3, 0.1, p_value=0.01, **plain)],
        "one example": [
            row("main_score", "capitals", "large", 1.0, statistic="exact_match", unit="example", rows=1, examples=1),
            row("mem_n", "capitals", "large", None, note="fewer than 3 rows", rows=1, examples=1, **plain),
        ],
        "constant": [score, constant],
        "infinite": [
            score,
            row("mem_infinity", "capitals", "large", None, note="a token of s_y does not occur in the corpus", **plain),
        ],
        "no reference": [row("main_score", "capitals", "large", None, note="no reference to compare with", statistic="bleu")],
    }[case]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("no pair found", "no pair of the evaluated examples occurs in the corpus"),
        ("one model", "Mem_1 of capitals is 0.30 [0.20, 0.40]"),
        ("one example", "fewer than 3 rows"),
        ("constant", "log P_LLM is constant"),
        ("infinite", "no memorization measure has a number"),
        ("no reference", "no reference to compare with"),
    ],
)
def test_bad_input_is_reported_and_the_rest_is_there(case: str, message: str, tmp_path: Path) -> None:
    from tests.report.test_report import SECTIONS, Reader, written

    found = bad(case)
    tables = world.tables(tmp_path, found) | {"metric_family": ()}
    _, page, _ = written(tmp_path, tables)
    assert message in page
    assert Reader(page).open == [] and page.count("<h2") == SECTIONS
    assert "Not measured: tiny, small, medium" in page, "a missing model is named at the top"
    assert "Documents with the pairs" in page and "vandoria" in page, "the rest is there"
    assert ("40.0 %" in page) == any(r["estimate"] == 0.4 for r in found)


BUCKETS = ((4, 1, 4, 2.0), (7, 3, 4, 3.0))  # number, extracted windows, windows, copies


def test_extracted_windows_are_joined_by_doublings_of_their_copies() -> None:
    rows = [
        {"model": "m", "bin": bin, "estimate": hits / n, "rows": n, "x": x} for bin, hits, n, x in ((4, 1, 4, 2.0), (7, 3, 4, 3.0))
    ]
    (joined,) = by_doubling(rows)
    assert (joined["bin"], joined["rows"], joined["estimate"], joined["x"]) == (4, 8, 0.5, 2.5)
    assert joined["low"] < 0.25 and joined["high"] > 0.75
    assert [r["bin"] for r in by_doubling([*rows, {**rows[0], "bin": 8}])] == [4, 8]
