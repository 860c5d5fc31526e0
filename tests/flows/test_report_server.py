"""Reports over HTTP: only files under reports/ can be read, and only by this machine's browser."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flows.servers import ui
from flows.servers.processes import Processes
from flows.servers.report_server import ReportServer, reports_served
from flows.study_files import report_link, reports_url
from schemas import StudyError
from tests.browser import NONE, browser, executable
from tests.machine import without
from tests.report import trace_world
from tests.report.test_trace_page import READY, TITLE, published


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a report, and round about it what nobody should see."""
    root = tmp_path_factory.mktemp("reports") / "root"
    own = root / "reports" / "tiny"
    published(root, trace_world.tables(root), own)
    (own / "figures").mkdir()
    (own / "index.html").write_text("<!doctype html><title>tiny</title>")
    (own / "figures" / "counts.csv").write_text("n\n1\n")
    (own / "what").write_text("<script>")
    for path in (root / "secret.html", root.parent / "secret.html", root / "reports" / ".tiny.fresh" / "index.html"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("SECRET")
    (own / ".hidden").write_text("SECRET")
    (own / "out.html").symlink_to(root / "secret.html")
    (own / "here.html").symlink_to(own / "index.html")
    (own / "above").symlink_to(root)
    (root / "reports" / "other").symlink_to(root)
    os.mkfifo(own / "pipe.html")
    return root


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[ReportServer]:
    with ReportServer(str(root), 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def ask(server: ReportServer, path: str, method: str = "GET", host: str | None = "127.0.0.1") -> tuple[int, str, bytes]:
    """Exactly these words on the wire; status, head and body of the answer."""
    words = f"{method} {path} HTTP/1.1\r\n" + (f"Host: {host}\r\n" if host else "") + "\r\n"
    with socket.create_connection(("127.0.0.1", int(server.server_address[1])), timeout=20) as wire:
        wire.sendall(words.encode("latin-1"))
        answer = b""
        while more := wire.recv(65536):
            answer += more
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode("latin-1"), body


def test_a_report_is_read_and_what_it_may_load_is_said(server: ReportServer, root: Path) -> None:
    own = root / "reports" / "tiny"
    for path, kind, script in (
        ("index.html", "text/html; charset=utf-8", ""),
        ("figures/counts.csv", "text/csv; charset=utf-8", ""),
        ("trace/index.html", "text/html; charset=utf-8", "script-src 'self' 'unsafe-inline'"),
        ("trace/tasks/capitals/0000.js", "text/javascript; charset=utf-8", ""),
        ("what", "application/octet-stream", ""),
    ):
        status, head, body = ask(server, f"/tiny/{path}")
        assert (status, body) == (200, (own / path).read_bytes()), path
        lines = head.split("\r\n")
        assert f"Content-Type: {kind}" in lines
        assert "X-Content-Type-Options: nosniff" in lines
        assert "Cross-Origin-Resource-Policy: same-origin" in lines
        (policy,) = [line for line in lines if line.startswith("Content-Security-Policy:")]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "".join(p for p in policy.split("; ") if p.startswith("script-src")) == script
    assert ask(server, "/tiny/")[2] == ask(server, "/tiny/index.html?a=../b")[2] == (own / "index.html").read_bytes()
    status, head, body = ask(server, "/tiny/index.html", "HEAD")
    assert (status, body) == (200, b"") and f"Content-Length: {(own / 'index.html').stat().st_size}" in head


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.html",
        "/tiny/../../secret.html",
        "/tiny/../tiny/index.html",
        "/%2e%2e/secret.html",
        "/..%2fsecret.html",
        "/tiny/%2E%2E/%2E%2E/secret.html",
        "/tiny%2f..%2f..%2fsecret.html",
        "/%252e%252e/secret.html",
        "/..%5csecret.html",
        "/..\\secret.html",
        "//../secret.html",
        "../secret.html",
        "secret.html",
        "http://127.0.0.1/tiny/index.html",
        "*",
        "/tiny/index.html%00",
        "/%00",
        "/%c0%ae%c0%ae/secret.html",
        "/%ff",
        "/.../secret.html",
        "/tiny//index.html",
        "/tiny/./index.html",
        "/.tiny.fresh/index.html",
        "/tiny/.hidden",
        "/tiny/%2ehidden",
        "/" + "a" * 300,
        "/a" * 20_000,
        "/tiny/index.html/",
        "/tiny/index.html/x",
        "/tiny/index.html#x",
    ],
)
def test_no_address_leads_anywhere_else(server: ReportServer, path: str) -> None:
    status, _, body = ask(server, path)
    assert status == 404
    assert body == b"404: No such file; a report is at /STUDY/index.html\n"


