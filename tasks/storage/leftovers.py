"""Removal of files that killed processes left half written, by the run that finishes a table or finds it finished."""

import shutil
from collections.abc import Callable
from pathlib import Path

from tasks.storage.store import Store


def sweep(store: Store, table: str, idle: Callable[[str], bool]) -> int:
    """Remove temporary files of parts that no run is computing, as `idle(key)` tells; returns how many. Called when all parts of a
    table exist, and leftovers of killed processes are no longer needed."""
    layout, swept = store.layout, 0
    for path in sorted(layout.near_kind(table, "parts").glob(".*.tmp")):
        if idle(path.name.split(".")[1]):
            path.unlink(missing_ok=True)
            swept += 1
    for path in sorted(layout.near_kind(table, "manifests").glob("*.tmp")):
        path.unlink(missing_ok=True)  # another run that is writing it writes it again
        swept += 1
    for path in sorted(layout.near_kind(table, "files").glob("*/.*.tmp")):
        if idle(path.parent.name):
            path.unlink(missing_ok=True)
            swept += 1
    for path in sorted(layout.scratch(table, "*").parent.glob(f"{table}.*")):
        if idle(path.name.split(".")[1]):
            shutil.rmtree(path, ignore_errors=True)
            swept += 1
    return swept


def sweep_small_files(store: Store) -> int:
    """Remove temporary files of killed processes under `studies`; a live run that loses one writes it again."""
    swept = 0
    for path in sorted(Path(store.layout.studies).rglob("*.tmp")) if store.local else ():
        path.unlink(missing_ok=True)
        swept += 1
    return swept
