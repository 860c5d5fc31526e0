"""Environment of a run, set before heavy imports: quiet, offline, one thread per process."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

import fsspec

from schemas import StudyError
from schemas.settings.base import is_path
from tasks.cluster.workers import WORKER_ENVIRONMENT
from tasks.storage.source_files import HASHES
from tasks.text.lines import has_surrogates


def prepare(root: str, *, verbose: bool = False) -> None:
    """Set the variables that the user has not set. Prefect's home is under the root, unless PREFECT_API_URL names a server.

    Prefect's log lines always go to its database and UI; to the terminal only if `verbose`.
    """
    settings = {
        **WORKER_ENVIRONMENT,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO" if verbose else "CRITICAL",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1" if os.environ.get("TASKGRAM_OFFLINE") else "0",
    }
    keep_file_hashes(root)
    if "PREFECT_API_URL" not in os.environ:
        home = prefect_home(root)
        home.mkdir(parents=True, exist_ok=True)
        settings |= {
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # its database is made at the first start
            "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        }
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def keep_file_hashes(root: str) -> None:
    """Keep the hashes of source files under a local root, so that a large file is not hashed again by every command."""
    if "://" not in root:
        os.environ.setdefault(HASHES, str(Path(root) / "studies" / ".files"))


def prefect_home(root: str) -> Path:
    """The folder for Prefect's own files: under a local root; for a remote root, under the working folder."""
    return Path(root if "://" not in root else ".taskgram").resolve() / ".prefect"


def check_root(root: str) -> str:
    """The root, checked. Raises StudyError for one that cannot be a folder, or that contains a secret: the root is written to
    Prefect's database, its UI and the command that resumes after a failure.
    """
    if not is_path(root) or has_surrogates(root):
        raise StudyError(f"--root {root!r:.200}: not the name of a folder; use UTF-8 and at most 255 bytes")
    if "://" not in root:
        if "?" in str(Path(root).resolve()):
            raise StudyError(
                f"--root {root!r:.200}: Prefect's database cannot be in a folder with a question mark in its name; use another"
            )
        return root
    try:
        address = urlsplit(root)
        secret = address.password is not None or "::" in root
        fsspec.get_filesystem_class(address.scheme)
    except (ValueError, ImportError) as error:
        raise StudyError(f"--root: cannot use this address: {error}; write it like s3://bucket/folder") from None
    if secret or address.query:
        raise StudyError(
            f"--root {address.scheme}://…: the address must not contain a password or token; put them into the "
            "environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or similar)"
        )
    return root


def absolute_root(given: str | None) -> str:
    """The root that was given, else the default one, checked; a folder by its absolute path."""
    from flows.session import default_root

    root = check_root(given or default_root())
    return root if "://" in root else str(Path(root).resolve())


def refuse_strangers() -> None:
    """Raises StudyError if `flows`, `tasks` or `schemas` is another package with that common name."""
    import flows
    import schemas
    import tasks

    homes = {
        name: Path(str(module.__file__)).resolve().parent.parent
        for name, module in (("flows", flows), ("tasks", tasks), ("schemas", schemas))
    }
    if len(set(homes.values())) != 1:
        places = ", ".join(f"{name} in {home}" for name, home in homes.items())
        raise StudyError(f"packages of taskgram are in different places: {places}. Use an environment with taskgram alone.")
