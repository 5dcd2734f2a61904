"""The end of a worker that ends for whatever reason: announced no longer, and soon over."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import structlog
from celery import bootsteps
from celery.worker import state

log = structlog.get_logger(__name__)

EX_TEMPFAIL = 75


class Ending:
    """Celery ends its parts in turn and waits for each, some without a limit: a pool for a child
    that holds half a result, an executor for a thread that waits for the broker. From the moment
    that a worker closes, or is told to end, `patience_s` are left to it.
    """

    def __init__(self, worker: Any, *, patience_s: float, on_begin: Callable[[], None]) -> None:
        """`on_begin` must not block: it is called in the event loop."""
        self._worker = worker
        self._patience_s = max(1.0, patience_s)
        self._on_begin = on_begin
        self._begun = threading.Event()

    def end_with(self, exit_code: int) -> None:
        """End in order, with this code. From any thread."""
        state.should_stop = exit_code
        self._worker.exitcode = exit_code
        hub = getattr(self._worker.consumer, "hub", None)
        if hub is not None:
            hub.call_soon(_nothing)  # wakes the event loop
        self.begin()

    def begin(self) -> None:
        """What is left of the worker's life is counted from here. Only the first call counts."""
        if self._begun.is_set():
            return
        self._begun.set()
        self._on_begin()
        last = threading.Timer(self._patience_s, self._give_up)
        last.daemon = True
        last.start()

    def _give_up(self) -> None:
        log.error("worker.end_gave_up", after_s=self._patience_s, num_left=len(state.requests))
        with contextlib.suppress(Exception):
            for pid in self._worker.pool.info.get("processes", []):
                os.kill(pid, signal.SIGKILL)
        # Records and messages follow by their leases.
        os._exit(int(self._worker.exitcode or EX_TEMPFAIL))


class Closing(bootsteps.StartStopStep):  # type: ignore[misc]
    """Celery's hook: told before all others when its worker begins to close."""

    def include(self, parent: Any) -> bool:
        parent.steps.insert(0, self)
        return True

    def close(self, parent: Any) -> None:
        parent.app.glyph_ending.begin()


def _nothing() -> None:
    """Wakes the event loop."""
