"""Routes of jobs: submit, batch, status with long poll, result, cancel. Thin over the client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from glyph_worker import errors
from glyph_worker.client import Client
from glyph_worker.document import Source, Sources
from glyph_worker.errors import (
    InvalidOption,
    JobCancelled,
    JobFailed,
    JobFinished,
    UnknownJob,
)
from glyph_worker.gateway.deps import Context, InContext, TenantClient
from glyph_worker.gateway.problems import responses
from glyph_worker.gateway.schemas import BatchBody, SubmitBody
from glyph_worker.gateway.submit_body import read_submit, submit_bodies
from glyph_worker.gateway.threads import threaded
from glyph_worker.gateway.views import AnswerView, JobList, JobView, answer_fields, job_fields
from glyph_worker.gateway.webhooks import check_webhook
from glyph_worker.job import Job, JobStatus

router = APIRouter(tags=["jobs"])

POLL_AGAIN_S = "1"

JobPath = Annotated[str, Path(description="As POST /v1/jobs returned it.", max_length=200)]
Wait = Annotated[
    float, Query(ge=0, description="Long poll: seconds to wait for the job's end (capped).")
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="The same key with the same payload gives the same job; else 409.",
    ),
]

_REFUSALS = (
    errors.Conflict, errors.DocumentTooLarge, errors.UnsupportedMedia, errors.InvalidOption,
    errors.InvalidSchema,
    errors.EmptyDocument, errors.QuotaExceeded, errors.QueueFull, errors.NotAllowed,
    errors.UnknownJob, errors.JobExpired,
)  # fmt: skip


@router.post(
    "/v1/jobs",
    status_code=202,
    response_model=JobView,
    responses=responses(*_REFUSALS),
    openapi_extra=submit_bodies(SubmitBody),
    summary="Ask one question about one document",
)
async def submit(
    request: Request, client: TenantClient, context: InContext, key: IdempotencyKey = None
) -> Response:
    """Queues the job and returns at once; follow `Location`, or the events."""
    document, questions, options = await read_submit(request, context, SubmitBody)
    if len(questions) != 1:
        raise InvalidOption("POST /v1/jobs takes one question; POST /v1/jobs:batch takes several")
    job = await _submit(client, context, document, questions[0], key, options)
    return _accepted(job_fields(job), f"/v1/jobs/{job.id}")


@router.post(
    "/v1/jobs:batch",
    status_code=202,
    response_model=JobList,
    responses=responses(*_REFUSALS),
    openapi_extra=submit_bodies(BatchBody),
    summary="Ask several questions about one document",
)
async def submit_batch(
    request: Request, client: TenantClient, context: InContext, key: IdempotencyKey = None
) -> Response:
    """One job per question, in their order; the document travels once."""
    document, questions, options = await read_submit(request, context, BatchBody)
    limit = context.settings.gateway.max_questions
    if len(questions) > limit:
        raise InvalidOption(f"{len(questions)} questions, limit is {limit} in one request")
    await _check_webhook(context, options)
    if key is not None:
        options["idempotency_key"] = key
    jobs = await threaded(client.submit_many, document, questions, **options)
    ids = ",".join(job.id for job in jobs)
    where = f"/v1/jobs?ids={ids}" if len(ids) < 4_000 else "/v1/jobs"
    return _accepted({"jobs": [job_fields(job) for job in jobs]}, where)


@router.get(
    "/v1/jobs",
    response_model=JobList,
    responses=responses(errors.InvalidOption, errors.NotAllowed),
    summary="Several jobs at once, or all of yours page by page",
)
async def statuses(
    client: TenantClient,
    ids: Annotated[
        str | None, Query(description="Ids, comma-separated; up to 1000. Instead of the others.")
    ] = None,
    status: Annotated[
        str | None,
        Query(
            max_length=100,
            description="Only jobs of these, comma-separated: queued, running, succeeded, failed, "
            "cancelled.",
        ),
    ] = None,
    priority: Annotated[Literal["interactive", "bulk"] | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Most jobs of a page.")] = 50,
    cursor: Annotated[
        str | None, Query(max_length=200, description="`next_cursor` of the page before.")
    ] = None,
) -> Response:
    """With `ids` in one round trip, without those that are unknown; else newest first."""
    if ids is not None:
        if status or priority or cursor:
            raise InvalidOption("ids stands alone; filters and cursors are for lists")
        wanted = list(dict.fromkeys(part for part in ids.split(",") if part))
        if len(wanted) > 1_000:
            raise InvalidOption(f"{len(wanted)} ids, limit is 1000")
        found = await threaded(client.status_many, wanted) if wanted else []
        return JSONResponse({"jobs": [job_fields(job) for job in found if job is not None]})
    page = await threaded(
        client.list_jobs,
        limit=limit,
        cursor=cursor,
        statuses=_statuses(status),
        priority=priority,
    )
    return JSONResponse(
        {"jobs": [job_fields(job) for job in page.jobs], "next_cursor": page.next_cursor}
    )


def _statuses(text: str | None) -> list[JobStatus]:
    known = {one.value: one for one in JobStatus}
    names = [part for part in (text or "").split(",") if part]
    for name in names:
        if name not in known:
            raise InvalidOption(
                f"status {name[:40]!r} is none of {', '.join(known)}", option="status"
            )
    return [known[name] for name in names]


@router.get(
    "/v1/jobs/{job_id}",
    response_model=JobView,
    responses=responses(UnknownJob, errors.JobExpired, errors.InvalidOption, errors.NotAllowed),
    summary="What is true of a job now",
)
async def status(
    job_id: JobPath, client: TenantClient, context: InContext, wait: Wait = 0
) -> Response:
    job = await _awaited(client, context, job_id, wait)
    headers = {} if job.status.final else {"Retry-After": POLL_AGAIN_S}
    return JSONResponse(job_fields(job), headers=headers)


@router.get(
    "/v1/jobs/{job_id}/result",
    response_model=AnswerView,
    responses=responses(
        UnknownJob, errors.JobExpired, JobCancelled, errors.InvalidOption, errors.NotAllowed
    )
    | {202: {"model": JobView, "description": "Not ended yet; come back after Retry-After."}},
    summary="The answer",
)
async def result(
    job_id: JobPath, client: TenantClient, context: InContext, wait: Wait = 0
) -> Response:
    """200 with the answer; 202 while there is none; 409 for a job that failed or was cancelled."""
    job = await _awaited(client, context, job_id, wait)
    if not job.status.final:
        return _accepted(job_fields(job), f"/v1/jobs/{job_id}")
    try:
        answer = await threaded(client.result, job_id)
    except JobFailed as exc:
        # Not the status of the code's class: this request is fine, and asking again is in vain.
        raise _Ended(exc) from exc
    assert answer is not None
    return JSONResponse(answer_fields(job_id, answer))


@router.delete(
    "/v1/jobs/{job_id}",
    response_model=JobView,
    responses=responses(UnknownJob, JobFinished, errors.NotAllowed)
    | {202: {"model": JobView, "description": "Runs; ends within a step."}},
    summary="Take a job back",
)
async def cancel(job_id: JobPath, client: TenantClient) -> Response:
    """At once while it is queued, within a step while it runs; 409 when it is final already."""
    job = await threaded(client.cancel, job_id)
    return JSONResponse(job_fields(job), 200 if job.status.final else 202)


class _Ended(JobFailed):
    """A failed job's result was asked for."""

    http_status = 409

    def __init__(self, exc: JobFailed) -> None:
        details = {k: v for k, v in exc.details.items() if k not in ("code", "job_id", "message")}
        super().__init__(exc.message, code=exc.code, job_id=exc.job_id, **details)


async def _submit(
    client: Client,
    context: Context,
    document: Source | Sources | None,
    question: str,
    key: str | None,
    options: dict[str, Any],
) -> Job:
    await _check_webhook(context, options)
    if key is not None:
        options["idempotency_key"] = key
    return await threaded(client.submit, document, question, **options)


async def _check_webhook(context: Context, options: Mapping[str, Any]) -> None:
    if (webhook := options.get("webhook")) is not None:
        await check_webhook(webhook, context)


async def _awaited(client: Client, context: Context, job_id: str, wait: float) -> Job:
    job = await threaded(client.status, job_id)
    within_s = min(wait, context.settings.gateway.max_wait_s)
    if job.status.final or within_s <= 0:
        return job
    await context.watcher.ended(job_id, within_s=within_s)
    return await threaded(client.status, job_id)


def _accepted(fields: dict[str, Any], location: str) -> JSONResponse:
    headers = {"Location": location, "Retry-After": POLL_AGAIN_S}
    return JSONResponse(fields, 202, headers=headers)
