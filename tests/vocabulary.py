"""Words, phrases and names that this project does not use, counted by room: `python -m tests.vocabulary`.

codespell checks the single words of docs/vocabulary.txt. The entries of several words, which it cannot match, are checked here.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Names that say nothing about their values.
PLACEHOLDERS = {"found", "asked", "known", "said", "told", "own", "Asked", "Asks", "Found", "Known"}
OWN_PAGE = ("docs/vocabulary.txt", "tests/vocabulary.py")


def entries(*, phrases: bool) -> dict[str, str]:
    """Entries of docs/vocabulary.txt, with several words or with one, and what to write instead."""
    lines = (ROOT / "docs" / "vocabulary.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("->") for line in lines)
    return {old: new.rstrip(", ") for old, new in pairs if (" " in old) == phrases}


def files(*patterns: str) -> list[Path]:
    """Files of the repository, as git lists them."""
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and name not in OWN_PAGE and (ROOT / name).exists()]


def phrases_in(path: Path) -> Iterator[str]:
    """FILE:LINE: phrase ==> what to write instead; a phrase may be broken over two lines."""
    text, replacements = path.read_text(encoding="utf-8"), entries(phrases=True)
    gap = r"[\s#*/>]+"  # between two words: a line's end, and what a comment begins with
    pattern = "|".join(f"(?i:{phrase[0]}){gap.join(map(re.escape, phrase[1:].split(' ')))}" for phrase in replacements)
    for match in re.finditer(rf"(?<![\w-])(?:{pattern})(?![\w-])", text):
        phrase = re.sub(gap, " ", match[0]).lower()
        line = text.count("\n", 0, match.start()) + 1
        yield f"{path.relative_to(ROOT)}:{line}: {phrase} ==> {replacements[phrase]}"


def names_in(path: Path) -> Iterator[str]:
    """FILE:LINE of every variable, argument, function, class or field whose name says nothing about its value."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = {
            ast.Name: lambda n: n.id if isinstance(n.ctx, ast.Store) else "",
            ast.arg: lambda n: n.arg,
            ast.FunctionDef: lambda n: n.name,
            ast.ClassDef: lambda n: n.name,
        }
        name = names[type(node)](node) if type(node) in names else ""
        if name in PLACEHOLDERS:
            yield f"{path.relative_to(ROOT)}:{node.lineno}: the name {name} ==> a name for the thing itself"  # type: ignore[attr-defined]


def main() -> int:
    """Print every hit and their number per room; 1 if there are any."""
    hits = [hit for path in files("*.py", "*.md", "*.html", "*.toml") for hit in phrases_in(path)]
    hits += [hit for path in files("schemas/*.py", "tasks/*.py", "flows/*.py", "benchmarks/*.py") for hit in names_in(path)]
    for hit in hits:
        print(hit)
    for room, count in sorted(Counter("/".join(hit.split(":")[0].split("/")[:-1][:2]) or "." for hit in hits).items()):
        print(f"{count:6} {room}")
    return bool(hits)


if __name__ == "__main__":
    sys.exit(main())
