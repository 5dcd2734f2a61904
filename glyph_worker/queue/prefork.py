"""Celery's prefork pool, with one thing mended that left a worker deaf after a broker restart.

A child's result travels through a pipe, and the event loop may have read half of it when the
connection to the broker breaks. Celery then empties the loop, the half is forgotten, and the rest
is taken for the beginning of a result: from there on nothing of that child is understood, so its
next message is leased for ever and the child never gets another. It does happen in an outage: a
retry that cannot be published ends as an exception of 58 kB, more than a pipe takes at once. Here
the filled loop is given the half-read result again. Leans on `ResultHandler._recv_message` and
`fileno_to_outq`, which a contract test guards.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from inspect import GEN_SUSPENDED, getgeneratorstate
from typing import Any
from weakref import WeakKeyDictionary

from celery.concurrency import asynpool, prefork


class ResultHandler(asynpool.ResultHandler):  # type: ignore[misc]
    """Knows what it is reading from each child."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # By child and not by descriptor: a new child may get that of one that died half-way.
        self._reading: WeakKeyDictionary[Any, Generator[None]] = WeakKeyDictionary()

    def _recv_message(
        self, add_reader: Callable[..., None], fd: int, callback: Callable[[Any], None]
    ) -> Generator[None]:
        reading: Generator[None] = super()._recv_message(add_reader, fd, callback)
        self._reading[self.fileno_to_outq[fd]] = reading
        return reading

    def resume(self, hub: Any) -> None:
        """Let an event loop go on with what was half read when it was emptied."""
        for fd, child in self.fileno_to_outq.items():
            reading = self._reading.get(child)
            if reading is not None and getgeneratorstate(reading) == GEN_SUSPENDED:
                hub.add_reader(fd, reading)


class AsynPool(asynpool.AsynPool):  # type: ignore[misc]
    ResultHandler = ResultHandler

    def register_with_event_loop(self, hub: Any) -> None:
        super().register_with_event_loop(hub)
        self._result_handler.resume(hub)


class TaskPool(prefork.TaskPool):  # type: ignore[misc]
    Pool = AsynPool
