"""A stretch of network that can be cut: what connects to its port is passed on to another, or, while it is cut, is not."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Network:
    """Passes bytes between its own port and `target`. `cut()`: nothing passes, and nothing is refused either."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._whole = threading.Event()
        self._whole.set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, *, broken: bool = False) -> None:
        """Let nothing pass. `broken`: the connections that are open end as well."""
        self._whole.clear()
        if broken:
            self._end_all()

    def restore(self) -> None:
        """Let everything pass again, what has waited first."""
        self._whole.set()

    def close(self) -> None:
        self._whole.set()
        self._listening.close()
        self._end_all()

    def _end_all(self) -> None:
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open.clear()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                near, _ = self._listening.accept()
                self._whole.wait()
                try:
                    far = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    near.close()
                    continue
                self._open += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while content := one.recv(65_536):
                self._whole.wait()
                other.sendall(content)
        with suppress(OSError):
            other.shutdown(socket.SHUT_WR)
