"""A cache server that may fail without anybody noticing but the counters. Decides nothing else.

Every call answers None instead of raising. After `TRIP` failures in a row the breaker opens: calls
answer None at once, and a ping in the background, at growing intervals, closes it again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

from glyph_worker.errors import GlyphError, StoreDenied, StoreFull, StoreUnavailable

T = TypeVar("T")


class Pinged(Protocol):
    def ping(self) -> None: ...


S = TypeVar("S", bound=Pinged)
Observer = Callable[[str, Mapping[str, Any]], None]
"""Told of every event by name with its fields; never with text. Must not raise."""

TRIP = 2
FIRST_REST_S = 0.5
LONGEST_REST_S = 15.0
FULL_PAUSE_S = 5.0


class Rest:
    """How long a server that failed is left alone: twice as long after every failure in a row."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._for_s = 0.0
        self._until = 0.0

    @property
    def over(self) -> bool:
        return self._clock() >= self._until

    def lengthen(self) -> None:
        self._for_s = min(LONGEST_REST_S, max(FIRST_REST_S, 2 * self._for_s))
        self._until = self._clock() + self._for_s

    def end(self) -> None:
        self._for_s = self._until = 0.0

    @contextmanager
    def spared(self, server: str) -> Iterator[None]:
        """For callers that want to hear of a failure: one timeout then, and not one per page.
        Raises StoreUnavailable while the server rests, else what happens within."""
        if not self.over:
            raise StoreUnavailable(
                f"{server} failed a moment ago; it is asked again within {self._for_s:.1f} s"
            )
        try:
            yield
        except StoreUnavailable:
            self.lengthen()
            raise
        self.end()


class CircuitBreaker(Generic[S]):
    """Wraps a store on the cache server, or none. Thread-safe."""

    def __init__(
        self,
        store: S | None,
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._observer = observer
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._open = False
        self._rest = Rest(clock)
        self._full_until = 0.0

    @property
    def up(self) -> bool:
        """Whether calls are let through."""
        return self._store is not None and not self._open

    @property
    def full(self) -> bool:
        """Whether the server refused a write for lack of memory a moment ago."""
        return self._clock() < self._full_until

    def call(self, what: str, ask: Callable[[S], T]) -> T | None:
        """The answer, or None when the server is down, slow, full or makes no sense."""
        store = self._store
        if store is None or self._open:
            return None
        try:
            answer = ask(store)
        except StoreFull as exc:
            # Reads go on; only what writes must pause.
            self._full_until = self._clock() + FULL_PAUSE_S
            self._notify("store_full", what, exc)
            return None
        except Exception as exc:  # noqa: BLE001 - a lying server may break any parser below us
            self._failed(what, exc)
            return None
        self._failures = 0
        return answer

    def close(self) -> None:
        """Nothing is asked from here on: a thread that outlived its owner's patience would connect
        to the server again."""
        self._store = None

    def probe(self) -> None:
        """Try a server that is out; the owner calls this now and then, off the jobs' way."""
        store = self._store
        if store is None or not self._open or not self._rest.over:
            return
        started = self._clock()
        try:
            store.ping()
        except Exception as exc:  # noqa: BLE001 - as above
            self._rest.lengthen()
            self._notify("store_down", "ping", exc)
            return
        with self._lock:
            self._open, self._failures = False, 0
            self._rest.end()
        self._observer("store_back", {"ping_ms": (self._clock() - started) * 1e3})

    def _failed(self, what: str, exc: Exception) -> None:
        with self._lock:
            self._failures += 1
            # A refused password will not be accepted next time.
            if not self._open and (self._failures >= TRIP or isinstance(exc, StoreDenied)):
                self._open = True
                self._rest.lengthen()
        self._notify("store_failed", what, exc)

    def _notify(self, event: str, what: str, exc: Exception) -> None:
        code = exc.code if isinstance(exc, GlyphError) else type(exc).__name__
        fields: Mapping[str, Any] = {"call": what, "code": code, "error": str(exc)[:200]}
        self._observer(event, {**fields, "open": self._open})
