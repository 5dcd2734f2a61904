"""A span per HTTP request, named by its route, continuing the caller's trace. Knows no content."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glyph_worker.traces import Traces


class RequestSpans:
    """ASGI middleware, installed where traces are on."""

    def __init__(self, app: ASGIApp, *, traces: Traces) -> None:
        self._app = app
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        parent = dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1")
        with self._traces.span(scope["method"], parent=parent) as span:

            async def watched(message: Message) -> None:
                if message["type"] == "http.response.start":
                    route = getattr(scope.get("route"), "path", "")
                    span.update_name(f"{scope['method']} {route}".strip())
                    span.set_attribute("http.route", route)
                    span.set_attribute("http.response.status_code", message["status"])
                    if job_id := scope.get("path_params", {}).get("job_id"):
                        span.set_attribute("glyph.job_id", job_id)
                await send(message)

            await self._app(scope, receive, watched)
