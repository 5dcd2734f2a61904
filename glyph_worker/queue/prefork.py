"""Celery's prefork pool, with one thing mended that left a worker deaf after a broker restart.

A child's result travels through a pipe, and the event loop may have read half of it when the
connection to the broker breaks. Celery then empties the loop, the half is forgotten, and the rest
is taken for the beginning of a result: from there on nothing of that child is understood, so its
next message is leased for ever and the child never gets another. It does happen in an outage: a
retry that cannot be published ends as an exception of 58 kB, more than a pipe takes at once. Leans
on `ResultHandler._recv_message` and `fileno_to_outq`; no test guards them yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

from celery.concurrency import asynpool, prefork


class ResultHandler(asynpool.ResultHandler):  # type: ignore[misc]
    """Goes on where it stopped in a child's result, whoever asks for the next."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # By child and not by descriptor: a new child may get that of one that died half-way.
        self._half_read: WeakKeyDictionary[Any, Iterator[None]] = WeakKeyDictionary()

    def _recv_message(
        self, add_reader: Callable[..., None], fd: int, callback: Callable[[Any], None]
    ) -> Iterator[None]:
        child = self.fileno_to_outq[fd]
        reading = self._half_read.pop(child, None)
        if reading is None:
            reading = super()._recv_message(add_reader, fd, callback)
        for _ in reading:
            self._half_read[child] = reading
            yield
            del self._half_read[child]


class AsynPool(asynpool.AsynPool):  # type: ignore[misc]
    ResultHandler = ResultHandler


class TaskPool(prefork.TaskPool):  # type: ignore[misc]
    Pool = AsynPool
