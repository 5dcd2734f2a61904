"""Bodies are counted while they stream in: over the limit is refused before it is held."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glyph_worker.errors import BodyTooLarge
from glyph_worker.gateway.problems import problem_of


class BodyLimit:
    """ASGI middleware. A declared length is refused at once, a chunked body where it passes."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            await problem_of(self._refusal(int(declared)))(scope, receive, send)
            return
        num_bytes, started = 0, False

        async def counted() -> Message:
            nonlocal num_bytes
            message = await receive()
            if message["type"] == "http.request":
                num_bytes += len(message.get("body", b""))
                if num_bytes > self._max_bytes:
                    raise self._refusal(num_bytes)
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, counted, watched)
        except BodyTooLarge as exc:
            if started:
                raise
            await problem_of(exc)(scope, receive, send)

    def _refusal(self, num_bytes: int) -> BodyTooLarge:
        return BodyTooLarge(
            f"the body has at least {num_bytes} bytes, limit is {self._max_bytes}; "
            "split the document, or raise GLYPH_GATEWAY_MAX_BODY_BYTES",
            num_bytes=num_bytes,
            max_bytes=self._max_bytes,
        )
