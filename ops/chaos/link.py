"""A TCP relay on loopback of any delay and bandwidth: a slow link between worker and Redis."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time


class Link:
    """Connections to `port` go on to the target, each byte `delay_s` later, each way, and at most
    `bytes_per_s` each way and connection (None: as fast as the loopback). Both may change at any
    time.
    """

    def __init__(
        self, host: str, port: int, *, delay_s: float = 0.0, bytes_per_s: float | None = None
    ) -> None:
        self.delay_s = delay_s
        self.bytes_per_s = bytes_per_s
        self._target = (host, port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._open = True
        threading.Thread(target=self._accept, name="link", daemon=True).start()

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Takes no more connections; those that are open end with their ends."""
        self._open = False
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while self._open:
            near = None
            try:
                near, _ = self._server.accept()
                far = socket.create_connection(self._target, timeout=5)
                far.settimeout(None)
            except OSError:
                if near is not None:
                    near.close()  # refused there is refused here
                continue
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, target in ((near, far), (far, near)):
                on_the_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
                for turn in (self._read, self._write):
                    threading.Thread(
                        target=turn, args=(source, target, on_the_way), name="link", daemon=True
                    ).start()

    def _read(
        self,
        source: socket.socket,
        target: socket.socket,
        on_the_way: queue.SimpleQueue[tuple[float, bytes]],
    ) -> None:
        free_at = time.monotonic()
        with contextlib.suppress(OSError):
            while raw := source.recv(1 << 15):
                if self.bytes_per_s:
                    now = time.monotonic()
                    free_at = max(now, free_at) + len(raw) / self.bytes_per_s
                    time.sleep(free_at - now)
                on_the_way.put((time.monotonic() + self.delay_s, raw))
        on_the_way.put((0.0, b""))

    def _write(
        self,
        source: socket.socket,
        target: socket.socket,
        on_the_way: queue.SimpleQueue[tuple[float, bytes]],
    ) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, raw = on_the_way.get()
                if not raw:
                    break
                time.sleep(max(0.0, due - time.monotonic()))
                target.sendall(raw)
        # The end of one direction ends both: Redis never half-closes.
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
