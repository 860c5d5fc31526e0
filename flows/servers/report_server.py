"""The reports of a root over HTTP, for the browser that shows Prefect's UI: it follows no link from there to a file.

Read only, on the loopback interface, nothing but files under `<root>/reports`. A report may quote a corpus that nobody else should
see, and any page that is open in the same browser can ask this machine too; so what is sent belongs to pages of this address.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import unquote

from flows.servers.processes import HOST
from flows.study_files import REPORTS_URL, reports_url
from tasks.storage.layout import Layout

# What a report's files are called: no folder above, nothing hidden (a report that is being put there), no second meaning.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".csv": "text/csv; charset=utf-8",
    ".pdf": "application/pdf",
}
_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_DRAWN = f"{_NOTHING}; style-src 'unsafe-inline'; img-src data:"
_SCRIPTED = (
    f"{_DRAWN}; script-src 'self' 'unsafe-inline'"  # of the inline ones the page itself allows but its own, by a hash
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",  # the examples of a trace are scripts, which any page may load without it
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class ReportServer(ThreadingTCPServer):
    """Serves the reports of a root on `port`, or, where that is taken, on any that is free; `url` says where."""

    allow_reuse_address = daemon_threads = True
    block_on_close = False

    def __init__(self, root: str, port: int) -> None:
        self.folder = Path(Layout(root, Path(root)).reports)
        try:
            super().__init__((HOST, port), _Answer)
        except (OSError, OverflowError):
            super().__init__((HOST, 0), _Answer)
        self.url = f"http://{HOST}:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no news."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Answer(BaseHTTPRequestHandler):
    server: ReportServer
    timeout = 30  # seconds without a word
    server_version, sys_version = "taskgram", ""

    def parse_request(self) -> bool:
        """Reports are read, and nothing else."""
        if not super().parse_request():
            return False
        if self.command not in ("GET", "HEAD"):
            self.send_error(405, "Reports are only read")
            return False
        return True

    def do_GET(self) -> None:
        """The file, or why not."""
        # A page of somebody else whose name was made to mean this machine asks for that name.
        if self.headers.get("Host", HOST).partition(":")[0].lower() not in (HOST, "localhost"):
            self.send_error(403, "Ask for 127.0.0.1")
            return
        names = _names(self.path)
        found = _opened(self.server.folder, names) if names else None
        if found is None or not names:
            self.send_error(404, "There is no such file; a report is at /STUDY/index.html")
            return
        with open(found, "rb") as file:
            kind = Path(names[-1]).suffix
            self.send_response(200)
            self.send_header("Content-Type", _TYPES.get(kind, "application/octet-stream"))
            self.send_header("Content-Length", str(os.fstat(found).st_size))
            self._end(_policy(kind, names))
            if self.command == "GET":
                shutil.copyfileobj(file, self.wfile)

    def do_HEAD(self) -> None:
        """The same without the file."""
        self.do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """In plain words, which say nothing of what was asked."""
        words = f"{code}: {message if code in (403, 404, 405) else 'this is no request for a report'}\n".encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(words)))
        if code == 405:
            self.send_header("Allow", "GET, HEAD")
        self._end(_NOTHING)
        if self.command != "HEAD":
            self.wfile.write(words)

    def _end(self, policy: str) -> None:
        for name, value in {**_HEADERS, "Content-Security-Policy": policy}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what is asked for may come from anybody, and stands on a terminal."""


def _policy(kind: str, names: list[str]) -> str:
    """What a file may load and run, when it is opened as a page."""
    if kind == ".html" and names[1:2] == ["trace"]:
        return _SCRIPTED
    return _DRAWN if kind in (".html", ".svg") else _NOTHING


def _names(asked: str) -> list[str] | None:
    """The folders and the file that an address names: /STUDY/ is its index.html; None if it names none."""
    try:
        names = unquote(asked.partition("?")[0], errors="strict").split("/")
    except UnicodeDecodeError:
        return None
    names = [*names[1:-1], names[-1] or "index.html"] if names[0] == "" and len(names) > 1 else []
    return names if names and all(_NAME.fullmatch(n) for n in names) else None


def _opened(folder: Path, names: list[str]) -> int | None:
    """A descriptor of a file below a folder, reached step by step without following any link; None if there is none."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe would keep us waiting
    try:
        found = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for name in names:
            above = found
            try:
                found = os.open(name, flags, dir_fd=above)
            finally:
                os.close(above)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(found).st_mode):
        return found
    os.close(found)
    return None


@contextmanager
def reports_served(root: str, port: int) -> Iterator[str]:
    """Serve a root's reports from a thread and tell it to runs that are started meanwhile; the address, "" if there is none.

    Nothing is served where the environment names an address already, or the root is no folder of this machine.
    """
    if "://" in root or os.environ.get(REPORTS_URL):
        yield reports_url(root)
        return
    with ReportServer(root, port) as server:
        threading.Thread(target=server.serve_forever, name="reports", daemon=True).start()
        os.environ |= {REPORTS_URL: server.url, "TASKGRAM_ROOT": root}
        try:
            yield server.url
        finally:
            server.shutdown()
            os.environ.pop(REPORTS_URL)


def main(words: list[str]) -> int:
    """ROOT PORT: serve until the process is ended; the first line says where."""
    server = ReportServer(words[0], int(words[1]))
    print(server.url, flush=True)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