@pytest.mark.parametrize(
    "path", ["/tiny/out.html", "/tiny/here.html", "/tiny/above/secret.html", "/other/secret.html", "/tiny/above/"]
)
def test_no_link_is_followed(server: ReportServer, path: str) -> None:
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize("path", ["/", "/tiny", "/tiny/figures", "/tiny/figures/", "/tiny/trace", "/tiny/pipe.html"])
def test_no_folder_is_listed_and_nothing_but_a_file_is_opened(server: ReportServer, path: str) -> None:
    status, _, body = ask(server, path)
    assert (status, b"counts" in body) == (404, False)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"])
def test_a_report_is_only_read(server: ReportServer, root: Path, method: str) -> None:
    status, head, _ = ask(server, "/tiny/index.html", method)
    assert status == 405 and "Allow: GET, HEAD" in head
    assert (root / "reports" / "tiny" / "index.html").exists()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:4201", "127.0.0.1.evil.example", "", "["])
def test_a_name_that_was_made_to_mean_this_machine_is_refused(server: ReportServer, host: str) -> None:
    """A page of evil.example whose name is given this machine's address asks here, and would read the answer."""
    status, _, body = ask(server, "/tiny/index.html", host=host or " ")
    assert (status, body) == (403, b"403: Use the address 127.0.0.1\n")


@pytest.mark.parametrize("host", ["127.0.0.1:9", "localhost", "LOCALHOST:4201", None])
def test_this_machine_may_ask_also_through_a_tunnel(server: ReportServer, host: str | None) -> None:
    assert ask(server, "/tiny/index.html", host=host)[0] == 200


def test_it_listens_to_this_machine_alone_on_its_port_or_a_free_one(server: ReportServer, root: Path) -> None:
    host, port = server.server_address
    assert host == "127.0.0.1" and server.url == f"http://127.0.0.1:{port}"
    for taken in (int(port), 70_000):
        with ReportServer(str(root), taken) as other:
            assert other.server_address[0] == "127.0.0.1" and other.server_address[1] not in (0, port)


def test_a_root_without_reports_has_none(tmp_path: Path) -> None:
    with ReportServer(str(tmp_path), 0) as empty:
        threading.Thread(target=empty.serve_forever, daemon=True).start()
        assert ask(empty, "/tiny/index.html")[0] == 404
        (tmp_path / "reports" / "tiny").mkdir(parents=True)
        (tmp_path / "reports" / "tiny" / "index.html").write_text("there now")
        assert ask(empty, "/tiny/index.html")[2] == b"there now"
        empty.shutdown()


# -- in a browser ------------------------------------------------------------------------------------------------------
def test_the_trace_works_over_http_and_other_pages_cannot_load_it(server: ReportServer, tmp_path: Path) -> None:
    if not executable():
        without(NONE)
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "index.html").write_text("<!doctype html><title>others</title>")
    serve = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "others"))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as others, browser(tmp_path / "profile") as page:
        threading.Thread(target=others.serve_forever, daemon=True).start()
        page.open(f"{server.url}/tiny/trace/index.html#capitals/e00150")
        page.wait(READY)
        page.wait(f"{TITLE} === 'e00150'")
        page.click("tr.choice")
        page.wait("document.querySelectorAll('blockquote').length === 2")
        assert page.js("getComputedStyle(document.querySelector('aside')).display") != ""
        assert page.js("parseFloat(document.getElementById('rows').style.height)") > 1000, "the list has its style"
        assert page.problems == []
        page.open(f"http://127.0.0.1:{others.server_port}/index.html")
        page.wait("document.title === 'others'")
        load = (
            "new Promise(done => { const s = document.createElement('script'); window.taskgramTrace = () => done('read');"
            f" s.onerror = () => done('refused'); s.src = '{server.url}/tiny/trace/tasks/capitals/0000.js';"
            " document.head.append(s); })"
        )
        assert page.js(load) == "refused"
        others.shutdown()


