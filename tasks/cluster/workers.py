"""Checks of a worker before it gets work: that it sees the root, and computes with the versions of this process.

Does not import Dask; `tasks/cluster/cluster.py` runs these checks on each worker that it did not start itself.
"""

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
_OF_LIBRARIES = [f"{library}_NUM_THREADS" for library in ("OMP", "MKL", "OPENBLAS", "NUMBA", "RAYON")]
WORKER_ENVIRONMENT = dict.fromkeys([*_OF_LIBRARIES, "POLARS_MAX_THREADS", "FASTOKENS_BPE_THREADS", "DO_NOT_TRACK"], "1")
WORKER_ENVIRONMENT |= dict.fromkeys(["TOKENIZERS_PARALLELISM", "GX_ANALYTICS_ENABLED"], "false")
# Libraries that compute: another version may write other bytes under the same key.
_OF_MODELS = ("fastokens", "safetensors", "tokenizers", "torch", "transformers")
COMPUTING = ("dask", "distributed", "duckdb", "numba", "numpy", "polars", "pyarrow", "regex", "scipy", *_OF_MODELS)
DEVICES = "CUDA_VISIBLE_DEVICES"
SECONDS_TO_SEE_A_FILE = 5.0  # network file systems show a new file late
MOST_SHOWN = 4
INSTALL = "Install the same on all machines (pip install -c constraints.txt, or one image), and start"


# -- on a worker --------------------------------------------------------------------------------------------------------
def look(store: Store, probe: str) -> dict[str, Any]:
    """On a worker: its versions, and problems with the root as the worker sees it. Adds missing environment variables."""
    for name, value in WORKER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    return {"versions": code_versions(), "root": _wrong_with_root(store, probe)}


def alike(here: Mapping[str, str], function: Callable[..., Any], *call: Any) -> Any:
    """On a worker: `function(*call)`. Raises StudyError where its versions differ. A late worker may not have been checked."""
    if difference := different(code_versions(), here):
        raise StudyError(f"this part was given to a worker that has other versions than the run: {difference}")
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
    except Exception as error:  # an object store's client has its own errors
        return f"cannot use {store.root}: {type(error).__name__}: {error}"
    return ""


@lru_cache(maxsize=1)
def code_versions() -> Mapping[str, str]:
    """Versions of Python, of this code and of the libraries that compute; "" for what is not installed."""
    versions = {"python": ".".join(map(str, sys.version_info[:2])), "taskgram's code": _code()}
    return versions | {name: version(name).partition("+")[0] for name in COMPUTING}  # 2.13.0+cpu is 2.13.0


def _code() -> str:
    """Eight digits of a hash of all the code that computes: in a checkout, the version number is too coarse."""
    home, code = Path(__file__).resolve().parents[2], hashlib.sha256()
    for path in sorted(p for package in ("schemas", "tasks") for p in (home / package).rglob("*.py")):
        code.update(path.relative_to(home).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return code.hexdigest()[:8]


# -- in this process -----------------------------------------------------------------------------------------------------
@contextmanager
def probing(store: Store) -> Iterator[str]:
    """A file under the root for workers to look for; its folder is removed afterwards."""
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
    """Which versions differ from those of this process; "" if none does."""
    names = [name for name in sorted(there) if there[name] != here.get(name)]
    return ", ".join(f"{n} {there[n] or 'is not there'} (here {here.get(n) or 'it is not there'})" for n in names)


def mismatch(packages: Mapping[str, Mapping[str, Any]]) -> str:
    """Which of these places have another Python or Dask, and what to do; "" if none has."""
    wrong = {}
    for place, package in packages.items():
        there = {"python": ".".join(str(package["python"]).split(".")[:2])}
        there |= {name: str(package.get(name)) for name in ("dask", "distributed")}
        if difference := different(there, code_versions()):
            wrong[place] = difference
    return f"has other versions than this process:\n{_listed(wrong)}\n  {INSTALL} it again." if wrong else ""


def complaint(workers: Mapping[str, Mapping[str, Any]], threads: Mapping[str, int], root: str) -> str:
    """Problems of these workers (by address, what `look` returned), and what to do; "" if there are none."""
    here = code_versions()
    share = "It must be a folder that all machines share under the same path and may write to, or an object store (s3://…)"
    alone = "Start them with --nthreads 1, and more of them: a call is alone in its process."
    differ = {address: different(answer["versions"], here) for address, answer in workers.items()}
    roots = {address: answer["root"] for address, answer in workers.items()}
    several = {address: f"runs {n} calls at a time" for address, n in threads.items() if n > 1 and address in workers}
    versions = "have other versions than this process, and might write other bytes"
    problems, lines = [(versions, differ, f"{INSTALL} the workers again.")], []
    problems += [("cannot use the root", roots, f"{share}; {root} is none for them."), ("have several threads", several, alone)]
    for what, answers, remedy in problems:
        if wrong := {address: words for address, words in sorted(answers.items()) if words}:
            lines.append(f"{len(wrong)} of {len(workers)} workers {what}:\n{_listed(wrong)}\n  {remedy}")
    return "\n".join(lines)


def _listed(problems: Mapping[str, str]) -> str:
    lines = [f"  {place}: {words}" for place, words in problems.items()]
    more = [f"  and {len(lines) - MOST_SHOWN} more"] if len(lines) > MOST_SHOWN else []
    return "\n".join(lines[:MOST_SHOWN] + more)


def devices(most: int | None = None) -> tuple[str, ...]:
    """The GPUs of this machine that this process may use, as CUDA names them; at most `most`."""
    given = os.environ.get(DEVICES)
    if given is not None:
        names = [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    else:
        names = [str(i) for i in range(_counted() if most is None else most)]
    return tuple(names[:most])


def _counted() -> int:
    """As nvidia-smi counts them: asking CUDA would initialise it in this process."""
    tool = shutil.which("nvidia-smi")
    if not tool:
        return 0
    try:
        listing = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listing.splitlines())
