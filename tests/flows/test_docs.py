"""What `make docs` writes is up to date: pages of the steps, the catalogue of measures, deployments of the steps."""

from pathlib import Path

from flows.commands import measure_pages
from flows.commands.deployment_entries import with_entries
from flows.commands.step_pages import pages

ROOT = Path(__file__).resolve().parents[2]


def test_pages_of_the_steps_are_up_to_date() -> None:
    written = {p.name: p.read_text(encoding="utf-8") for p in (ROOT / "docs" / "steps").glob("*.md")}
    assert written == pages(), "run `make docs`"


def test_each_page_names_the_file_that_declares_its_step() -> None:
    for name, text in pages().items():
        if name != "README.md":
            source = ROOT / text.split("Source: `")[1].split("`")[0]
            assert f'"{name.removesuffix(".md")}"' in source.read_text(encoding="utf-8"), source
            assert ".." not in text.splitlines()[2]


def test_the_deployments_of_the_steps_are_up_to_date() -> None:
    text = (ROOT / "deployments" / "prefect.yaml").read_text(encoding="utf-8")
    assert text == with_entries(text), "run `make docs`"


def test_the_catalogue_of_measures_is_up_to_date() -> None:
    assert (ROOT / "docs" / "measures.md").read_text(encoding="utf-8") == measure_pages.page(), "run `make docs`"


def test_a_row_is_described_by_its_columns() -> None:
    ablation = {"mem_ablation", "spearman", "pair", "log_output_documents"}
    (found,) = (
        d for d in measure_pages.CATALOGUE if d.describes("mem_ablation", "spearman", "pair", "log_output_documents")
    )
    assert ablation == {found.measure, found.statistic, found.unit, found.detail}
    assert not any(d.describes("mem_n", "spearman", "pair", "no such detail") for d in measure_pages.CATALOGUE)
