"""Notices a step that hangs. Judges by the clock alone; what happens then is the engine's."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Watchdog:
    """Calls `on_hang(seconds)` once, from its own thread, when `age()` passes the limit."""

    def __init__(
        self,
        age: Callable[[], float],
        on_hang: Callable[[float], None],
        *,
        limit_s: float,
        period_s: float | None = None,
    ) -> None:
        """`age` gives the running step's seconds, 0 between steps."""
        self._age = age
        self._on_hang = on_hang
        self._limit_s = limit_s
        self._period_s = min(1.0, limit_s / 4) if period_s is None else period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="engine-watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self._period_s):
            age = self._age()
            if age > self._limit_s:
                self._on_hang(age)
                return
