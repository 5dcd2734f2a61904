"""Liveness and readiness for whoever restarts and routes. Never behind an API key."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from glyph_worker.errors import StoreUnavailable, WorkerDraining
from glyph_worker.gateway.deps import InContext
from glyph_worker.gateway.problems import MEDIA_TYPE, SCHEMA_REF
from glyph_worker.gateway.threads import threaded
from glyph_worker.store.connection import connect
from glyph_worker.store.workers import WorkerStore

router = APIRouter(tags=["operations"])


class Health(BaseModel):
    status: str


class Readiness(BaseModel):
    status: str
    workers: dict[str, int]
    """Living workers by kind. Jobs are accepted without any; they wait."""


@router.get("/healthz", summary="The process answers")
async def healthz() -> Health:
    return Health(status="ok")


@router.get(
    "/readyz",
    response_model=Readiness,
    responses={503: {"description": "no broker, or draining", "content": {
        MEDIA_TYPE: {"schema": SCHEMA_REF}}}},
    summary="Jobs are accepted",
)  # fmt: skip
async def readyz(context: InContext) -> JSONResponse:
    if context.watcher.closing:
        raise WorkerDraining("this gateway is stopping")

    def look() -> dict[str, int]:
        # Short patience of its own: a probe must fail before the prober gives up.
        with connect(context.url, timeout_s=1, num_retries=0) as client:
            living = WorkerStore(client, context.keys).living()
        counts = {"render": 0, "answer": 0}
        for info in living:
            counts[info.kind] = counts.get(info.kind, 0) + (not info.draining)
        return counts

    try:
        workers = await threaded(look)
    except StoreUnavailable as exc:
        raise StoreUnavailable("the broker does not answer") from exc
    return JSONResponse({"status": "ready", "workers": workers})
