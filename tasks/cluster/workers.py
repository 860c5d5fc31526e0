"""What a worker must be like before it is given work: it sees the root, and computes with the versions of this process.

Knows nothing of Dask; `tasks/cluster/cluster.py` asks these questions on each worker that it did not start itself.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from schemas import StudyError
from tasks.storage.store import Store
from tasks.storage.versions import version

# One thread per worker: the same sums in the same order, whatever the number of workers.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}
# What computes: another version may write other bytes under the same key.
COMPUTING = (
    "dask",
    "distributed",
    "duckdb",
    "numba",
    "numpy",
    "polars",
    "pyarrow",
    "regex",
    "safetensors",
    "scipy",
    "tokenizers",
    "torch",
    "transformers",
)
DEVICES = "CUDA_VISIBLE_DEVICES"
SECONDS_TO_SEE_A_FILE = 5.0  # network file systems show a new file late
MOST_SHOWN = 4


# -- asked on a worker -------------------------------------------------------------------------------------------------
def look(store: Store, probe: str) -> dict[str, Any]:
    """On a worker: its versions, and what is wrong with the root as it sees it ("": nothing). Sets what its environment lacks."""
    for name, value in WORKER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    return {"versions": code_versions(), "root": _wrong_with_root(store, probe)}


def alike(here: Mapping[str, str], function: Callable[..., Any], *call: Any) -> Any:
    """On a worker: `function(*call)`, unless it would be computed with other versions; then StudyError.

    A worker that joins late may be given a call before anybody has looked at it.
    """
    if words := different(code_versions(), here):
        raise StudyError(f"this part was given to a worker that has other versions than the run: {words}")
    return function(*call)


def _wrong_with_root(store: Store, probe: str) -> str:
    until = time.monotonic() + SECONDS_TO_SEE_A_FILE
    try:
        while store.read_json(probe) is None:
            if time.monotonic() > until:
                return f"does not see what was just written to {store.root}"
            time.sleep(0.2)
        mine = f"{probe}.{uuid.uuid4().hex}.json"
        store.write_json(mine, {})
        store.fs.rm_file(mine)
    except Exception as error:  # an object store's client has errors of its own
        return f"cannot use {store.root}: {type(error).__name__}: {error}"
    return ""


@lru_cache(maxsize=1)
def code_versions() -> Mapping[str, str]:
    """Of Python, of this code and of what computes; "" for what is not installed."""
    found = {"python": ".".join(map(str, sys.version_info[:2])), "taskgram's code": _code()}
    return found | {name: version(name).partition("+")[0] for name in COMPUTING}  # 2.13.0+cpu is 2.13.0


def _code() -> str:
    """Eight digits that say all the code that computes: a version's number says too little of a checkout."""
    home, found = Path(__file__).resolve().parents[2], hashlib.sha256()
    for path in sorted(p for package in ("schemas", "tasks") for p in (home / package).rglob("*.py")):
        found.update(path.relative_to(home).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:8]


# -- asked here --------------------------------------------------------------------------------------------------------
@contextmanager
def probing(store: Store) -> Iterator[str]:
    """A file under the root for others to look for; its folder is gone afterwards."""
    folder = store.layout.probe(uuid.uuid4().hex)
    probe = f"{folder}/probe.json"
    store.write_json(probe, {"written": True})
    try:
        yield probe
    finally:
        with suppress(OSError):
            store.fs.rm(folder, recursive=True)
            if store.local:
                os.rmdir(os.path.dirname(folder))


def different(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Which versions are not those of this process, in words; "" if all are."""
    return ", ".join(
        f"{name} {there[name] or 'is not there'} (here {here.get(name) or 'it is not there'})"
        for name in sorted(there)
        if there[name] != here.get(name)
    )


def mismatch(packages: Mapping[str, Mapping[str, Any]]) -> str:
    """What is wrong with the Python and the Dask of these places, and what to do; "" if nothing is."""
    here, told = code_versions(), {}
    for place, found in packages.items():
        there = {"python": ".".join(str(found["python"]).split(".")[:2])}
        there |= {name: str(found.get(name)) for name in ("dask", "distributed")}
        if words := different(there, here):
            told[place] = words
    if not told:
        return ""
    listed = "\n".join(f"  {place}: {words}" for place, words in list(told.items())[:MOST_SHOWN])
    return (
        f"has other versions than this process:\n{listed}\n  Install the same on all machines "
        "(pip install -c constraints.txt, or one image), and start it again."
    )


def complaint(found: Mapping[str, Mapping[str, Any]], threads: Mapping[str, int], root: str) -> str:
    """What is wrong with these workers (by address, what `look` returned), and what to do; "" if nothing is."""
    here = code_versions()
    others = {w: words for w, said in found.items() if (words := different(said["versions"], here))}
    blind = {w: said["root"] for w, said in found.items() if said["root"]}
    many = {w: f"runs {threads[w]} calls at a time" for w in found if threads.get(w, 1) > 1}
    told = []
    if others:
        told.append(
            f"have other versions than this process, and might write other bytes:\n{_listed(others)}\n  Install the same "
            "on all machines (pip install -c constraints.txt, or one image), and start the workers again."
        )
    if blind:
        told.append(
            f"cannot use the root:\n{_listed(blind)}\n  It must be a folder that all machines share under the same path "
            f"and may write to, or an object store (s3://…); {root} is none for them."
        )
    if many:
        told.append(
            f"have several threads:\n{_listed(many)}\n  Start them with --nthreads 1, and more of them: a call is alone "
            "in its process."
        )
    return "\n".join(
        f"{_some(len(w), len(found))} {t}" for w, t in zip([w for w in (others, blind, many) if w], told, strict=True)
    )


def _some(count: int, all_of_them: int) -> str:
    return f"{count} of {all_of_them} workers"


def _listed(told: Mapping[str, str]) -> str:
    lines = [f"  {worker}: {words}" for worker, words in sorted(told.items())]
    more = [f"  and {len(lines) - MOST_SHOWN} more"] if len(lines) > MOST_SHOWN else []
    return "\n".join(lines[:MOST_SHOWN] + more)


def devices(most: int | None = None) -> tuple[str, ...]:
    """The GPUs of this machine that this process may use, as CUDA names them; at most so many."""
    given = os.environ.get(DEVICES)
    if given is not None:
        found = [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    elif most is not None:
        found = [str(i) for i in range(most)]
    else:
        found = [str(i) for i in range(_counted())]
    return tuple(found[:most])


def _counted() -> int:
    """As the driver's own tool counts them: asking CUDA would start it in this process."""
    tool = shutil.which("nvidia-smi")
    if not tool:
        return 0
    try:
        said = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in said.splitlines())
