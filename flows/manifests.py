"""Manifests: written once a table has passed its checks, and compared with its parts before it is skipped."""

import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flows.plan import PlannedStage, PlannedStep
from schemas import CONTRACTS, Contract, StudyError
from tasks.cluster.workers import COMPUTING
from tasks.step import parts_of
from tasks.storage.store import Part, Store, fingerprint
from tasks.storage.validation import validate
from tasks.storage.versions import versions

REJECTS = "_rejects"  # ends the name of a table of records that were read and did not become rows of another
REASONS_SHOWN = 3
Tables = Mapping[str, tuple[Part, ...]]
Entries = Mapping[str, Mapping[str, Any]]
_SPECIFIC = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")
RECORDED = ("taskgram", "great_expectations", "prefect", *COMPUTING)


class ContractBroken(StudyError):
    """A table breaks its contract. checks: those that do not hold, with the number of rows and examples."""

    def __init__(self, table: str, checks: Sequence[Mapping[str, Any]]) -> None:
        self.table, self.checks = table, checks
        lines = [f"{c['check']}: {c['unexpected']} rows, e.g. {'; '.join(c['examples'][:2]) or 'none shown'}" for c in checks]
        super().__init__(f"{table} breaks its contract; nothing downstream can see it\n  " + "\n  ".join(lines))


def is_finished(store: Store, planned: PlannedStep, *, verify: bool = False) -> bool:
    """Whether every table of a step has its manifest and every part is as the manifest says."""
    return all(is_written(store, t, parts, verify) for t, parts in planned.outputs.items())


def is_written(store: Store, table: str, parts: tuple[Part, ...], verify: bool) -> bool:
    """Whether a table has its manifest and every part is as that says."""
    manifest = store.manifest(table, fingerprint(parts))
    if manifest is None:
        return False
    entries = {e["key"]: e for e in manifest["parts"]}
    return all(store.is_whole(p, entries.get(p.key), verify=verify) for p in parts)


def describe(
    store: Store, planned: PlannedStep, stage: PlannedStage, contract: Contract, tables: Tables, costs: Entries, before: Entries
) -> dict[str, Any]:
    """Validate one table and describe it: its manifest. Raises ContractBroken where it breaks its contract. costs: what each job
    cost that ran now, with what its worker says of the parts it wrote; before: entries of earlier manifests."""
    parts = tables[contract.name]
    began = time.monotonic()
    validation = validate(store, contract, tables, CONTRACTS)
    validation["seconds"] = time.monotonic() - began
    if not validation["success"]:
        store.write_json(store.layout.rejected(contract.name, fingerprint(parts)), validation)
        raise ContractBroken(contract.name, [c for c in validation["checks"] if not c["success"]])
    entries = []
    for part in parts:
        previous = before.get(part.key)
        cost = dict(costs.get(part.key) or {"seconds": (previous or {}).get("seconds", 0.0)})
        entry = cost.pop("described", {}).get(contract.name) or (previous if part.key not in costs else None)
        entries.append({**(entry or store.describe(part)), "labels": dict(part.labels), **cost})
    about = {"table": contract.name, "fingerprint": fingerprint(parts), "step": planned.step.name, "version": planned.step.version}
    about |= {"inputs": {t: fingerprint(p) for t, p in planned.inputs.items()}}
    about |= {"settings": {job.key: dict(job.job.settings) for job in stage.jobs[:1]}, "parts": entries}
    sums = {name: sum(e.get(name, 0) for e in entries) for name in ("rows", "bytes", "seconds")}
    written = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return about | sums | {"validation": validation, "versions": versions(RECORDED), "written": written}


def differs(manifest: Mapping[str, Any], before: Entries) -> bool:
    """Whether a part that was there before now has other bytes, under the same key."""
    return any(e["key"] in before and before[e["key"]]["sha256"] != e["sha256"] for e in manifest["parts"])


def rows_of(manifests: Iterable[Mapping[str, Any]]) -> int:
    """Rows of a step's tables, without the records that it rejected."""
    return sum(m["rows"] for m in manifests if not m["table"].endswith(REJECTS))


def rejected(store: Store, planned: PlannedStep) -> list[str]:
    """How many of the study's own records a finished step has rejected, the most frequent reasons, and where all are listed.
    Reasons that differ only in quoted text and numbers are one kind, shown by its first. Empty if no record was rejected."""
    lines = []
    for table, parts in parts_of(planned.outputs).items():
        manifest = store.manifest(table, fingerprint(planned.outputs[table])) if table.endswith(REJECTS) else None
        filled = {e["key"] for e in manifest["parts"] if e["rows"]} if manifest else set()
        kinds: dict[str, Counter[str]] = defaultdict(Counter)
        for part in (p for p in parts if p.key in filled):
            for batch in store.open(part).iter_batches(columns=["reason"]):
                for row in batch.column(0).value_counts().to_pylist():
                    kind = kinds[_SPECIFIC.sub("…", row["values"])]
                    kind[row["values"] if not kind or row["values"] in kind else ""] += row["counts"]
        if not kinds:
            continue
        ordered = sorted((kind.total(), next(iter(kind)), len(kind) > 1) for kind in kinds.values())[::-1]
        total, rest = sum(number for number, *_ in ordered), ordered[REASONS_SHOWN:]
        where = f"the report counts them by reason, the table {table} lists each:"
        lines.append(f"{total:,} record{'s' * (total > 1)} rejected; {where}")
        lines += [f"{number:,} × {'such as: ' * several}{reason}" for number, reason, several in ordered[:REASONS_SHOWN]]
        lines += [f"{sum(number for number, *_ in rest):,} for {len(rest)} other reason{'s' * (len(rest) > 1)}"] if rest else []
    return lines


def read_again(manifests: Iterable[Mapping[str, Any]]) -> str:
    """Which parts were read more than once, because their queries do not fit into `counting.memory`; "" if none was."""
    passes = {e["key"]: e.get("passes", 1) for m in manifests for e in m["parts"]}
    if not (more := [count for count in passes.values() if count > 1]):
        return ""
    parts = f"{len(more)} of {len(passes)} parts were read up to {max(more)} times"
    return f"{parts}, because their queries do not fit into counting.memory"
