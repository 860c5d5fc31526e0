"""The state of every step, the results table, damaged parts, and files that no study needs any more."""

from typing import Any

from flows.manifests import is_finished, read_again, rows_of
from flows.plan import PlannedStep, lay_out, lay_out_what_can_be
from flows.session import CLEANING
from flows.study import STEPS
from flows.study_files import report_page, study_path
from flows.study_records import kept, recorded_steps
from flows.terminal import WIDTH, size
from schemas import CONTRACTS, Study, StudyError, load_study
from tasks.storage.leases import Leases
from tasks.storage.store import Store, fingerprint
from tasks.storage.validation import validate


def describe(study: str, root: str) -> list[dict[str, Any]]:
    """Of each step what is known. stale: the study or its inputs have changed since it ran. missing: parts are not there."""
    settings = load_study(study_path(study))
    store = Store(root)
    recorded = recorded_steps(store, settings.name)
    return [_describe_step(p, store, recorded.get(p.step.name, {})) for p in lay_out(STEPS, settings)]


def _describe_step(planned: PlannedStep, store: Store, record: dict[str, Any]) -> dict[str, Any]:
    current = record.get("fingerprint") == planned.fingerprint
    if record.get("void"):
        state = "stale"
    elif is_finished(store, planned):
        state = "done"
    elif (record.get("state") == "failed" and current) or record.get("left_out"):
        state = "failed"
    elif record and not current:
        state = "stale"
    else:
        state = "missing"
    manifests = {t: store.manifest(t, name) for t, name in planned.fingerprints.items()}
    without = "; ".join(f"finished without {model}: {why}" for model, why in record.get("left_out", {}).items())
    whole = [m for m in manifests.values() if m] if state == "done" else []
    checks = [c for m in whole for c in m["validation"]["checks"]]
    of_keys = {tuple(e["key"] for e in m["parts"]): m for m in whole}  # tables of one job share its seconds
    sums = {"parts": sum(len(s.jobs) for s in planned.stages), "rows": rows_of(whole), "bytes": sum(m["bytes"] for m in whole)}
    sums |= {"seconds": round(sum(m["seconds"] for m in of_keys.values()), 3)}
    validation = {"success": bool(whole) and all(c["success"] for c in checks), "checks": len(checks)}
    names = planned.fingerprints.items()
    return {
        **{"step": planned.step.name, "state": state, **sums, "fingerprint": planned.fingerprint, "validation": validation},
        **{"read_again": read_again(whole), "path": store.layout.table(planned.step.writes[0].name)},
        "tables": {t: {"fingerprint": name, "manifest": store.layout.manifest(t, name)} for t, name in names},
        **({"error": str(record.get("error", "")) or without} if state == "failed" else {}),
    }


def table(steps: list[dict[str, Any]]) -> str:
    """A line per step that the study has a part of."""
    lines = [f"{'step':<{WIDTH}} {'state':<8} {'parts':>6} {'rows':>12} {'bytes':>10} {'seconds':>9}  fingerprint   checks"]
    for s in (s for s in steps if s["parts"] or s["state"] != "done"):
        sums = f"{s['parts']:>6} {s['rows']:>12,} {size(s['bytes']):>10} {s['seconds']:>9.1f}"
        lines += [f"{s['step']:<{WIDTH}} {s['state']:<8} {sums}  {s['fingerprint'][:12]}  {s['validation']['checks'] or '-'}"]
        lines += [f"            {s['read_again']}"] if s["read_again"] else []
        lines += [f"            {line}" for line in s.get("error", "").splitlines()]
    return "\n".join(lines)


def results(study: str, root: str) -> tuple[str, str]:
    """The results table as text, and the page. Raises StudyError if the study has not been run to its end."""
    from tasks.report.results_table import results_table

    settings, store = load_study(study_path(study)), Store(root)
    plan = {p.step.name: p for p in lay_out(STEPS, settings)}
    unfinished = [name for name in ("measure", "report") if not is_finished(store, plan[name])]
    page = report_page(store, settings.name)
    if unfinished or not store.fs.exists(page):
        raise StudyError(f"{settings.name} has no report that is up to date. Run: taskgram run {study}")
    outputs = {t: parts for p in plan.values() for t, parts in p.outputs.items()}
    names = ("metrics", "metric_family", "models", "verdicts")
    tables = [store.read(outputs[t], CONTRACTS[t].schema) for t in names if t in outputs]
    return results_table(*tables), page


def validate_all(study: str, root: str) -> list[str]:
    """Hash every part and check every contract again; damaged parts are set aside, so that the next run computes them."""
    settings, store = load_study(study_path(study)), Store(root)
    problems: list[str] = []
    broken: set[str] = set()
    for planned in lay_out(STEPS, settings):
        for name, parts in planned.outputs.items():
            manifest = store.manifest(name, fingerprint(parts))
            if manifest is None:
                problems.append(f"{name}: not finished (step {planned.step.name})")
                broken.add(name)
                continue
            entries = {e["key"]: e for e in manifest["parts"]}
            damaged = [p for p in parts if not store.is_whole(p, entries[p.key], verify=True)]
            for part in damaged:
                problems.append(f"{name}: part {part.key} is missing or its bytes have changed; set aside")
                store.set_aside(part)
            if damaged:
                broken.add(name)
            elif not broken & {name, *planned.inputs, *planned.outputs}:
                seen = {**planned.inputs, **planned.outputs}  # as the run checked it: without parts that the step does not read
                failed = [c for c in validate(store, CONTRACTS[name], seen, CONTRACTS)["checks"] if not c["success"]]
                problems += [f"{name}: {c['check']}: {c['unexpected']} rows" for c in failed]
    return problems


def clean(study: str, root: str, *, dry_run: bool = False) -> dict[str, int]:
    """Delete what no study under this root records, and this study would not write; returns files and their bytes. StudyError
    while another run works there, because its parts are not recorded yet; a run that starts meanwhile waits."""
    settings, store = load_study(study_path(study)), Store(root)
    if dry_run:
        return _remove(settings, store, dry_run=True)
    leases = Leases(store)
    try:
        if not leases.take(CLEANING):
            raise StudyError(f"{root}: another `taskgram clean` is running there")
        if leases.others():
            why = "a run is in progress there, and its finished parts are not recorded yet"
            raise StudyError(f"{root}: {why}; clean when it has ended")
        return _remove(settings, store, dry_run=False)
    finally:
        leases.close()


def _remove(settings: Study, store: Store, *, dry_run: bool) -> dict[str, int]:
    used = kept(store)
    for planned in lay_out_what_can_be(STEPS, settings).values():
        if isinstance(planned, PlannedStep):
            used |= {(table, part.key) for table, parts in planned.outputs.items() for part in parts}
            used |= set(planned.fingerprints.items())
    removed: dict[str, int] = {}
    for name in CONTRACTS:
        for path, key in list(store.stored(name)):
            if (name, key) not in used:
                removed[path] = store.fs.size(path)
                if not dry_run:
                    store.fs.rm(path)
    return removed
