"""Which run computes which part: two runs on one root share the work instead of doing it twice.

A run shows that it is alive by its pulse: a file with a number that it raises every few seconds. Others watch that number by
their own monotonic clock, so that neither clock changes nor a file system's times mislead them. A lease names the run that
computes a part; it is void once that run is dead. Two runs that both think they hold a lease compute the same bytes twice, which
is wasteful but harmless: parts appear whole, under names that are hashes of everything that determines their content.
"""

import json
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tasks.storage.store import Store

BEAT = 5.0
PATIENCE = 60.0


class Leases:
    """The leases of one run. Thread-safe; nothing is written before the first lease is taken."""

    def __init__(self, store: Store, *, beat: float = BEAT, patience: float = PATIENCE) -> None:
        self.store, self.run = store, uuid.uuid4().hex
        self._beat, self._patience = beat, patience
        self._held: set[str] = set()
        self._seen: dict[str, tuple[int, float]] = {}
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._heart: threading.Thread | None = None

    # -- for the engine --------------------------------------------------------------------------------------------
    def take(self, key: str) -> bool:
        """Take the lease of a key; False while another live run holds it."""
        self._start()
        if self._create(key) or (not self._holder_lives(key) and self._replace(key)):
            with self._lock:
                self._held.add(key)
            return True
        return False

    def drop(self, key: str) -> None:
        """Release the lease of a part that is done or has failed, unless another run has taken it over meanwhile."""
        with self._lock:
            self._held.discard(key)
        if (self._read(self._lease(key)) or {}).get("run") == self.run:
            self._remove(self._lease(key))

    def taken(self, key: str) -> bool:
        """Whether another live run holds the lease of that key."""
        lease = self._read(self._lease(key))
        return lease is not None and lease.get("run") != self.run and self._holder_lives(key)

    def others(self) -> bool:
        """Whether another run is alive. The pulse of a run on another machine is watched until it beats or time is up."""
        base, until = self.store.layout.pulses, time.monotonic() + self._patience
        pulses = {path: self._read(path) for path in self.store.listed(base, ".json") if path != self._pulse(self.run)}
        watched = {path: pulse for path, pulse in pulses.items() if pulse is not None and not _is_dead(pulse)}
        while watched and time.monotonic() < until:
            now = {path: self._read(path) for path in watched}
            if any(k is not None and (k.get("place") == _place() != "" or k != watched[path]) for path, k in now.items()):
                return True
            watched = {path: pulse for path, pulse in watched.items() if now[path] is not None}
            time.sleep(min(0.2, self._beat))
        return False

    def close(self) -> None:
        """Release all leases. Called at the end of a run, however it ends."""
        self._ended.set()
        if self._heart is None:
            return
        self._heart.join()
        for key in sorted(self._held):
            self.drop(key)
        self._remove(self._pulse(self.run))
        self._heart = None

    # -- being alive ------------------------------------------------------------------------------------------------
    def _start(self) -> None:
        with self._lock:
            if self._heart is not None or self._ended.is_set():
                return
            self._bury()
            # Until it exists, another run may remove the file being written as a leftover; then it is written again.
            self.store.write_json(self._pulse(self.run), {"beat": 0, **_here()})
            self._heart = threading.Thread(target=self._keep_beating, name="leases", daemon=True)
            self._heart.start()

    def _keep_beating(self) -> None:
        beat = 0
        while not self._ended.wait(self._beat):
            beat += 1
            # Neither a full disk nor a store that does not answer (its client has its own errors) may end it: others may
            # consider this run dead while that lasts, but no longer.
            with suppress(Exception):
                self.store.write_json(self._pulse(self.run), {"beat": beat, **_here()})

    def _bury(self) -> None:
        """Remove what dead runs of this machine left: pulses, leases and temporary files."""
        for path in self.store.listed(self.store.layout.pulses):
            run = path.rsplit("/", 1)[1].lstrip(".").split(".")[0]
            pulse = self._read(self._pulse(run))
            if pulse is None or _is_dead(pulse):
                self._remove(path)
        for path in self.store.listed(self.store.layout.leases, ".json"):
            run = (self._read(path) or {}).get("run", "")
            if run and self._read(self._pulse(run)) is None:
                self._remove(path)

    def _remove(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self.store.fs.rm_file(path)

    def _holder_lives(self, key: str) -> bool:
        run = str((self._read(self._lease(key)) or {}).get("run", f"unknown {key}"))
        if run == self.run:
            return True
        pulse = self._read(self._pulse(run))
        if pulse is None and not run.startswith("unknown"):
            return False
        if pulse is not None and _is_dead(pulse):
            return False
        beat, now = int((pulse or {}).get("beat", -1)), time.monotonic()
        with self._lock:
            last, since = self._seen.setdefault(run, (beat, now))
            if beat != last:
                self._seen[run] = (beat, now)
                return True
        return now - since < self._patience

    # -- files ------------------------------------------------------------------------------------------------------
    def _lease(self, key: str) -> str:
        return f"{self.store.layout.leases}/{key}.json"

    def _pulse(self, run: str) -> str:
        return f"{self.store.layout.pulses}/{run}.json"

    def _read(self, path: str) -> dict[str, Any] | None:
        content = self.store.read_json(path)
        return content if isinstance(content, dict) else None

    def _create(self, key: str) -> bool:
        """Write the lease unless there is one. A run that is killed meanwhile leaves an empty one, which expires."""
        try:
            self.store.fs.pipe_file(self._lease(key), json.dumps({"run": self.run}).encode(), mode="create")
        except FileExistsError:
            return False
        except FileNotFoundError:  # the first one; or somebody removed the folder
            self.store.fs.makedirs(self.store.layout.leases, exist_ok=True)
            return self._create(key)
        return True

    def _replace(self, key: str) -> bool:
        self._remove(self._lease(key))
        return self._create(key)


def _here() -> dict[str, Any]:
    """Identifies this process, so that another one on the same machine can see at once whether it still runs."""
    return {"place": _place(), "pid": os.getpid(), "started": started(os.getpid())}


def _place() -> str:
    """Machine, boot and process namespace, within which a process id is unique. Empty where they cannot be determined."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def started(pid: int) -> str:
    """When a process began, as text, because process ids are reused. "" if it has ended or is a zombie. Counted from the machine's
    boot, so that changes of its clock do not matter."""
    try:
        process = psutil.Process(pid)
        ended = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        return "" if ended else f"{process.create_time() - psutil.boot_time():.2f}"
    except psutil.Error:
        return ""


def _is_dead(pulse: dict[str, Any]) -> bool:
    """Whether a run of this machine has certainly ended."""
    return bool(pulse.get("place")) and pulse["place"] == _place() and started(int(pulse.get("pid", 0))) != pulse.get("started")


# -- files that killed processes left half written ------------------------------------------------------------------------
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
