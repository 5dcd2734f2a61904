"""Celery pool of cheap blocked threads, one per job in flight, all feeding one engine.

Celery's own tracer still gives every job its ack, events, retry and limits. Leans on the keyword
names of `on_apply`, on `apply_target` and on the handle's `.terminate(signal)`, which Celery
reaches through a weak reference; contract tests guard them, and the upper pin of celery.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from celery.concurrency.base import apply_target
from celery.concurrency.thread import ApplyResult
from celery.concurrency.thread import TaskPool as ThreadPool


class StageInProcess(Protocol):
    """What the pool needs of the stage it feeds; set as `app.glyph_stage`, started before it."""

    def stop(self) -> None: ...
    def cancel(self, job_id: str) -> bool: ...
    def healthy(self) -> bool: ...


class InFlight(ApplyResult):  # type: ignore[misc]
    """One running job's handle."""

    def __init__(self, future: Future[Any], job_id: str, stage: StageInProcess) -> None:
        super().__init__(future)
        self._job_id = job_id
        self._stage = stage

    def terminate(self, signal: Any = None) -> None:
        """Celery's revoke(terminate=True): ends the sequence, never the process."""
        self._stage.cancel(self._job_id)


class TaskPool(ThreadPool):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stage: StageInProcess = self.app.glyph_stage
        self._in_flight: set[InFlight] = set()

    def on_stop(self) -> None:
        super().on_stop()
        self._stage.stop()

    def on_terminate(self) -> None:
        self._stage.stop()

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """All jobs share this process: ending one goes through its handle, never through a pid."""

    def on_apply(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        **_: Any,
    ) -> InFlight:
        job_id = args[1] if args else ""
        future = self.executor.submit(apply_target, target, args, kwargs, callback, accept_callback)
        handle = InFlight(future, job_id, self._stage)
        self._in_flight.add(handle)
        future.add_done_callback(lambda _: self._in_flight.discard(handle))
        return handle
