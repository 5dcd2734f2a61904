"""HEAD on every path that takes GET, answered with the same status and headers. ASGI middleware."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadAsGet:
    """FastAPI's routes know GET alone, and health probes, load balancers and caches ask by HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def heads_only(message: Message) -> None:
            if message["type"] == "http.response.start":
                # The server is done with it here: a route that streams sees that its client left.
                scope["method"] = "HEAD"
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        # The scope is changed, not copied: what stands outside reads the route from it.
        scope["method"] = "GET"
        try:
            await self._app(scope, receive, heads_only)
        finally:
            scope["method"] = "HEAD"
