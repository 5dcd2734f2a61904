"""The article's `POST /infer`: one call that waits for the answer. The job behind is ordinary."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from glyph_worker import errors
from glyph_worker.errors import GlyphError, WaitTimeout
from glyph_worker.gateway.bodies import json_body_of
from glyph_worker.gateway.deps import InContext, TenantClient
from glyph_worker.gateway.problems import responses
from glyph_worker.gateway.schemas import InferBody, json_body
from glyph_worker.gateway.threads import threaded
from glyph_worker.gateway.views import InferReply

router = APIRouter(tags=["infer"])


@router.post(
    "/infer",
    response_model=InferReply,
    responses=responses(
        errors.DocumentTooLarge, errors.InvalidOption, errors.QuotaExceeded, WaitTimeout,
        errors.JobCancelled, GlyphError, errors.NotAllowed, errors.UnsupportedMedia,
    ),
    openapi_extra=json_body(InferBody),
    summary="Ask and wait for the answer",
)  # fmt: skip
async def infer(request: Request, client: TenantClient, context: InContext) -> JSONResponse:
    """504 with the job's id when the answer takes longer than the gateway waits; it goes on.

    A client that hangs up leaves the job running: its answer stays to be fetched by id.
    """
    body: InferBody = await json_body_of(request, InferBody, max_questions=1)
    job = await threaded(client.submit, body.source, body.question, **body.options())
    del body  # as large as the document, and the wait is long
    wait_s = context.settings.gateway.max_wait_s
    await context.watcher.ended(job.id, within_s=wait_s)
    answer = await threaded(client.result, job.id)
    if answer is None:
        raise WaitTimeout(
            f"no answer after {wait_s:g} s; the job goes on: GET /v1/jobs/{job.id}/result",
            job_id=job.id,
        )
    receipt = answer.to_fields()["receipt"]
    return JSONResponse({"response": answer.text, "job_id": job.id, "receipt": receipt})
