"""Lets jobs in side by side, and one that has killed a worker only alone. Threads; no I/O."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CHECK_S = 0.25


class Gate:
    """A readers-writer lock: a suspect waits until nobody is inside and keeps newcomers out."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside: set[str] = set()
        self._alone: str | None = None
        self._suspects = 0

    @contextmanager
    def enter(self, job_id: str, *, alone: bool, check: Callable[[], None]) -> Iterator[list[str]]:
        """Yields the ids of the jobs that are inside already.

        `check` is called while it waits; what it raises ends the wait.
        """
        with self._changed:
            if alone:
                self._suspects += 1
                try:
                    self._wait(lambda: not self._inside, check)
                finally:
                    self._suspects -= 1
                    self._changed.notify_all()
                self._alone = job_id
            else:
                # A waiting suspect goes first, or a steady flow of others would starve it.
                self._wait(lambda: self._alone is None and not self._suspects, check)
            batch_mates = sorted(self._inside)
            self._inside.add(job_id)
        try:
            yield batch_mates
        finally:
            with self._changed:
                self._inside.discard(job_id)
                if self._alone == job_id:
                    self._alone = None
                self._changed.notify_all()

    def _wait(self, free: Callable[[], bool], check: Callable[[], None]) -> None:
        while not self._changed.wait_for(free, timeout=CHECK_S):
            check()
