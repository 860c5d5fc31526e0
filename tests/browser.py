"""A headless Chromium driven over the DevTools protocol: just enough to use a page as a reader does."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
NONE = "no Chromium or Chrome is on the PATH; with Debian: apt-get install chromium"


def executable() -> str | None:
    """Chromium, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One open page. `problems` holds the errors of its console and its content policy, `requested` every address it loaded."""

    def __init__(self, address: str) -> None:
        from websockets.sync.client import connect

        self.problems: list[str] = []
        self.requested: list[str] = []
        self._socket = connect(address, max_size=None, open_timeout=60)
        self._number = 0
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command of the protocol and return its answer; events that arrive meanwhile are recorded."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return dict(message["result"])
            self._note(message.get("method", ""), message.get("params", {}))

    def _note(self, method: str, event: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(event["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning", "assert"):
            self.problems.append(json.dumps(event["args"])[:500])
        elif method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
            self.problems.append(event["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requested.append(event["request"]["url"])

    def open(self, url: str) -> None:
        """Go to an address. If only the fragment changes, nothing is loaded again."""
        self.call("Page.navigate", url=url)

    def js(self, expression: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, expression: str, seconds: float = 60.0) -> Any:
        """The value of an expression as soon as it is truthy."""
        return _until(lambda: self.js(expression), seconds, expression)

    def press(self, key: str) -> None:
        """Press a key, where the focus is."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        codes = {"Enter": 13, "ArrowUp": 38, "ArrowDown": 40, "ArrowLeft": 37, "ArrowRight": 39}
        for kind in ("keyDown", "keyUp"):
            more = text if kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=codes.get(key, 0), **more)

    def type(self, text: str) -> None:
        """Type text, where the focus is."""
        self.call("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Click on the middle of the first element that a selector matches."""
        found = f"document.querySelector({json.dumps(selector)})"
        middle = "const r = e.getBoundingClientRect(); return [r.left + r.width / 2, r.top + r.height / 2]"
        place = self.wait(f"(e => {{ if (!e) return null; e.scrollIntoView({{block: 'center'}}); {middle}; }})({found})")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def picture(self, path: Path, width: int = 1400, height: int = 1000, dark: bool = False) -> None:
        """A screenshot as PNG."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        time.sleep(0.3)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A new Chromium with an empty page and its own profile; it ends with the block."""
    program = executable()
    assert program, NONE
    words = [
        program,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--remote-debugging-port=0",
        "--window-size=1400,1000",
        f"--user-data-dir={profile}",
        "about:blank",
    ]
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "HOME": str(profile)}
    ) as run:
        try:
            port = _until(lambda: _port(profile), 90, "Chromium's port")
            page = _until(lambda: _page(port), 90, "Chromium's page")
            yield Browser(page)
        finally:
            run.terminate()
            try:
                run.wait(timeout=20)
            except subprocess.TimeoutExpired:
                run.kill()


def _port(profile: Path) -> str:
    try:
        return (profile / "DevToolsActivePort").read_text().split("\n")[0]
    except FileNotFoundError:
        return ""


def _page(port: str) -> str:
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy: it is on this machine
    try:
        with opener.open(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
            pages = json.loads(answer.read())
    except OSError:
        return ""
    return next((p["webSocketDebuggerUrl"] for p in pages if p["type"] == "page"), "")


def _until(found: Callable[[], Any], seconds: float, what: str) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")
