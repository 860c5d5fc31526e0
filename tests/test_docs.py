"""What the docs promise a reader: cited sections exist, links lead somewhere, every package is in the architecture's list."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import polars as pl
import pytest

from schemas import CONTRACTS
from tests.recorded import PAGE, memorization_numbers, with_numbers
from tests.report.measures import of_sequences

ROOT = Path(__file__).resolve().parent.parent
METHOD = ROOT / "docs" / "method.md"
SECTIONS = re.findall(r"^#+ (§\d+[a-d]?) ", METHOD.read_text(encoding="utf-8"), re.MULTILINE)
OTHER_SOURCE = r"arXiv \d{4}\.\d{4,5}(?:v\d+)?|RFC \d+|UAX \d+|[Pp]aper"  # their sections are their own
WALKED = ("schemas", "tasks", "flows", "benchmarks", "studies", "docs", "README.md", "CONTRIBUTING.md")


def listed(*patterns: str) -> list[Path]:
    """Files of the repository, as git lists them."""
    names = subprocess.run(["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in names.stdout.split("\0") if name and (ROOT / name).exists()]


def citations(text: str, *, own: bool = False) -> list[tuple[str, str]]:
    """(source, section) of each § in a text. The source is the nearest one before it in its sentence; "" if there is none.

    >>> citations("Mem_n (docs/method.md §6, §6a) and its placebo (§6d) follow arXiv 2407.14985 §2. See §3.")
    [('method', '§6'), ('method', '§6a'), ('method', '§6d'), ('other', '§2'), ('', '§3')]
    """
    cited = []
    for sentence in re.split(r"(?<=[.!?])[\"'”)`]*\s+(?=[A-Z`*(])|\n\s*\n|\n[-|] ", text):
        source = "method" if own else ""
        for token in re.finditer(rf"(?P<method>method\.md)|(?P<other>{OTHER_SOURCE})|(?P<section>§\d+[a-z]?)", sentence):
            if token.lastgroup == "section":
                cited.append((source, token[0]))
            else:
                source = str(token.lastgroup)
    return cited


def test_the_method_has_the_sections_that_the_code_may_cite() -> None:
    numbers = [f"§{n}" for n in range(1, 7)] + [f"§6{letter}" for letter in "abcd"] + [f"§{n}" for n in range(7, 18)]
    assert numbers == SECTIONS


def test_the_reader_of_citations_reads_them() -> None:
    text = "Mem_n (docs/method.md §6, §6a) and its placebo (§6d) follow arXiv 2407.14985 §2. See §3."
    assert citations(text) == [("method", "§6"), ("method", "§6a"), ("method", "§6d"), ("other", "§2"), ("", "§3")]


@pytest.mark.parametrize("kind", ["py", "md", "toml", "html"])
def test_every_cited_section_exists(kind: str) -> None:
    for path in listed(*WALKED):
        if path.suffix == f".{kind}":
            text = re.sub(r"\n[ #]+", "\n", path.read_text(encoding="utf-8"))  # a sentence may go over lines of a comment
            of_the_method = path == METHOD or "§ are sections of" in text
            for source, section in citations(text, own=of_the_method):
                assert source, f"{path.relative_to(ROOT)}: {section} of what? Name docs/method.md or the paper in the same sentence"
                assert source == "other" or section in SECTIONS, f"{path.relative_to(ROOT)}: docs/method.md has no {section}"


def test_every_link_between_pages_leads_to_a_file() -> None:
    for page in listed("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:", target):
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_every_room_is_on_the_plan_of_the_house() -> None:
    plan = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    folders = {p.parent for p in listed("schemas", "tasks", "flows", "benchmarks", "studies", "deployments")}
    rooms = {f"`{folder.relative_to(ROOT)}/`" for folder in folders} | {
        f"`tasks/{p.name}`" for p in (ROOT / "tasks").glob("*.py") if p.name != "__init__.py"
    }
    assert not {room for room in rooms if room not in plan}


def test_the_numbers_of_the_sample_are_the_recorded_ones() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_numbers(page) == page, "record again: python -m tests.recorded ROOT sample"
    made = pl.DataFrame([*of_sequences({"small": 1, "large": 2})], schema=pl.Schema(CONTRACTS["metrics"].schema))
    lines = memorization_numbers(made, "large").splitlines()[2:]
    assert [line.partition(" | ")[0] for line in lines] == [
        f"| `{name}`" for name in ("extraction` `excess", "extraction` `rate", "extraction` `rate_by_duplicates")
    ] + [f"| `discoverable` `{name}`" for name in ("excess", "rate")]
    assert "| bin 20 planted canary | 36.0 % [32.0,\u00a040.0] | 280 |" in lines[2], "the last bin, of planted texts"
