"""Who is connected and what each waits for: limits, timeouts, and room kept for health checks.

uvicorn alone waits for ever for a request's head and body, and accepts until no descriptor is left
to anybody. Here a connection that has no whole request to offer is closed in time, and at once
where the room is needed; one whose request is whole is never closed to make room.
"""

from __future__ import annotations

import fcntl
import os
import resource
import sys
import termios
import time
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import h11
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from glyph_worker.errors import RefusedError
from glyph_worker.gateway.problems import MEDIA_TYPE, problem, problem_of

log = structlog.get_logger(__name__)

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
FEW_PIECES, PIECE_BYTES = 10_000, 256
"""A chunked body may have so many pieces, and one more for each so many bytes: the parser is
Python, and 24 MB in pieces of one byte would keep it busy for minutes."""

MAX_OPEN = 10_000
RESERVE, SPARE_DESCRIPTORS = 32, 128
"""Connections beyond the limit, for health checks alone; descriptors for Redis, files, children."""
WANTED_DESCRIPTORS = 65_536
ACCEPT_AT_ONCE = 16
"""asyncio accepts this many before it looks at one of them, so no more can pass the limit."""

HEALTH = ("/healthz", "/readyz")


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


class Connection(H11Protocol):
    """uvicorn's protocol, which knows what it waits for and since when."""

    def __init__(self, config: Config, *args: Any, all_open: Connections, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.conn = self._counted = _Counted(
            h11.SERVER, config.h11_max_incomplete_event_size or 64 * 1024
        )
        self._all = all_open
        self._whole_app = self.app
        self.reserved = False
        """Beyond the limit: here only for health checks."""
        self.leaving = False
        self.waits = Waits.HEAD
        self.since = all_open.clock()
        self._unsent = (0, self.since)

    @property
    def num_bytes(self) -> int:
        """Of the request's body, so far."""
        return self._counted.num_bytes

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._all.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self.leaving:
            super().data_received(data)
            self._settle(got=True)

    def handle_events(self) -> None:
        if self.reserved:  # some that stood before it may have had nothing to say
            self.reserved = not self._all.has_room(0, beside=self)
        self.app = _health_only(self._whole_app, self._all) if self.reserved else self._whole_app
        super().handle_events()
        self._settle()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._settle()

    def _settle(self, *, got: bool = False) -> None:
        found = self._found(got=got)
        if found is not self.waits:
            before, self.waits, self.since = self.waits, found, self._all.clock()
            self._all.moved(self, before)

    def _found(self, *, got: bool) -> Waits:
        sending = self.conn.their_state is h11.SEND_BODY
        if self.cycle is None or (self.cycle.response_complete and not sending):
            # Nothing of a next request yet, or a part of its head.
            return Waits.HEAD if got or self.waits is Waits.HEAD else Waits.IDLE
        if sending:
            return Waits.LINGER if self.cycle.response_complete else Waits.BODY
        return Waits.ANSWER

    @property
    def has_unread(self) -> bool:
        """Whether the client has sent something that we have not looked at yet."""
        connection = self.transport.get_extra_info("socket")
        if connection is None or connection.fileno() < 0:
            return False
        found = fcntl.ioctl(connection.fileno(), termios.FIONREAD, bytes(4))
        return int.from_bytes(found, sys.byteorder) > 0

    def unread_for(self, now: float) -> float:
        """Seconds for which the client has read nothing of what waits to be sent to it."""
        size = self.transport.get_write_buffer_size()
        if size != self._unsent[0] or not size:
            self._unsent = (size, now)
        return now - self._unsent[1]

    def refuse(self, detail: str) -> None:
        """408, where anything was begun; then close."""
        if self.waits is Waits.HEAD and not self.conn.trailing_data[0]:
            self.close()  # it sent nothing yet
        else:
            self._say("request_timeout", 408, f"{detail}; send it again")

    def close(self) -> None:
        self.leaving = True
        self._all.leave(self)
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        self._say("bad_request", 400, self._counted.refusal or f"{msg.rstrip('.')}: no HTTP/1.1")

    def _say(self, code: str, status: int, detail: str) -> None:
        """A last word from here instead of the route."""
        answering = self.cycle is not None and not self.cycle.response_complete
        if self.cycle is not None:
            # The route may still wait for the body: it sees that the client is gone.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if answering and self.cycle.response_started:
            self.close()
            return
        self.leaving = True
        body = problem(code, status, detail).body
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        events = (
            h11.Response(status_code=status, headers=headers),
            h11.Data(data=bytes(body)),
            h11.EndOfMessage(),
        )
        try:
            for event in events:
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:
            pass  # the last answer is out, and the next request was no HTTP
        self.transport.close()


class _Counted(h11.Connection):
    """Counts the pieces of a body, and stops at too many."""

    num_pieces = num_bytes = 0
    refusal = ""

    def next_event(self) -> Any:
        event = super().next_event()
        if type(event) is h11.Request:
            self.num_pieces = self.num_bytes = 0
        elif type(event) is h11.Data:
            self.num_pieces += 1
            self.num_bytes += len(event.data)
            if self.num_pieces > FEW_PIECES + self.num_bytes // PIECE_BYTES:
                self.refusal = (
                    f"the body came in {self.num_pieces} pieces for {self.num_bytes} bytes; "
                    "send larger chunks"
                )
                raise h11.RemoteProtocolError(self.refusal)
        return event


def _health_only(app: ASGIApp, all_open: Connections) -> ASGIApp:
    """For a connection beyond the limit: health checks, and a word for the others."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        if scope.get("path") in HEALTH:
            await app(scope, receive, closing)
            return
        refused = RefusedError(
            f"all {all_open.max_open} connections are at work; come back in a moment",
            retry_after_s=2,
        )
        await problem_of(refused, status=503)(scope, receive, closing)

    return answer


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