# -- the address in a run's environment --------------------------------------------------------------------------------
def test_the_link_is_the_address_of_its_own_root_or_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, page = str(tmp_path), str(tmp_path / "reports" / "tiny" / "index.html")
    monkeypatch.delenv("TASKGRAM_ROOT", raising=False)
    monkeypatch.delenv("TASKGRAM_REPORTS_URL", raising=False)
    assert report_link(root, page, "tiny") == (tmp_path / "reports" / "tiny" / "index.html").as_uri()
    assert report_link("s3://b/f", "s3://b/f/reports/tiny/index.html", "tiny") == "s3://b/f/reports/tiny/index.html"
    monkeypatch.setenv("TASKGRAM_REPORTS_URL", "https://host/reports/")
    assert report_link("s3://b/f", "s3://b/f/reports/tiny/index.html", "tiny") == "https://host/reports/tiny/index.html"
    monkeypatch.setenv("TASKGRAM_ROOT", root)
    assert report_link(root + "/", page, "tiny") == "https://host/reports/tiny/index.html"
    assert report_link("s3://b/f", "s3://b/f/reports/tiny/index.html", "tiny").startswith("s3://"), "not that root's reports"


@pytest.mark.parametrize(
    "url",
    [
        "https://me:sentinel@host/",
        "https://host/?token=sentinel",
        "https://host/#sentinel",
        "javascript:sentinel()",
        "host:4201",
        "http://",
        "http://host/a)b",
        "http://[host",
        "http://host/a b",
        "file:///sentinel",
        "//host",
    ],
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("TASKGRAM_REPORTS_URL", url)
    with pytest.raises(StudyError, match="TASKGRAM_REPORTS_URL: give an address for a browser") as error:
        reports_url("root")
    assert "sentinel" not in str(error.value)


def test_an_address_of_the_users_own_is_kept_and_nothing_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASKGRAM_ROOT", raising=False)
    monkeypatch.setenv("TASKGRAM_REPORTS_URL", "https://host/reports")
    with reports_served(str(tmp_path), 0) as url:
        assert (url, "TASKGRAM_ROOT" in os.environ) == ("https://host/reports", False)
    monkeypatch.delenv("TASKGRAM_REPORTS_URL")
    with reports_served("s3://b/f", 0) as url:
        assert (url, "TASKGRAM_REPORTS_URL" in os.environ) == ("", False)


def test_the_process_beside_make_ui_tells_its_address_once_and_is_stopped(root: Path) -> None:
    """It is started as the server and the worker are: a second start finds it, `make ui-stop` ends it."""
    processes = Processes(str(root))
    try:
        url = ui._reports(processes, str(root), 0)
        assert ui._reports(processes, str(root), 0) == url
        assert list(processes.running()) == ["reports"]
        port = int(url.removeprefix("http://127.0.0.1:"))
        with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
            wire.sendall(b"GET /tiny/index.html HTTP/1.0\r\n\r\n")
            assert wire.makefile("rb").read().endswith(b"<title>tiny</title>")
        stop = subprocess.run(
            [sys.executable, "-m", "flows.servers.ui", "stop"],
            env=os.environ | {"TASKGRAM_ROOT": str(root)},
            capture_output=True,
            text=True,
        )
        assert stop.stdout == "stopped: reports\n", stop.stderr
    finally:
        processes.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
