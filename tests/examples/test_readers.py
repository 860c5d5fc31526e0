"""A reader is its module and one line in READER_VERSIONS; everything else that it needs is named here when it is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from schemas.settings.reader_versions import READER_VERSIONS
from tasks.examples import readers
from tasks.examples.readers import reader_module
from tests.examples.reader_files import GOOD, TESTED_ELSEWHERE, WRONG

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
MODULES = sorted(p.stem for p in Path(readers.__path__[0]).glob("*.py") if p.stem != "__init__")


def test_every_module_of_the_readers_is_listed_with_a_version():
    unlisted = [name for name in MODULES if name not in READER_VERSIONS]
    assert not unlisted, f'add "{unlisted[0]}": 1 to READER_VERSIONS in schemas/settings/reader_versions.py'


@pytest.mark.parametrize("reader", READER_VERSIONS)
def test_every_listed_reader_has_all_that_a_reader_needs(reader):
    file = f"tasks/examples/readers/{reader}.py"
    assert reader in MODULES, f"write {file}, or remove {reader!r} from schemas/settings/reader_versions.py"
    module = reader_module(reader)
    assert callable(getattr(module, "read", None)), f"write read(file, settings) in {file}"
    example = (module.__doc__ or "").partition("\n\n")[2]
    assert example.strip(), f"begin {file} with what it reads, an empty line, and an example of it"
    row = re.search(rf"^\| `{reader}(:NAME)?` \|", PAGE, re.MULTILINE)
    assert row, f"add a line for `{reader}` to the table of readers in docs/tasks.md"
    snippet = reader == "planted" or re.search(rf'^reader = "{reader}(:[^"]+)?"', PAGE, re.MULTILINE)
    assert snippet, f'add a [[tasks]] with reader = "{reader}" to docs/tasks.md'
    if reader not in TESTED_ELSEWHERE:
        assert reader in GOOD, f"add a good file of {reader!r} to GOOD in tests/examples/reader_files.py"
        assert reader in WRONG, f"add a file of another format to WRONG[{reader!r}] in tests/examples/reader_files.py"


@pytest.mark.parametrize("reader", READER_VERSIONS)
def test_a_reader_declares_only_what_is_heeded(reader):
    """A misspelt TWO_FILE would be ignored in silence."""
    heeded = set(re.findall(r"^    ([A-Z_]+) = ", readers.__doc__, re.MULTILINE))
    assert heeded == {"TWO_FILES", "GROUPS_SHARE_SHOTS", "SETTINGS"}
    near = [n for n in vars(reader_module(reader)) if n.isupper() and n not in heeded and re.match("TWO|GROUP|SETTING", n)]
    assert not near, f"{near} of {reader!r}: a reader declares {', '.join(sorted(heeded))}"
