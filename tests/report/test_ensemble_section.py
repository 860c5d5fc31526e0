"""Memorized or learned: the section has a verdict per claim, and its figures and sentences say what the tables hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from tasks.report import sentences
from tasks.report.answer import glance
from tasks.report.build import plan
from tasks.report.data import ReportData
from tasks.report.ensemble_data import BestLeverage, EnsembleData
from tasks.report.figures import all_figures
from tasks.report.figures.ensemble_figures import bin_edges
from tasks.report.figures.report_figure import ReportFigure
from tasks.report.page.page import page
from tasks.report.results_table import WIDTH, results_table
from tasks.storage.store import Part
from tests.report import run_world as made_up
from tests.report import world
from tests.report.measures import row
from tests.report.test_figures import made
from tests.report.test_report import Reader, written
from tests.support import CONTRACTS

FIGURES = ("density", "leverage", "copies", "twins", "capacity")


def data_of(ensembles: EnsembleData, metrics: list[dict[str, Any]] | None = None) -> ReportData:
    """The made-up study, which has no tasks, with these tables."""
    rows, settings = made_up.metrics() if metrics is None else metrics, plan(made_up.study(), {})[0].settings
    assert settings["ensembles"] == made_up.SETTINGS
    return made(rows, family=[], models=[], ensembles=ensembles, settings=settings)


def ensembles(**other: Any) -> EnsembleData:
    rows = pl.DataFrame([r for r in made_up.counterfactual() if r["checkpoint"] == 100])
    about = pl.DataFrame(made_up.sequences()).select("sequence", "group", "split", "copies", "twins")
    rows = rows.join(about, on="sequence").with_columns((pl.col("leave_group_out") / 100 + 0.5).alias("leverage"))
    runs = [{"model": m, "parameters": 1_000, "runs": 64, "diverged": 0, "steps": 100} for m in made_up.MODELS]
    best = {m: BestLeverage("last_layer", 0.1, 1.0) for m in made_up.MODELS}
    whole = {"verdicts": made_up.verdicts(), "capacity": made_up.capacity(), "sequences": rows, "leverage": best, "runs": runs}
    return EnsembleData(**(whole | other))


def parts(root: Path) -> dict[str, tuple[Part, ...]]:
    """The made-up tables under a root; columns that nothing here reads are empty."""
    runs = [{"model": m, "run": r, "parameters": 1_000, "steps": 9, "diverged": r == 1} for m in made_up.MODELS for r in (0, 1)]
    rows = {"controlled_sequences": made_up.sequences(), "counterfactual": made_up.counterfactual(), "ensemble_runs": runs}
    rows |= {"leverage": made_up.leverage(), "verdicts": made_up.verdicts(), "metrics": made_up.metrics()}
    out = {}
    for table, some in rows.items():
        kinds = {c.name: None if c.nullable else "" if c.type == "string" else 1 for c in CONTRACTS[table].columns}
        groups = sorted({r["model"] for r in some}) if table in ("counterfactual", "leverage") else [""]
        of_model = [[r for r in some if not g or r["model"] == g] for g in groups]
        pairs = zip(groups, of_model, strict=True)
        out[table] = tuple(world.part(root, table, [kinds | r for r in of], {"model": g}) for g, of in pairs)
    return out


@pytest.fixture(scope="module")
def data() -> ReportData:
    return data_of(ensembles())


@pytest.fixture(scope="module")
def drawn(data: ReportData) -> dict[str, ReportFigure]:
    return {f.name: f for f in all_figures.draw(data)}


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_the_page_begins_with_the_verdicts_and_has_no_section_on_tasks(data: ReportData, drawn: dict[str, ReportFigure]) -> None:
    html = page(data, list(drawn.values()))
    assert Reader(html).open == [] and Reader(html).wrong == []
    ids = re.findall(r'<section id="([\w-]+)" aria-labelledby', html)
    assert ids == ["claims", "measures", "study", "left-out", "methods"], "no empty section"
    lead = text_of(html.partition('class="lead">')[2].partition("</p>")[0])
    assert lead == "Of 3 claims about memorization 1 is supported (T7), 1 is refuted (T6 strong) and 1 is inconclusive (T9)."
    section = html.partition('<section id="claims"')[2].partition("</section>")[0]
    assert section.index("<table") < section.index("<figure"), "the table of verdicts is on top"
    cells = [
        text_of(c).strip() for c in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", section.partition("<tbody>")[2].partition("</tr>")[0])
    ]
    assert cells == ["T6 strong", "width-8", "what T6 strong says", "× refuted", "0.79 [0.71, 0.86]", "0", "2 of 2"]
    assert "the interval is below .9" in section and section.count("○\u00a0inconclusive") == len(made_up.NETWORKS)
    assert all(word not in html for word in ("task-gram", "Task-gram", "not drawn: no score", "distributional memorization"))


@pytest.mark.parametrize("sequences_only", [True, False])
def test_a_claim_on_which_networks_differ_is_inconclusive(sequences_only: bool) -> None:
    rows = made_up.verdicts(undecided=True)
    given = "Of 3 claims about memorization 1 is refuted (T6 strong) and 2 are inconclusive (T7, T9)"
    assert sentences.claims(rows) == given and sentences.claims([]) == ""
    data = data_of(ensembles(verdicts=rows))
    if sequences_only:
        assert glance(data) == f"{given}."
    else:
        both = made(None, ensembles=data.ensembles)
        assert glance(both).startswith(f"{given}; on ") and "capitals" in glance(both), "tasks are not forgotten"


def test_every_figure_is_drawn_with_data_and_says_what_it_shows(drawn: dict[str, ReportFigure]) -> None:
    for name in FIGURES:
        assert drawn[name].panels and drawn[name].rows and drawn[name].caption, name
        assert all(p.svg_content and p.description for p in drawn[name].panels)
    assert [p.row for p in drawn["density"].panels] == ["width-8", "width-8", "width-16", "width-16"], "a row for each network"


def test_figure_3_has_open_bins_a_strict_threshold_and_its_null(data: ReportData, drawn: dict[str, ReportFigure]) -> None:
    members, phantoms = (data.ensembles.of("width-8", split) for split in ("member", "phantom"))
    m, null = (rows["leave_group_out"].to_numpy() for rows in (members, phantoms))
    rows = {
        name: [r for r in drawn["density"].rows if (r["model"], r["series"]) == ("width-8", name)]
        for name in ("above the members' threshold", "above the phantoms' threshold", "phantoms above theirs")
    }
    highest = {name: sum(r["highly_memorized"] for r in of) for name, of in rows.items()}
    assert highest == dict(
        zip(
            rows,
            ((m > np.quantile(m, 0.95)).sum(), (m > np.quantile(null, 0.95)).sum(), (null > np.quantile(null, 0.95)).sum()),
            strict=True,
        )
    )
    assert [sum(r["sequences"] for r in of) for of in rows.values()] == [len(m), len(m), len(null)], "no sequence is in no bin"
    tails = bin_edges(np.append(np.arange(-70.0, 1.0), (-500.0, 300.0)))
    assert np.searchsorted(tails, (-500.0, 300.0)).tolist() == [0, len(tails)], "tails are open"
    edges = bin_edges(np.arange(-70.0, 1.0))
    assert np.allclose(np.diff(edges), 5) and edges[0] <= -69.3 and edges[-1] >= -0.7 and len(edges) <= 17
    assert np.searchsorted(edges, edges[3]) == 3, "(a, b]: an edge belongs to the bin that it ends"
    assert len(bin_edges(np.zeros(9))) >= 2 and sentences.threshold(np.ones(5)) == 1, "constant scores: none is above it"


def test_sentences_on_the_central_ninety_per_cent_are_true_of_both(data: ReportData) -> None:
    first, second = sentences.density("", *[[np.arange(100.0), np.arange(100.0)]] * 2)
    assert first == (
        "0.0 % of the 5 most memorized members (M > 94.05 nats) and 0.0 % of the 5 most memorized phantoms (M > 94.05 nats) have "
        "a U in the central 90 %: what phantoms give is chance"
    )
    assert second == "5 of 100 members exceed what 95 % of the phantoms do not (94.05 nats)"
    first, _ = sentences.density("x", [-np.arange(100.0) % 97, np.arange(100.0)], [np.arange(3.0), np.zeros(3)])
    assert (
        first.startswith("100.0 % of the 5") is False
        and "– of the 0 most memorized phantoms" in first
        and " of x have a U" in first
    )


def test_leverage_gets_its_best_damping_and_kind_over_runs_that_hold_the_sequence(
    data: ReportData, drawn: dict[str, ReportFigure]
) -> None:
    stated = drawn["leverage"].observations[0]
    assert (
        stated.startswith("M and last-layer leverage of width-8 have a rank correlation of 1.00 over ")
        and "1.00 in canary" in stated
    )
    singles = len(data.ensembles.of("width-8", "member", single=True))
    assert f"over {singles} sequences with one copy" in stated and len({r["sequence"] for r in drawn["leverage"].rows}) == singles
    assert (
        "no leverage was computed"
        in next(f for f in all_figures.draw(data_of(ensembles(leverage={}))) if f.name == "leverage").missing
    )


def test_what_copies_and_twins_do_is_read_from_the_first_and_the_last(drawn: dict[str, ReportFigure]) -> None:
    assert drawn["copies"].observations[0] == (
        "Of dense sequences of width-8, from 1 to 16 copies M without all copies grows from 21.00 to 36.00; M without one copy "
        "falls from 21.00 to 0.08; the share extracted grows from 0.0 % to 100.0 %"
    )
    assert drawn["twins"].observations[0] == (
        "Of rings of width-8, from 1 to 8 trained members ω goes from 0.40 to 0.41, but the intervals overlap; M falls from 67.00 "
        "to 32.00; canaries have ω 1.00 [0.99, 1.01] and M 61.00 [60.99, 61.01]"
    )
    assert all(len(drawn[name].observations) == n for name, n in (("copies", 4), ("twins", 2))), "of each network"
    few = [r | {"examples": 9} for r in made_up.metrics()]
    assert "on too few examples or outputs to compare" in sentences.copies(data_of(ensembles(), few))[0]


def test_other_seeds_are_drawn_without_a_name(drawn: dict[str, ReportFigure]) -> None:
    names = [name for name, _ in drawn["copies"].panels[0].legend]
    assert names == ["M, all copies left out", "M, one copy left out"]
    assert {r["model"] for r in drawn["copies"].rows} == {*made_up.MODELS}


def test_the_grid_of_capacities_has_whole_runs_at_their_end(data: ReportData, drawn: dict[str, ReportFigure]) -> None:
    assert sorted(r["bits"] for r in drawn["capacity"].rows) == [10, 11, 40, 41], (
        "no group, no checkpoint before, none that diverged"
    )
    assert [name for name, _ in drawn["capacity"].panels[0].legend] == ["1k parameters", "4k parameters"]


@pytest.mark.parametrize(
    ("partial", "half", "clusters", "found"),
    [
        (0.4, 0.1, 40, "among runs of equal capacity those that memorize more generalize better"),
        (-0.4, 0.1, 40, "among runs of equal capacity those that memorize more generalize worse"),
        (0.4, 0.5, 40, "its interval includes zero, so the two are not seen to move together"),
        (0.4, 0.1, 9, "on too few examples or outputs, so the two are not seen to move together"),
    ],
)
def test_the_paragraph_on_capacity_follows_the_partial_correlation(partial: float, half: float, clusters: int, found: str) -> None:
    about = {"unit": "run", "detail": "bits", "rows": 96, "examples": clusters, "checkpoint": -1}
    rows = [row("capacity", "", "", 0.8, 0.1, statistic="spearman", **about)]
    (other,) = [row("capacity", "", "", 0.1, 0.01, statistic="partial", **about | {"detail": "excess"})]
    assert sentences.capacity(data_of(ensembles(), [*rows, other])) == [], "of another definition"
    rows.append(row("capacity", "", "", partial, half, statistic="partial", note="given log parameters", **about))
    (stated,) = sentences.capacity(data_of(ensembles(), [*rows, other]))
    assert stated.startswith(
        "Over 96 runs memorization and generalization have a rank correlation of 0.80 [0.70, 0.90]; given log para"
    )
    assert stated.endswith(f"]: {found}")


def test_a_study_whose_runs_are_not_there_says_so() -> None:
    bare = data_of(EnsembleData(), [])
    figures = {f.name: f for f in all_figures.draw(bare)}
    html = page(bare, list(figures.values()))
    assert all(not figures[name].panels and figures[name].missing for name in FIGURES)
    assert "No claim was tested." in text_of(html) and Reader(html).open == []


def test_tables_of_runs_become_a_page_with_the_best_leverage(tmp_path: Path) -> None:
    folder, html, files = written(tmp_path, parts(tmp_path), made_up.study())
    assert Reader(html).open == [] and {f"figures/{n}.svg" for n in FIGURES if n != "capacity"} < {r["file"] for r in files}
    rows = pl.read_csv(folder / "figures" / "leverage.csv")
    first = pl.DataFrame(made_up.leverage()).filter(damping=0.1).group_by("model", "sequence").agg(pl.mean("last_layer"))
    joined = rows.join(first, on=["model", "sequence"])
    assert len(joined) == len(rows) and np.allclose(joined["leverage"], joined["last_layer"]), "the mean over both runs"
    stated = text_of(html.partition("Memorization against leverage")[2].partition("</figure>")[0])
    assert (
        "M and last-layer leverage of width-8 have a rank correlation of 1.00" in stated
        and "last-layer leverage, damping 0.1" in stated
    )
    study = text_of(html.partition('<section id="study"')[2].partition("</section>")[0])
    assert "width-8 1 000 2 1 9" in study.replace("\u202f", " "), "parameters, runs, diverged, steps"
    methods = text_of(html.partition('<section id="methods"')[2])
    assert "We trained width-16, width-8 and width-8-b 64 times each" in methods and "intervals at 99 %" in methods


def test_the_terminal_has_the_verdicts_too() -> None:
    tables = [pa.Table.from_pylist([], schema=CONTRACTS[t].schema) for t in ("metrics", "metric_family", "models")]
    lines = results_table(*tables, pa.Table.from_pylist(made_up.verdicts(), schema=CONTRACTS["verdicts"].schema)).splitlines()
    assert max(map(len, lines)) <= WIDTH and lines[2] == "width-8: what its runs say, with intervals at 99 %"
    assert re.split("  +", lines[3].strip()) == ["T6 strong", "refuted", "2 of 2", "0.79 [0.71,\u00a00.86]"]
    assert lines[5].split() == ["T9", "inconclusive", "2", "of", "2", "–"] and len(lines) == 2 + 2 * 4
