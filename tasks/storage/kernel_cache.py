"""Where numba keeps the machine code of the kernels: one folder for each state of all kernel files.

numba checks whether the file of a compiled function has changed, but not the files of the functions that were inlined into it.
After an upgrade that changes one of those it would use the old machine code, and counts would be wrong.
"""

import hashlib
import os
import shutil
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from tasks.storage.disk import cache_folder

VARIABLE = "NUMBA_CACHE_DIR"
DAYS_KEPT = 30


def keep_kernels_apart() -> None:
    """Set NUMBA_CACHE_DIR, before a kernel is imported; what a user has set stays. A folder that cannot be written is no error:
    numba then takes another one, next to the sources or under ~/.cache/numba."""
    home, given = kernels_home(), os.environ.get(VARIABLE, "")
    if not home.is_absolute() or (given and Path(given).parent != home):  # no home, or the user's own choice
        return
    folder = home / state_of_kernels(Path(__file__).resolve().parent.parent)
    os.environ[VARIABLE] = str(folder)
    if "numba" in sys.modules:  # numba has read its environment already
        sys.modules["numba"].config.CACHE_DIR = str(folder)
    with suppress(OSError):
        _use(folder)


def kernels_home() -> Path:
    return cache_folder() / "kernels"


def state_of_kernels(package: Path) -> str:
    """16 hex digits of the paths and bytes of all kernel files below a folder, and of the versions of numba and llvmlite."""
    state = hashlib.sha256()
    files = [(str(p.relative_to(package)), p) for p in package.rglob("*kernels*.py")]
    for library in ("numba", "llvmlite"):
        spec = find_spec(library)
        if spec and spec.origin:  # importlib.metadata takes ten times as long
            files.append((library, Path(spec.origin).with_name("_version.py")))
    for name, path in sorted(files):
        content = path.read_bytes() if path.is_file() else b""
        state.update(f"{name} {len(content)} ".encode() + content)
    return state.hexdigest()[:16]


def _use(folder: Path) -> None:
    """Mark the folder as used today; making a new one removes those that were not used for a month."""
    now = time.time()
    with suppress(FileNotFoundError):
        if now - folder.stat().st_mtime > 86_400:
            os.utime(folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.parent.iterdir():
        if now - other.stat().st_mtime > DAYS_KEPT * 86_400:
            shutil.rmtree(other, ignore_errors=True)
