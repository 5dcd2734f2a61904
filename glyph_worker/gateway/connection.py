"""One connection: uvicorn's protocol, which knows what it waits for, and gives up with a word."""

from __future__ import annotations

import fcntl
import sys
import termios
from typing import Any

import h11
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from glyph_worker.errors import RefusedError
from glyph_worker.gateway.connections import Connections, Waits
from glyph_worker.gateway.problems import MEDIA_TYPE, problem, problem_of

FEW_PIECES, PIECE_BYTES = 10_000, 256
"""A chunked body may have so many pieces, and one more for each so many bytes: the parser is
Python, and 24 MB in pieces of one byte would keep it busy for minutes."""

HEALTH = ("/healthz", "/readyz")


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
