"""Environment of a run, set before heavy imports: quiet, offline, one thread per process, and nothing of the working folder.

A run's own Prefect server, and its clients, take no part in what a user has set up for another one: proxies, passwords, profiles,
`prefect.toml`. A server that PREFECT_API_URL names is used with all of that.
"""

import json
import os
import site
from collections.abc import Mapping
from contextlib import chdir
from functools import partialmethod
from pathlib import Path
from urllib.parse import urlsplit

import fsspec

from schemas import StudyError
from schemas.settings.base import is_path
from tasks.cluster.workers import WORKER_ENVIRONMENT
from tasks.storage.source_files import HASHES
from tasks.text.lines import has_surrogates

HOME = Path(__file__).resolve().parents[1]  # of this package
SERVER_NAMED = "PREFECT_API_URL"
# What a run's own server takes of a user's settings for Prefect: where its database is, and what it logs.
KEPT = ("PREFECT_HOME", "PREFECT_API_DATABASE_", "PREFECT_SERVER_DATABASE_", "PREFECT_LOGGING_", "PREFECT_SERVER_LOGGING_")
PROXIES = "TASKGRAM_PROXIES"  # the user's proxies, while Prefect starts


def prepare(root: str, *, verbose: bool = False, lasting: bool = False) -> None:
    """Set the variables that the user has not set. Prefect's home is under the root, unless PREFECT_API_URL names a server.
    lasting: for a server that outlives a run, which asks for the password in PREFECT_SERVER_API_AUTH_STRING, if there is one.
    Prefect's log lines always go to its database and UI; to the terminal only if `verbose`."""
    settings = {
        **WORKER_ENVIRONMENT,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO" if verbose else "CRITICAL",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1" if os.environ.get("TASKGRAM_OFFLINE") else "0",
    }
    keep_file_hashes(root)
    if not os.environ.get(SERVER_NAMED):
        password = os.environ.get("PREFECT_SERVER_API_AUTH_STRING") if lasting else None
        for name in [n for n in os.environ if n.startswith("PREFECT_") and not n.startswith(KEPT)]:
            del os.environ[name]
        settings |= dict.fromkeys(("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"), password) if password else {}
        home = Path(os.environ.get("PREFECT_HOME") or prefect_home(root)).expanduser().resolve()
        home.mkdir(parents=True, exist_ok=True)
        os.environ["PREFECT_HOME"] = str(home)
        settings |= {
            "PREFECT_PROFILES_PATH": str(home / "no-profiles.toml"),  # a file that is not there: no profile
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # its database is made at the first start
            "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    os.environ |= isolated(os.environ)


def isolated(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child process that imports this package, and no `tasks.py` of the working folder."""
    paths = [str(Path(path).resolve()) for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    if str(HOME) not in [*site.getsitepackages(), site.getusersitepackages()]:  # a checkout
        paths = [str(HOME), *(path for path in paths if path != str(HOME))]
    return {**environment, "PYTHONSAFEPATH": "1"} | ({"PYTHONPATH": os.pathsep.join(paths)} if paths else {})


def set_proxies_aside() -> None:
    """Set the user's proxies aside until `use_own_server`: Prefect reads them as it starts. No proxy leads to this machine."""
    names = [name for name in os.environ if name.lower().endswith("_proxy") and name.lower() != "no_proxy"]
    os.environ[PROXIES] = json.dumps({name: os.environ.pop(name) for name in names})
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    if "127.0.0.1" not in direct.split(","):
        direct = ",".join(filter(None, [direct, "127.0.0.1", "localhost"]))
    os.environ |= {"no_proxy": direct, "NO_PROXY": direct}


def use_own_server() -> None:
    """Import Prefect, which then knows no settings of the working folder, and restore the user's proxies for everything else. Does
    nothing if they were not set aside: Prefect's server is another's."""
    proxies = os.environ.pop(PROXIES, None)
    if proxies is None:
        return
    with chdir(os.environ.get("PREFECT_HOME", ".")):  # Prefect reads prefect.toml, pyproject.toml and .env as it is imported
        from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient
    for client in (PrefectHttpxAsyncClient, PrefectHttpxSyncClient):
        setattr(client, "__init__", partialmethod(client.__init__, trust_env=False))  # noqa: B010
    os.environ |= json.loads(proxies)


def keep_file_hashes(root: str) -> None:
    """Keep the hashes of source files under a local root, so that a large file is not hashed again by every command."""
    if "://" not in root:
        os.environ.setdefault(HASHES, str(Path(root) / "studies" / ".files"))


def prefect_home(root: str) -> Path:
    """The folder for Prefect's own files: under a local root; for a remote root, under the working folder."""
    return Path(root if "://" not in root else ".taskgram").resolve() / ".prefect"


def check_root(root: str) -> str:
    """The root, checked. Raises StudyError for one that cannot be a folder, or that contains a secret: the root is written to
    Prefect's database, its UI and the command that resumes after a failure."""
    if not is_path(root) or has_surrogates(root):
        raise StudyError(f"--root {root!r:.200}: not the name of a folder; use UTF-8 and at most 255 bytes")
    if "://" not in root:
        if "?" in str(Path(root).resolve()):
            why = "Prefect's database cannot be in a folder with a question mark in its name"
            raise StudyError(f"--root {root!r:.200}: {why}; use another")
        return root
    try:
        address = urlsplit(root)
        secret = address.password is not None or "::" in root
        fsspec.get_filesystem_class(address.scheme)
    except (ValueError, ImportError) as error:
        raise StudyError(f"--root: cannot use this address: {error}; write it like s3://bucket/folder") from None
    if secret or address.query:
        remedy = "put them into the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or similar)"
        raise StudyError(f"--root {address.scheme}://…: the address must not contain a password or token; {remedy}")
    return root


def absolute_root(given: str | None) -> str:
    """The root that was given, else the default one, checked; a folder by its absolute path."""
    from flows.session import default_root

    root = check_root(given or default_root())
    return root if "://" in root else str(Path(root).resolve())
