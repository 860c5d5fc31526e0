"""What `make docs` writes is up to date: pages of the steps, the catalogue of measures, deployments of the steps."""

from pathlib import Path

import polars as pl
import pytest

from flows.commands import measure_pages, settings_page
from flows.commands.generated_files import generated
from flows.commands.step_pages import pages
from schemas.tables.metrics import QUALIFIERS

ROOT = Path(__file__).resolve().parents[2]


def test_what_is_generated_is_up_to_date() -> None:
    steps = [f"docs/steps/{p.name}" for p in (ROOT / "docs" / "steps").glob("*.md")]
    names = ["docs/settings.md", "docs/measures.md", "deployments/prefect.yaml", *steps]
    assert {name: (ROOT / name).read_text(encoding="utf-8") for name in names} == generated(ROOT), "run `make docs`"


def test_each_page_names_the_file_that_declares_its_step() -> None:
    for name, text in pages().items():
        if name != "README.md":
            source = ROOT / text.split("Source: `")[1].split("`")[0]
            assert f'"{name.removesuffix(".md")}"' in source.read_text(encoding="utf-8"), source
            assert ".." not in text.splitlines()[2]


def test_the_reference_of_settings_says_what_reruns() -> None:
    again = settings_page.reruns()
    assert again["tasks.gamma"] == again["measures.bootstrap"] == ("measure", "report")
    assert again["counting.memory"] == again["workers"] == again["hardware.gpu"] == ()
    scored = ("score", "score_sequences", "recite", "count_recitations", "memorize", "generate", "novelty", "evidence")
    assert again["models.hub"] == ("models", *scored, "measure", "report")


@pytest.mark.parametrize("study", ["sample", "debian"])
def test_the_catalogue_of_measures_describes_every_number(study: str) -> None:
    names = ["measure", "statistic", "unit", *QUALIFIERS]
    numbers = pl.read_parquet(ROOT / "tests" / "recorded" / f"{study}_metrics.parquet", columns=names).unique().rows()
    rows = [(*row[:3], dict(zip(QUALIFIERS, row[3:], strict=True))) for row in numbers]
    catalogue = measure_pages.described((ROOT / measure_pages.PAGE).read_text(encoding="utf-8"))
    assert not [row for row in rows if not any(d.describes(*row) for d in catalogue)], "describe them in docs/measures.md"
    assert not any(d.describes("mem_n", "spearman", "pair", QUALIFIERS | {"detail": "no such detail"}) for d in catalogue)
