"""A working folder and an environment that interfere: files named as ours, settings for another Prefect server, proxies."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.studies import REPOSITORY

# As the installed script does, without the working folder in front of all modules.
TASKGRAM = [sys.executable, "-P", "-m", "flows.cli"]
SETTINGS = {
    "prefect.toml": "this is [no TOML\n",
    "pyproject.toml": "[tool.prefect\n",
    ".env": "PREFECT_API_URL=http://127.0.0.1:9/api\nPREFECT_SERVER_API_AUTH_STRING=a:b\nPREFECT_PROFILES_PATH=/nowhere\n",
}
MODULES = ("tasks", "schemas", "conftest", "random", "queue", "sitecustomize", "flows/__init__", "prefect/__init__")
NOWHERE = "http://127.0.0.1:9"  # nothing listens there
VARIABLES = {
    **{name: NOWHERE for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY")},
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "PREFECT_API_AUTH_STRING": "a:b",
    "PREFECT_API_URL": "",
    "PREFECT_CLIENT_CUSTOM_HEADERS": "no JSON",
    "PREFECT_PROFILE": "of-work",
    "PREFECT_SERVER_API_AUTH_STRING": "c:d",
    "PREFECT_SERVER_API_BASE_PATH": "/elsewhere",
}


def folder(path: Path) -> tuple[Path, Path]:
    """Write the files; returns the folder, and the one in which each of its modules leaves a file when it is executed."""
    working, executed = path / "working", path / "executed"
    executed.mkdir(parents=True)
    for name in MODULES:
        module = working / f"{name}.py"
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text(f"open({str(executed / module.stem)!r}, 'w').close()\nraise SystemExit('{name} of the working folder')\n")
    for name, text in SETTINGS.items():
        (working / name).write_text(text)
    return working, executed


def environment() -> dict[str, str]:
    """This process's, with all of that."""
    kept = {k: v for k, v in os.environ.items() if k.lower() != "no_proxy" and not k.startswith("PREFECT_")}
    return kept | VARIABLES | {"PYTHONPATH": str(REPOSITORY)}
