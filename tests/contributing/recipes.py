"""The recipes of CONTRIBUTING.md: the diffs of each section, and what they do to a copy of the tree."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = re.compile(r"(?:schemas|tasks|flows)/|CHANGELOG\.md$")  # an edit; pages and tests are what the checks then ask for


@dataclass(frozen=True)
class Edit:
    """What a diff does to one file: (old lines, new lines) of each hunk. A new file has one hunk without old lines."""

    file: str
    hunks: tuple[tuple[str, str], ...]

    @property
    def is_code(self) -> bool:
        """Whether it is one of the edits that a recipe promises."""
        return bool(CODE.match(self.file))

    def apply(self, tree: Path) -> None:
        """Make the edit. Line numbers are ignored: the old lines of a hunk must be in the file exactly once."""
        path = tree / self.file
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for old, new in self.hunks:
            assert text.count(old) == 1 if old else not text, f"CONTRIBUTING.md no longer fits {self.file}:\n{old}"
            text = text.replace(old, new) if old else new
        path.write_text(text, encoding="utf-8")


def edits(section: str) -> list[Edit]:
    """The edits of the diffs under a heading, in their order."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    text = page[page.index(f"\n## {section}\n") :].split("\n## ")[1]
    found = []
    for diff in re.findall(r"^```diff\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for file, body in re.findall(r"^--- \S+\n\+\+\+ b/(\S+)\n(.*?)(?=^--- |\Z)", diff, re.MULTILINE | re.DOTALL):
            found.append(Edit(file, tuple(_hunk(hunk) for hunk in re.split(r"^@@ .* @@\n", body, flags=re.MULTILINE)[1:])))
    return found


def _hunk(text: str) -> tuple[str, str]:
    lines = text.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[0] in " -")
    return old, "".join(line[1:] for line in lines if line[0] in " +")
