"""GET /metrics, for Prometheus. What it shows is in collectors.py."""

from __future__ import annotations

import hmac

from fastapi import APIRouter, Request, Response
from prometheus_client import generate_latest

from glyph_worker.errors import KeyMissing
from glyph_worker.gateway.deps import InContext
from glyph_worker.gateway.threads import threaded

router = APIRouter(tags=["operations"])

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/metrics", response_class=Response, summary="For Prometheus")
async def metrics(request: Request, context: InContext) -> Response:
    token = context.settings.gateway.metrics_token.get_secret_value()
    if token:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), token.encode()):
            raise KeyMissing(
                "/metrics asks for Authorization: Bearer <GLYPH_GATEWAY_METRICS_TOKEN>"
            )
    else:
        context.tenants.tenant_of(request)
    text = await threaded(generate_latest, context.metrics.registry)
    return Response(text, media_type=MEDIA_TYPE)
