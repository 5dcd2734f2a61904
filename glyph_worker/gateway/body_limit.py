"""Bodies are counted while they stream in: over a limit is refused before it is held."""

from __future__ import annotations

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glyph_worker.errors import BodyTooLarge, GlyphError, RefusedError
from glyph_worker.gateway.problems import problem_of

MAX_BODIES_HELD = 8
"""As many of the largest bodies as all requests together may hold at once."""


class BodyLimit:
    """ASGI middleware. A declared length is refused at once, a chunked body where it passes."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._num_held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared[:20]) > self._max_bytes:
            await problem_of(self._too_large(int(declared[:20])))(scope, receive, send)
            return
        num_bytes, started = 0, False
        refusal: GlyphError | None = None

        async def counted() -> Message:
            nonlocal num_bytes, refusal
            message = await receive()
            if message["type"] == "http.request":
                more = len(message.get("body", b""))
                num_bytes += more
                self._num_held += more
                if num_bytes > self._max_bytes:
                    refusal = self._too_large(num_bytes)
                elif self._num_held > MAX_BODIES_HELD * self._max_bytes:
                    refusal = RefusedError(
                        "too much is being sent here at once; send it again in a moment",
                        retry_after_s=2,
                    )
                if refusal is not None:
                    raise refusal
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, counted, watched)
        except ClientDisconnect:
            return  # in the middle of its body: nobody is there to be told
        except GlyphError as exc:
            if exc is not refusal or started:
                raise
            await problem_of(exc)(scope, receive, send)
        finally:
            self._num_held -= num_bytes

    def _too_large(self, num_bytes: int) -> BodyTooLarge:
        return BodyTooLarge(
            f"the body has at least {num_bytes} bytes, limit is {self._max_bytes}; "
            "split the document, or raise GLYPH_GATEWAY_MAX_BODY_BYTES",
            num_bytes=num_bytes,
            max_bytes=self._max_bytes,
        )
