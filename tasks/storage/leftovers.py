"""Removal of files that killed processes left half written, by the run that finishes a table or finds it finished."""

import shutil
from collections.abc import Callable
from pathlib import Path

from tasks.storage.store import Store


def sweep(store: Store, table: str, idle: Callable[[str], bool]) -> int:
    """Remove temporary files of parts that no run is computing, as `idle(key)` tells; returns how many. Called when all parts of a
    table exist, and leftovers of killed processes are no longer needed."""
    parts, manifests, files = (store.layout.near_kind(table, kind) for kind in ("parts", "manifests", "files"))
    scratch = store.layout.scratch(table, "*").parent.glob(f"{table}.*")
    of_parts = [(path, path.name.split(".")[1]) for path in (*parts.glob(".*.tmp"), *scratch)]
    of_parts += [(path, path.parent.name) for path in files.glob("*/.*.tmp")]
    left = [path for path, key in of_parts if idle(key)]
    left += manifests.glob("*.tmp")  # another run that is writing one writes it again
    return _remove(left)


def sweep_small_files(store: Store) -> int:
    """Remove temporary files of killed processes under `studies`; a live run that loses one writes it again."""
    return _remove([*Path(store.layout.studies).rglob("*.tmp")] if store.local else [])


def _remove(paths: list[Path]) -> int:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(paths)
