"""What each study has run, under `<root>/studies/`: a file for the study, and one for each of its steps. A step's record is
replaced as a whole, so that two runs of a study at once never take each other's records away."""

from typing import Any

from flows.plan import PlannedStep
from schemas import Study, StudyError
from tasks.storage.store import Store

NEVER_RECORDED = ("cluster_kwargs",)


def record(store: Store, study: Study, file: str, planned: PlannedStep, **what: Any) -> None:
    """Write down what a step came to. `file`: the study as named on the command line."""
    tables: dict[str, Any] = {t: {"fingerprint": name} for t, name in planned.fingerprints.items()}
    for t, parts in planned.outputs.items():
        tables[t] |= {"parts": [p.key for p in parts], "files": [store.layout.relative(p) for p in parts]}
    left_out = {"data", "cluster", *(() if study.memorization else ("memorization",))}
    settings = _recorded(study.model_dump(mode="json", exclude=left_out))
    settings = {"study": study.name, "file": file, "settings": settings}
    if store.read_json(store.layout.study(study.name)) != settings:
        store.write_json(store.layout.study(study.name), settings)
    step = {"fingerprint": planned.fingerprint, "tables": tables, **what}
    store.write_json(store.layout.step(study.name, planned.step.name), step)


def mark_void(store: Store, study: str, step: str) -> None:
    """Note that a step's parts, though they are there under their keys, were made of other bytes than its inputs have now."""
    store.write_json(store.layout.step(study, step), {**recorded_step(store, study, step), "void": True})


def recorded_step(store: Store, study: str, step: str) -> dict[str, Any]:
    """The record of one step; empty if there is none."""
    return store.read_json(store.layout.step(study, step)) or {}


def recorded_steps(store: Store, study: str) -> dict[str, dict[str, Any]]:
    paths = store.listed(store.layout.steps(study), ".json")
    return {path.rsplit("/", 1)[1].removesuffix(".json"): store.read_json(path) or {} for path in paths}


def kept(store: Store) -> set[tuple[str, str]]:
    """(table, key of a part or fingerprint) of all that studies here record. StudyError for a record that cannot be read."""
    entries: set[tuple[str, str]] = set()
    folders = store.listed(store.layout.studies, ".steps")
    for path in (path for folder in folders for path in store.listed(folder, ".json")):
        record = store.read_json(path)
        if not isinstance(record, dict):
            raise StudyError(f"{path}: cannot be read, so what it records is unknown; run its study again, or remove it")
        for name, entry in record.get("tables", {}).items():
            entries |= {(name, key) for key in entry["parts"]} | {(name, entry["fingerprint"])}
    return entries


def _recorded(settings: Any) -> Any:
    """Settings without those for another provider's cluster: the arguments it is started with may hold a token."""
    if not isinstance(settings, dict):
        return settings
    return {name: _recorded(value) for name, value in settings.items() if name not in NEVER_RECORDED}
