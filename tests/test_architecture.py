"""Rules of the architecture that import-linter (`make lint`) cannot express: kernels, heavy libraries, tables, names, the wheel."""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("schemas", "tasks", "flows")
HEAVY = {"torch", "transformers", "great_expectations", "matplotlib", "prefect", "numba", "sacrebleu", "distributed"}
IMPORTED_LATE = [ROOT / "flows" / f"{name}.py" for name in ("run", "prefect_log")]  # by what needs Prefect


def modules(*packages: str) -> list[Path]:
    return sorted(p for package in packages or PACKAGES for p in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_package_of_tasks_is_in_a_layer() -> None:
    """import-linter knows only the packages that pyproject.toml lists: one that is missing there would not be checked."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    layers = " ".join(" ".join(c["layers"]) for c in contracts if c["type"] == "layers")
    packages = {f"tasks.{p.stem}" for p in (ROOT / "tasks").iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    packages |= {f"tasks.{p.stem}" for p in (ROOT / "tasks").glob("*.py") if p.stem != "__init__"}
    assert packages <= set(layers.replace("(", " ").replace(")", " ").split())


def test_kernels_import_only_kernels() -> None:
    """Here, because import-linter's patterns match whole names, while kernels share only the end of their names."""
    kernels = [p for p in modules() if p.stem.endswith("kernels") or p.parent.name == "kernels"]
    assert kernels
    for path in kernels:
        others = {m for m in imports(path) if m.split(".")[0] in PACKAGES and "kernels" not in m}
        assert not others, f"{name_of(path)} imports {others}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_heavy_libraries_are_imported_where_they_are_used(path: Path) -> None:
    """A run with nothing to do must not import torch; kernels and the flow itself are imported only when needed."""
    if not path.stem.endswith("kernels") and path not in IMPORTED_LATE:
        heavy = {m.split(".")[0] for m in imports(path, top_level_only=True)} & HEAVY
        assert not heavy, f"{name_of(path)} imports {heavy} at its top"


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


def twice(names: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    places = defaultdict(list)
    for name, place in names:
        places[name].append(place)
    return {name: found for name, found in places.items() if len(found) > 1}


def test_no_file_name_serves_two_things() -> None:
    files = modules("schemas", "tasks", "flows", "benchmarks")
    assert not twice((p.stem, name_of(p)) for p in files if not p.stem.startswith("__"))


def test_no_class_name_serves_two_things() -> None:
    trees = ((p, ast.parse(p.read_text(encoding="utf-8"))) for p in modules("schemas", "tasks", "flows", "benchmarks"))
    assert not twice((n.name, name_of(p)) for p, tree in trees for n in ast.walk(tree) if isinstance(n, ast.ClassDef))


def test_the_formatter_decides_everywhere() -> None:
    for path in modules("schemas", "tasks", "flows", "benchmarks", "tests"):
        assert "fmt: " + "skip" not in path.read_text(encoding="utf-8"), path


def test_no_pickle_for_data() -> None:
    for path in modules():
        assert not {"pickle", "dill", "cloudpickle", "joblib"} & {m.split(".")[0] for m in imports(path)}, path
        assert "torch.save" not in path.read_text(encoding="utf-8"), path


def test_every_package_is_in_the_wheel_and_says_that_it_is_typed() -> None:
    from setuptools import find_packages

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    packages = set(find_packages(str(ROOT), **settings["packages"]["find"]))
    assert {name_of(p.parent / "__init__.py") for p in modules()} <= packages
    assert all((ROOT / package / "py.typed").exists() for package in PACKAGES)
    assert "py.typed" in settings["package-data"]["*"]
