"""Serves the reports of a root over HTTP, because a browser follows no link from Prefect's UI to a file.

Read only, on the loopback interface, and only files under `<root>/reports`. A report may quote a private corpus, and any page in
the same browser can send requests to this machine; so every answer is restricted to pages of this address.
"""

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

# The names of a report's files: no parent folder, no hidden file (a report that is being copied), no special character.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_TYPES = {".html": "text/html", ".js": "text/javascript", ".csv": "text/csv"}
_TYPES = {end: f"{kind}; charset=utf-8" for end, kind in _TYPES.items()} | {".svg": "image/svg+xml", ".pdf": "application/pdf"}
_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_DRAWN = f"{_NOTHING}; style-src 'unsafe-inline'; img-src data:"
_SCRIPTED = f"{_DRAWN}; script-src 'self' 'unsafe-inline'"  # the page itself allows only its own inline script, by a hash
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",  # else any page could load the examples of a trace, which are scripts
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class ReportServer(ThreadingTCPServer):
    """Serves the reports of a root at `url`: on `port`, or on any free port if that is in use."""

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
        """Ignore browsers that closed the connection."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Answer(BaseHTTPRequestHandler):
    server: ReportServer
    timeout = 30  # seconds without a request
    server_version, sys_version = "taskgram", ""

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        if self.command not in ("GET", "HEAD"):
            self.send_error(405, "Reports can only be read")
            return False
        return True

    def do_GET(self) -> None:
        # A foreign page whose host name was made to resolve to this machine (DNS rebinding) sends that name.
        if self.headers.get("Host", HOST).partition(":")[0].lower() not in (HOST, "localhost"):
            self.send_error(403, "Use the address 127.0.0.1")
            return
        names = _names(self.path)
        descriptor = _opened(self.server.folder, names) if names else None
        if descriptor is None or not names:
            self.send_error(404, "No such file; a report is at /STUDY/index.html")
            return
        with open(descriptor, "rb") as file:
            kind = Path(names[-1]).suffix
            self.send_response(200)
            self.send_header("Content-Type", _TYPES.get(kind, "application/octet-stream"))
            self.send_header("Content-Length", str(os.fstat(descriptor).st_size))
            self._end(_policy(kind, names))
            if self.command == "GET":
                shutil.copyfileobj(file, self.wfile)

    def do_HEAD(self) -> None:
        self.do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send plain text that repeats nothing of the request."""
        words = f"{code}: {message if code in (403, 404, 405) else 'not a request for a report'}\n".encode()
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
        """Log nothing: requests may come from anyone and would be printed on a terminal."""


def _policy(kind: str, names: list[str]) -> str:
    """The content security policy: what a file may load and run when it is opened as a page."""
    drawn = _DRAWN if kind in (".html", ".svg") else _NOTHING
    return _SCRIPTED if kind == ".html" and names[1:2] == ["trace"] else drawn


def _names(path: str) -> list[str] | None:
    """The folders and the file of a request's path; /STUDY/ is its index.html. None for a path that cannot be a report's."""
    try:
        names = unquote(path.partition("?")[0], errors="strict").split("/")
    except UnicodeDecodeError:
        return None
    names = [*names[1:-1], names[-1] or "index.html"] if names[0] == "" and len(names) > 1 else []
    return names if names and all(_NAME.fullmatch(n) for n in names) else None


def _opened(folder: Path, names: list[str]) -> int | None:
    """A descriptor of a file below a folder, opened level by level without following links; None if there is none."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # opening a pipe would block
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for name in names:
            parent = opened
            try:
                opened = os.open(name, flags, dir_fd=parent)
            finally:
                os.close(parent)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(opened).st_mode):
        return opened
    os.close(opened)
    return None


@contextmanager
def reports_served(root: str, port: int) -> Iterator[str]:
    """Serve a local root's reports from a thread; yields the address, which runs that start have in their environment, or ""."""
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
    """ROOT PORT: serve until the process is stopped; the first line of output is the address."""
    server = ReportServer(words[0], int(words[1]))
    print(server.url, flush=True)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
