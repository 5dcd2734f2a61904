"""POST /v1/responses: a job, waited for, followed, or left in the background and polled."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict

from glyph_worker import errors
from glyph_worker.client import Client
from glyph_worker.errors import (
    JobCancelled,
    JobFailed,
    JobFinished,
    RefusedError,
    RequestError,
    UnknownJob,
    WaitTimeout,
)
from glyph_worker.gateway.deps import InContext, TenantClient
from glyph_worker.gateway.openai.asking import RepeatKey, ended, submit
from glyph_worker.gateway.openai.chat import HEADERS, check_streams
from glyph_worker.gateway.openai.errors import refusals
from glyph_worker.gateway.openai.models import UnknownModel
from glyph_worker.gateway.openai.parsing import read
from glyph_worker.gateway.openai.requests import ResponseBody
from glyph_worker.gateway.openai.response_events import API, events, response_of
from glyph_worker.gateway.openai.usage import GlyphView
from glyph_worker.gateway.problems import status_of
from glyph_worker.gateway.schemas import json_body
from glyph_worker.gateway.threads import threaded
from glyph_worker.job import Answer, Job

router = APIRouter(tags=["openai"])

CANCEL_WAIT_S = 3.0
"""A cancel's reply waits so long for the step that ends the job."""

MAX_SHOWN_CHARS = 4_096
"""Longest instructions that a response shows again."""

ResponseId = Annotated[str, Path(max_length=200, description="As POST /v1/responses returned it.")]
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
}


class UnknownResponse(UnknownJob):
    code = "response_not_found"


class ResponseView(BaseModel):
    """As OpenAI's `response`, with `glyph` beside."""

    model_config = ConfigDict(extra="allow")

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["queued", "in_progress", "completed", "failed", "cancelled", "incomplete"]
    background: bool
    model: str
    output: list[dict[str, Any]]
    glyph: GlyphView


@router.post(
    "/v1/responses",
    response_model=ResponseView,
    responses=refusals(
        errors.Conflict, errors.DocumentTooLarge, errors.UnsupportedMedia, errors.QuotaExceeded,
        errors.JobExpired,
        JobFailed, UnknownModel,
    )
    | _EVENTS,
    openapi_extra=json_body(ResponseBody),
    summary="Ask, in the background or not",
)  # fmt: skip
async def create(
    request: Request, client: TenantClient, context: InContext, key: RepeatKey = None
) -> Response:
    """The response lives in the job's record: it outlives gateways, and any gateway has it.

    One that takes longer than the gateway waits comes back `in_progress`, to be polled."""
    body = await read(request, ResponseBody)
    check_streams(context, bool(body.stream))
    surface = surface_of(body)
    job = await submit(
        context, client, body, surface=surface,
        idempotency_key=None if key is None else f"responses:{key}",
    )  # fmt: skip
    stream, background = bool(body.stream), bool(body.background)
    del body  # as large as the document, and the wait is long
    if stream:
        return _streamed(context, client, job, surface, after=-1)
    if background:
        job, answer, _ = await _found(client, f"resp_{job.id}")
        return JSONResponse(response_of(job, answer, surface))
    try:
        # Not taken back when the caller hangs up: it has an id, and a stream to come back to.
        await ended(request, context, client, job.id, key=key or "kept")
    except JobFailed as exc:
        if status_of(exc) < 500:
            raise  # the request's own fault, and as such an error
    except (WaitTimeout, JobCancelled, RefusedError):
        pass  # its status says so; a failure here would make the client ask once more
    job, answer, _ = await _found(client, f"resp_{job.id}")
    return JSONResponse(response_of(job, answer, surface))


def surface_of(body: ResponseBody) -> dict[str, Any]:
    """What the record keeps to show the response again."""
    instructions = body.instructions or ""
    said = {
        "background": bool(body.background),
        # Longer ones may be the document, which every look at the record would carry along.
        "instructions": instructions if 0 < len(instructions) <= MAX_SHOWN_CHARS else None,
        "previous_response_id": body.previous_response_id,
        "max_output_tokens": body.max_output_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "metadata": body.metadata,
        "format": body.text.format if body.text else None,
    }
    return {"api": API, "model": body.model} | {k: v for k, v in said.items() if v is not None}


@router.get(
    "/v1/responses/{response_id}",
    response_model=ResponseView,
    responses=refusals(UnknownResponse) | _EVENTS,
    summary="A response now, or its events",
)
async def retrieve(
    response_id: ResponseId,
    client: TenantClient,
    context: InContext,
    stream: Annotated[bool, Query(description="Its events instead, from the beginning.")] = False,
    starting_after: Annotated[
        int | None, Query(ge=0, le=10**9, description="Go on after this sequence number.")
    ] = None,
) -> Response:
    job, answer, surface = await _found(client, response_id)
    if not stream:
        return JSONResponse(response_of(job, answer, surface))
    check_streams(context, True)
    after = -1 if starting_after is None else starting_after
    return _streamed(context, client, job, surface, after=after)


@router.post(
    "/v1/responses/{response_id}/cancel",
    response_model=ResponseView,
    responses=refusals(UnknownResponse),
    summary="Take a response back",
)
async def cancel(response_id: ResponseId, client: TenantClient, context: InContext) -> Response:
    """One that has ended stays as it is."""
    job, _, _ = await _found(client, response_id)
    try:
        job = await threaded(client.cancel, job.id)
        if not job.status.final:
            await context.watcher.ended(job.id, within_s=CANCEL_WAIT_S)
    except JobFinished:
        pass
    job, answer, surface = await _found(client, response_id)
    return JSONResponse(response_of(job, answer, surface))


def _streamed(
    context: Any, client: Client, job: Job, surface: dict[str, Any], *, after: int
) -> StreamingResponse:
    found = events(context, client, job, surface, after=after)
    return StreamingResponse(found, media_type="text/event-stream", headers=HEADERS)


async def _found(client: Client, response_id: str) -> tuple[Job, Answer | None, dict[str, Any]]:
    """Raises UnknownResponse, also for a job that was not asked for as a response."""
    unknown = UnknownResponse(
        f"no response {response_id[:80]!r} here: never made, or over its time to live"
    )
    if not response_id.startswith("resp_"):
        raise unknown
    try:
        job, answer, raw = await threaded(client.outcome, response_id.removeprefix("resp_"))
    except RequestError as exc:
        raise unknown from exc
    surface: dict[str, Any] = json.loads(raw) if raw else {}
    if surface.get("api") != API:
        raise unknown
    return job, answer, surface
