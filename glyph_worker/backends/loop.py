"""One event loop in a thread of its own, and callers' threads in front of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future, wait
from typing import Any, TypeVar

from glyph_worker.errors import InvalidOption, WorkerDraining

T = TypeVar("T")
POLL_S = 0.1
"""How often a caller looks how far its answer is."""
STOP_S = 10.0


class Loop:
    """Runs coroutines for threads that wait for them. Thread-safe."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._lock = threading.Lock()
        self._calls: dict[str, Future[Any]] = {}
        self._stopping = False
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """For start and end; waits without a limit."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def call(
        self,
        name: str,
        work: Callable[[], Coroutine[Any, Any, T]],
        *,
        poll: Callable[[], None],
    ) -> T | None:
        """What `work` returns, or None when `cancel` ended it; `poll` is called meanwhile, and what
        it raises ends the call. Raises what `work` raises, InvalidOption for a name that is in use,
        WorkerDraining.
        """
        with self._lock:
            if self._stopping:
                raise WorkerDraining("this worker stops; another will take the job")
            if name in self._calls:
                raise InvalidOption(
                    f"a sequence named {name} is running already; wait for it or cancel it first",
                    sequence_id=name,
                )
            future = asyncio.run_coroutine_threadsafe(work(), self._loop)
            self._calls[name] = future
        try:
            while not wait([future], timeout=POLL_S).done:
                poll()
            return future.result()
        except CancelledError:
            if self._stopping:
                raise WorkerDraining("this worker stops; another will take the job") from None
            return None
        finally:
            future.cancel()  # of a caller that was interrupted
            with self._lock:
                del self._calls[name]

    def cancel(self, name: str) -> bool:
        """End a call. False when there is none of that name."""
        with self._lock:
            future = self._calls.get(name)
        return future is not None and future.cancel()

    def stop(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """End all calls, let `last` clean up in the loop, and end the loop."""
        with self._lock:
            self._stopping = True
            calls = list(self._calls.values())
        for future in calls:
            future.cancel()
        ended = asyncio.run_coroutine_threadsafe(self._end(last), self._loop)
        wait([ended], timeout=STOP_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_S)
        if not self._thread.is_alive():
            self._loop.close()

    async def _end(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await last()
