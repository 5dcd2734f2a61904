"""All that are connected and what each waits for: limits, timeouts, and room for health checks.

uvicorn alone waits for ever for a request's head and body, and accepts until no descriptor is left
to anybody. Here a connection that has no whole request to offer is closed in time, and at once
where the room is needed; one whose request is whole is never closed to make room.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glyph_worker.gateway.connection import Connection

SWEEP_S = 0.5
BODY_BYTES_PER_S = 10_000
"""Once the first patience is over, a body that arrives slower than this on the whole is refused."""
LINGER_S = 5.0
"""After an early answer, time for a client to end what it sends: closed at once, it would see a
reset in the place of the answer."""
UNREAD_S = 60.0
"""An answer of which nothing was read for so long is given up."""
YOUNG_S = 2.0
"""A body that began so lately is not given up for another connection."""

MAX_OPEN = 10_000
RESERVE, SPARE_DESCRIPTORS = 32, 128
"""Connections beyond the limit, for health checks alone; descriptors for Redis, files, children."""
WANTED_DESCRIPTORS = 65_536
ACCEPT_AT_ONCE = 16
"""asyncio accepts this many before it looks at one of them, so no more can pass the limit."""

_GONE = object()


class Waits(IntEnum):
    """What a connection waits for; the lowest are closed first where room is needed."""

    IDLE = 0
    """The next request, which may never come."""
    HEAD = 1
    LINGER = 2
    """The end of a body that nobody reads any more."""
    BODY = 3
    ANSWER = 4
    """For us."""


class Connections:
    """All of one server. Single-threaded: it lives on the event loop."""

    def __init__(
        self, *, max_open: int, patience_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`patience_s`: longest wait for a request's head, and for its body to come to speed."""
        self.max_open = max_open
        self.clock = clock
        self._patience_s = patience_s
        self._open: dict[Waits, dict[Connection, None]] = {waits: {} for waits in Waits}
        """By what they wait for, longest first."""
        self._swept_at = 0.0

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._open.values())

    def enter(self, connection: Connection) -> None:
        """Another connection; one that is less worth may have to go for it."""
        connection.reserved = not self.has_room(1)
        self._open[connection.waits][connection] = None
        if len(self) > self.max_open + RESERVE:
            connection.close()

    def moved(self, connection: Connection, before: Waits) -> None:
        if self._open[before].pop(connection, _GONE) is not _GONE:
            self._open[connection.waits][connection] = None

    def leave(self, connection: Connection) -> None:
        self._open[connection.waits].pop(connection, None)

    def has_room(self, num_more: int, *, beside: Connection | None = None) -> bool:
        """Within the limit for so many more; where there is none, another may have to go for it."""
        if len(self) + num_more > self.max_open:
            self._make_room(beside)
        return len(self) + num_more <= self.max_open

    def _make_room(self, beside: Connection | None) -> None:
        """Close the one that is worth least and has waited longest for its client."""
        for waits in (Waits.IDLE, Waits.HEAD, Waits.LINGER, Waits.BODY):
            for one in self._open[waits]:
                if waits is Waits.BODY and self.clock() - one.since < YOUNG_S:
                    break  # the others are younger still
                # In a rush many come between two reads: what was not read may be a whole request.
                if one is not beside and (waits is Waits.LINGER or not one.has_unread):
                    one.close()
                    return

    def sweep(self) -> None:
        """Close whatever was waited for long enough. Cheap to call often."""
        now = self.clock()
        if now - self._swept_at < SWEEP_S:
            return
        self._swept_at = now
        for connection in [one for waiting in self._open.values() for one in waiting]:
            waited_s, waits = now - connection.since, connection.waits
            if connection.unread_for(now) > UNREAD_S:
                connection.close()
            elif waits is Waits.HEAD and waited_s > self._patience_s:
                connection.refuse(f"the request's head took over {self._patience_s:g} s")
            elif waits is Waits.BODY and waited_s > self._body_s(connection.num_bytes):
                connection.refuse(
                    f"the request's body came slower than {BODY_BYTES_PER_S // 1000} kB/s"
                )
            elif waits is Waits.LINGER and waited_s > LINGER_S:
                connection.close()

    def _body_s(self, num_bytes: int) -> float:
        return self._patience_s + num_bytes / BODY_BYTES_PER_S


def room_for(max_connections: int) -> int:
    """Connections that the process' descriptors allow, at most `max_connections` unless it is 0.

    Raises the soft limit on descriptors as far as needed and allowed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else hard
    wanted = min(allowed, WANTED_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    num_open = len(os.listdir("/dev/fd"))
    room = max(16, min(soft - num_open - RESERVE - SPARE_DESCRIPTORS, MAX_OPEN))
    return min(room, max_connections) if max_connections else room
