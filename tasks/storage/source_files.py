"""Source files outside of the root, identified by their content."""

import glob
import hashlib
import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from schemas import StudyError
from tasks.storage.parts import SourceFile, digest
from tasks.storage.writing import whole_file
from tasks.text.lines import has_surrogates

HASHES = "TASKGRAM_FILE_HASHES"


def outside_file(path: Path) -> SourceFile:
    """A file with the hash of its bytes, read again only if its size or time changed. StudyError if it is not there."""
    try:
        status, where = os.stat(path), os.path.realpath(path)
        return SourceFile(path.name, where, _sha256(where, status.st_size, status.st_mtime_ns), status.st_size)
    except OSError as error:
        raise StudyError(f"{path}: cannot be read: {error.strerror}; check the path in the study") from None


@lru_cache(maxsize=65_536)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    """The hash, from the folder named in TASKGRAM_FILE_HASHES if it was taken before at this size and time."""
    seen = {"path": path, "bytes": size, "mtime_ns": mtime_ns}
    folder = os.environ.get(HASHES)
    kept = Path(folder) / f"{digest(path)}.json" if folder else None
    if kept is not None and kept.is_file():
        try:
            recorded = json.loads(kept.read_text(encoding="utf-8"))
        except ValueError:  # a damaged record: hash the file again
            recorded = {}
        if {k: recorded.get(k) for k in seen} == seen and recorded.get("sha256"):
            return str(recorded["sha256"])
    with open(path, "rb") as source:
        sha256 = hashlib.file_digest(source, "sha256").hexdigest()
    if kept is not None:
        with suppress(OSError):  # no space, or another run has removed it: then the file is hashed again next time
            kept.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(kept) as out:
                out.write(json.dumps({**seen, "sha256": sha256}).encode())
    return sha256


def pattern_below(base: Path, pattern: str) -> str:
    """A pattern below a folder, whose own name is taken literally."""
    return os.path.join(glob.escape(str(base)), pattern)


def resolve_files(patterns: Sequence[str], folder: str, what: str) -> list[tuple[str, Path]]:
    """(name, path) of the files that patterns name, in order, each once; names are relative to the folder where they can be. Raises
    StudyError for a pattern that matches no file."""
    names: dict[Path, str] = {}
    base = Path(folder or ".")
    for pattern in patterns:
        try:
            paths = sorted(Path(p) for p in glob.glob(pattern_below(base, pattern), recursive=True) if Path(p).is_file())
        except (OSError, ValueError, re.error) as error:  # a path with a NUL, or longer than paths are
            raise StudyError(f"{what}: {str(base / pattern)!r:.200} cannot be looked up: {error}; check it in the study") from None
        literal = pattern.replace("[", "[[]")
        brackets = f"; [ begins a pattern, as [12] is 1 or 2: name a file with brackets in its name as {literal!r}"
        if literal != pattern and (base / pattern).is_file():
            raise StudyError(f"{what}: {str(base / pattern)!r} is a file and a pattern{brackets}")
        if not paths:
            where = "Paths are looked up in the study's `data` folder (TASKGRAM_DATA overrides it)"
            raise StudyError(f"{what}: no file matches {str(base / pattern)!r}. {where}{brackets if literal != pattern else ''}.")
        for path in paths:
            if has_surrogates(str(path)):
                raise StudyError(f"{what}: the name of {str(path)!r} is not UTF-8; rename the file")
            name = path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix().lstrip("/")
            names.setdefault(path, name)
    return [(name, path) for path, name in names.items()]
