"""The route of a job's page images. One page at a time is drawn in a process: the gateway's cores
are for requests.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Response

from glyph_worker import errors
from glyph_worker.errors import ConfigurationError, RequestError, UnknownJob
from glyph_worker.gateway.deps import InContext, TenantClient
from glyph_worker.gateway.jobs import JobPath
from glyph_worker.gateway.problems import responses
from glyph_worker.gateway.threads import threaded

router = APIRouter(tags=["pages"])


@router.get(
    "/v1/jobs/{job_id}/pages/{number}.png",
    response_class=Response,
    responses=responses(
        UnknownJob, errors.JobExpired, errors.InvalidStyle, ConfigurationError, RequestError,
        errors.NotAllowed,
    )
    | {
        200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "As If-None-Match has it."},
    },
    summary="One page as the model sees it",
)  # fmt: skip
async def page(
    job_id: JobPath,
    number: Annotated[int, Path(ge=1, le=1_000_000, description="From 1.")],
    client: TenantClient,
    context: InContext,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    await threaded(client.status, job_id)  # another tenant's job is unknown
    drawer = context.drawer
    known = (if_none_match or "").strip('W/"')
    async with drawer.turn:
        digest, image = await threaded(drawer.draw, job_id, number, known)
    headers = {"ETag": f'"{digest}"', "Cache-Control": "private, max-age=3600"}
    if image is None:
        return Response(status_code=304, headers=headers)
    return Response(image, media_type="image/png", headers=headers)
