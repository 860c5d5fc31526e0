"""Lists that a contributor extends are complete: what is written in the tree is in its list, and CHANGELOG.md names every step."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def declared(kind: str, *folders: str) -> dict[str, str]:
    """First argument, and file, of every `NAME = Kind("name", …)` at the top of a file."""
    found = {}
    for path in sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            call = node.value if isinstance(node, ast.Assign) else None
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == kind:
                found[ast.literal_eval(call.args[0])] = path.relative_to(ROOT).as_posix()
    return found


def test_every_measure_is_in_the_list() -> None:
    from tasks import memorization, metrics

    for group in (metrics, memorization):
        folder, listed = group.__name__.replace(".", "/"), {m.name for m in getattr(group, "MEASURES", ())}
        written = declared("Measure", folder) | declared("of_windows", folder)
        missing = {name: file for name, file in written.items() if name not in listed}
        assert listed <= written.keys(), "a measure is declared by neither"
        assert not missing, f"add it to MEASURES in {folder}/__init__.py"


def test_every_step_is_in_the_order() -> None:
    from flows.study import STEPS

    steps = {name: file for name, file in declared("Step", "tasks", "flows").items() if not file.startswith("tasks/prompts/")}
    assert not set(steps) - {s.name for s in STEPS}, f"add it to STEPS in flows/study.py: {steps}"


def test_the_changelog_names_every_step() -> None:
    from flows.study import STEPS

    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert not [step.name for step in STEPS if f"`{step.name}`" not in changes], "add a line to CHANGELOG.md"
