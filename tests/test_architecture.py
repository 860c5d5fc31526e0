"""The house: imports run down only, in no circle, and heavy libraries are imported where they are used."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("schemas", "tasks", "flows")
GROUPS = ("corpus", "ngrams", "examples", "taskgrams", "models", "metrics", "prompts", "report")
HEAVY = {"torch", "transformers", "great_expectations", "matplotlib", "prefect", "numba", "sacrebleu", "distributed"}


def modules() -> list[Path]:
    return sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor(module: str) -> int:
    """4 flows, 3 groups of steps, 2 what they share, 1 schemas."""
    if module.startswith("flows"):
        return 4
    if module.startswith("schemas"):
        return 1
    return 3 if module.split(".")[1:2] and module.split(".")[1] in GROUPS else 2


def ours(module: str) -> bool:
    return module.split(".")[0] in PACKAGES


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_run_down_only(path: Path) -> None:
    here = name_of(path)
    for module in filter(ours, imports(path)):
        assert floor(module) <= floor(here), f"{here} imports {module}, which is above it"
        if floor(here) == 3 and floor(module) == 3:
            assert module.split(".")[1] == here.split(".")[1], f"{here} imports {module}, which is in another group"


def test_imports_have_no_circle() -> None:
    names = {name_of(p): p for p in modules()}
    graph = {n: {m for m in imports(p) if m in names and m != n} for n, p in names.items()}
    done: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a circle: {' -> '.join([*path, name])}"
        if name not in done:
            for other in graph[name]:
                walk(other, (*path, name))
            done.add(name)

    for name in graph:
        walk(name, ())


def test_kernels_import_nothing_of_ours() -> None:
    kernels = [p for p in modules() if p.stem.endswith("kernels")]
    assert kernels
    for path in kernels:
        others = {m for m in imports(path) if ours(m)}
        assert not {m for m in others if "kernels" not in m}, f"{path} imports ours that are no kernels"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_heavy_libraries_are_imported_where_they_are_used(path: Path) -> None:
    """A run with nothing to do must not pay for torch; kernels and the flow itself are imported only when needed."""
    if path.stem.endswith("kernels") or path in [
        ROOT / "flows" / f"{name}.py" for name in ("run", "prefect_log", "commands/prompts")
    ]:
        return
    heavy = {m.split(".")[0] for m in imports(path, top_level_only=True)} & HEAVY
    assert not heavy, f"{name_of(path)} imports {heavy} at its top"


def test_only_the_cluster_knows_dask_and_only_flows_know_prefect() -> None:
    for path in modules():
        roots = {m.split(".")[0] for m in imports(path)}
        if path not in [ROOT / "tasks" / "cluster" / f"{name}.py" for name in ("cluster", "submission")]:
            assert not roots & {"dask", "distributed"}, path
        if not name_of(path).startswith("flows"):
            assert "prefect" not in roots, path


def test_each_table_has_one_writer_and_no_step_reads_what_comes_later() -> None:
    from flows.study import STEPS
    from schemas import CONTRACTS
    from tasks.prompts.choose import EVALUATE, search_step

    written: set[str] = set()
    for step in STEPS:
        assert set(step.reads) <= written, f"{step.name} reads {set(step.reads) - written}, which no earlier step writes"
        for contract in step.writes:
            assert contract.name not in written, f"{contract.name} has two writers"
            written.add(contract.name)
    of_prompts = {c.name for step in (search_step(None, None), EVALUATE) for c in step.writes}  # type: ignore[arg-type]
    assert not written & of_prompts, "prompt choice is no part of a study"
    assert written | of_prompts == set(CONTRACTS)


def test_no_pickle_for_data() -> None:
    for path in modules():
        assert not {"pickle", "dill", "cloudpickle", "joblib"} & {m.split(".")[0] for m in imports(path)}, path
        assert "torch.save" not in path.read_text(encoding="utf-8"), path


def test_every_package_is_in_the_wheel() -> None:
    from setuptools import find_packages

    include = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]["find"]
    assert {name_of(p) for p in modules() if p.name == "__init__.py"} <= set(find_packages(str(ROOT), **include))
    assert {name_of(p.parent / "__init__.py") for p in modules()} <= set(find_packages(str(ROOT), **include))
