"""One loopback address with several servers behind it, as a load balancer gives it."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Sequence


class OneAddress:
    """Each connection goes to the next server in turn that takes it; to none, and it is closed."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = list(ports)
        self._turn = itertools.count()
        self._server = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._server.getsockname()[1]
        self._open = True
        threading.Thread(target=self._accept, name="address", daemon=True).start()

    def __enter__(self) -> OneAddress:
        return self

    def __exit__(self, *_: object) -> None:
        self._open = False
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while self._open:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            if (far := self._connected()) is None:
                near.close()
                continue
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for ends in ((near, far), (far, near)):
                threading.Thread(target=_copy, args=ends, name="address", daemon=True).start()

    def _connected(self) -> socket.socket | None:
        first = next(self._turn)
        for n in range(len(self._ports)):
            port = self._ports[(first + n) % len(self._ports)]
            with contextlib.suppress(OSError):
                far = socket.create_connection(("127.0.0.1", port), timeout=5)
                far.settimeout(None)
                return far
        return None


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Either way ends with the other: a server that died is seen at once."""
    with contextlib.suppress(OSError):
        while raw := source.recv(1 << 16):
            target.sendall(raw)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
