"""Only tasks/storage knows where things lie under a root."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tasks.storage.layout import Layout, below_files, file_of_part

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDERS = ("/parts/", "/manifests/", "/files/", "/rejected/", ".leases", ".scratch", ".probes", ".dask")
WHOLE = ("parts", "manifests", "rejected", "logs", "reports", ".leases", ".scratch", ".probes", ".dask")  # joined by / or f-string


def texts(tree: ast.AST) -> list[tuple[int, str]]:
    """(line, text) of every string that is no docstring."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docs = {id(n.body[0].value) for n in ast.walk(tree) if isinstance(n, documented) and isinstance(n.body[0], ast.Expr)}
    strings = (n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))
    return [(n.lineno, n.value) for n in strings if id(n) not in docs]


def joined(tree: ast.AST) -> list[tuple[int, str]]:
    """(line, text) of every string that is joined to a path: `root / "reports"`."""
    found = (n.right for n in ast.walk(tree) if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Div))
    return [(n.lineno, n.value) for n in found if isinstance(n, ast.Constant) and isinstance(n.value, str)]


@pytest.mark.parametrize("folder", ["tasks", "flows", "schemas"])
def test_no_other_file_builds_a_path_of_a_root(folder: str) -> None:
    wrong = []
    for path in sorted((REPOSITORY / folder).rglob("*.py")):
        if path.is_relative_to(REPOSITORY / "tasks" / "storage"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        wrong += [f"{path}:{line}: {t!r}" for line, t in texts(tree) if any(f in t for f in FOLDERS)]
        wrong += [f"{path}:{line}: {t!r}" for line, t in joined(tree) if t in WHOLE]
    assert not wrong


def test_a_file_of_a_part_is_named_from_the_root() -> None:
    """As `models` names its checkpoints, so that a root can be moved."""
    layout = Layout("bucket/root", Path("/cache"))
    name = file_of_part("models", "k", "step-3")
    assert f"{layout.base}/{name}" == f"{layout.files('models', 'k')}/step-3"
    assert below_files(name) == ["k", "step-3"]
