"""OpenTelemetry for the gateway's requests, when an endpoint is set. Optional in every way."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glyph_worker.errors import ConfigurationError
from glyph_worker.settings import GatewaySettings


def install_traces(app: FastAPI, settings: GatewaySettings) -> None:
    """Nothing without GLYPH_GATEWAY_TRACE_ENDPOINT. Raises ConfigurationError without the extra."""
    if not settings.trace_endpoint:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as exc:
        raise ConfigurationError(
            "GLYPH_GATEWAY_TRACE_ENDPOINT needs pip install 'glyph_worker[traces]'"
        ) from exc
    provider = TracerProvider(resource=Resource.create({"service.name": "glyph-gateway"}))
    exporter = OTLPSpanExporter(endpoint=settings.trace_endpoint.rstrip("/") + "/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    app.add_middleware(RequestSpans, tracer=provider.get_tracer("glyph_worker.gateway"))


class RequestSpans:
    """ASGI middleware: one server span per request, named by its route, never by its content."""

    def __init__(self, app: ASGIApp, *, tracer: Any) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind

        carrier = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        with self._tracer.start_as_current_span(
            scope["method"], context=extract(carrier), kind=SpanKind.SERVER
        ) as span:

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
