"""The code that a row measures, as a hash, so that a record tells whether it is older than its code.

It is what our side imports, in its own function and in the helpers that this calls, and what those modules import from their own
group; all of the packages that the module of the side names. Comments, docstrings and layout do not count.
"""

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from benchmarks.rows import ROWS
from benchmarks.side import OURS, ROOT

EVERYWHERE = ("tasks.step", "tasks.cost", "tasks.storage", "tasks.cluster", "flows", "schemas")  # every step runs through these


def code(row: str, root: Path = ROOT) -> str:
    """A hash of the files that the row measures."""
    text = "".join(f"{path.relative_to(root)}\n{parsed(path)[0]}\n" for path in files(row, root))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def files(row: str, root: Path = ROOT) -> list[Path]:
    waiting = [name for node in _reached(ROWS[row].sides[OURS]) for name in _imports(node)]
    packages = getattr(inspect.getmodule(ROWS[row].sides[OURS]), "MEASURED", ())
    measured = {path for package in packages for path in (root / package).rglob("*.py")}
    while waiting:
        name = waiting.pop()
        path = next((p for p in (root / f"{name.replace('.', '/')}{end}" for end in (".py", "/__init__.py")) if p.is_file()), None)
        if path and path not in measured and not name.startswith(EVERYWHERE):
            measured.add(path)
            group = ".".join(name.split(".")[:2])
            waiting += [n for n in parsed(path)[1] if n.startswith(group)]
    return sorted(measured)


def _reached(side: Callable[..., object]) -> Iterator[ast.AST]:
    """The function that makes a side, and those of its module that it uses, directly or not."""
    module = inspect.getmodule(side)
    assert module is not None
    functions = {n.name: n for n in ast.parse(inspect.getsource(module)).body if isinstance(n, ast.FunctionDef)}
    waiting: list[ast.AST] = [ast.parse(textwrap.dedent(inspect.getsource(side)))]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += [functions.pop(n.id) for n in ast.walk(node) if isinstance(n, ast.Name) and n.id in functions]


def _imports(tree: ast.AST) -> Iterator[str]:
    """Modules of this project; what is imported from one may be a module, too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("tasks", "flows")):
            yield from (node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names))


@cache
def parsed(path: Path) -> tuple[str, list[str]]:
    """The code without comments, docstrings and layout; the modules it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            body[0] = ast.Pass()
    return ast.unparse(tree), [*_imports(tree)]
