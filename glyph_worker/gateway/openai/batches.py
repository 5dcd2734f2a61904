"""/v1/batches: many requests in a file, answered in a file. `batch_runner` moves them on."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from glyph_worker import errors
from glyph_worker.document import digest
from glyph_worker.errors import Conflict, InvalidOption
from glyph_worker.gateway.deps import InContext, TenantName
from glyph_worker.gateway.openai.asking import RepeatKey
from glyph_worker.gateway.openai.errors import refusals
from glyph_worker.gateway.openai.parsing import read
from glyph_worker.gateway.openai.requests import FileBatchBody
from glyph_worker.gateway.openai.uploads import After, unknown_after
from glyph_worker.gateway.schemas import json_body
from glyph_worker.gateway.threads import threaded
from glyph_worker.store.batches import Batch, BatchStatus, UnknownBatch
from glyph_worker.store.uploads import UnknownFile

router = APIRouter(tags=["openai"])

_UNIT_S = {"m": 60, "h": 3_600, "d": 86_400}
MAX_WINDOW_S = 29 * 86_400

BatchId = Annotated[str, Path(max_length=100, description="As POST /v1/batches returned it.")]


class RequestCounts(BaseModel):
    total: int
    completed: int
    failed: int


class BatchFault(BaseModel):
    code: str
    line: int | None = None
    message: str
    param: str | None = None


class BatchFaults(BaseModel):
    object: Literal["list"] = "list"
    data: list[BatchFault]


class BatchView(BaseModel):
    """As OpenAI's. Times are whole seconds since the epoch, null if not yet."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: BatchFaults | None = Field(None, description="Lines that were not fit to be asked.")
    input_file_id: str
    completion_window: str
    status: BatchStatus
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: dict[str, str] | None


class BatchList(BaseModel):
    object: Literal["list"] = "list"
    data: list[BatchView]
    has_more: bool
    first_id: str | None
    last_id: str | None


@router.post(
    "/v1/batches",
    responses=refusals(UnknownFile, errors.Conflict, errors.UnsupportedMedia),
    openapi_extra=json_body(FileBatchBody),
    summary="Ask all that is in a file",
)
async def create(
    request: Request, tenant: TenantName, context: InContext, key: RepeatKey = None
) -> BatchView:
    """Each line becomes a job of priority `bulk`, whose deadline is the window's end."""
    body = await read(request, FileBatchBody)
    window_s = int(body.completion_window[:-1]) * _UNIT_S[body.completion_window[-1]]
    if window_s > MAX_WINDOW_S:
        raise InvalidOption(
            f"completion_window is {body.completion_window}, must be at most 29d",
            param="completion_window",
        )
    info = await threaded(context.uploads.info, tenant, body.input_file_id)
    if info.purpose != "batch":
        raise InvalidOption(
            f"file {info.id} has purpose {info.purpose!r}, must be 'batch'", param="input_file_id"
        )
    file = await threaded(context.uploads.get, tenant, body.input_file_id)
    unique = uuid.uuid4().hex if key is None else digest("batch", tenant, key)[:32]
    now = await threaded(context.batches.now)
    wanted = Batch(
        id=f"batch_{unique}", tenant=tenant, endpoint=body.endpoint, input_file_id=info.id,
        completion_window=body.completion_window, created_at=now, expires_at=now + window_s,
        metadata=body.metadata or {},
    )  # fmt: skip
    kept = await threaded(context.batches.create, wanted, file.raw)
    for name in ("endpoint", "input_file_id", "completion_window", "metadata"):
        if getattr(kept, name) != getattr(wanted, name):
            raise Conflict(
                f"this idempotency key was used with another {name}; choose a new key", param=name
            )
    return view(kept)


@router.get("/v1/batches", responses=refusals(), summary="Your batches")
async def batches(
    tenant: TenantName,
    context: InContext,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: After = None,
) -> BatchList:
    found = await threaded(context.batches.newest, tenant)
    if after is not None:
        at = next((n for n, one in enumerate(found) if one.id == after), None)
        if at is None:
            raise unknown_after(after)
        found = found[at + 1 :]
    page = found[:limit]
    return BatchList(
        data=[view(batch) for batch in page],
        has_more=len(found) > limit,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
    )


@router.get("/v1/batches/{batch_id}", responses=refusals(UnknownBatch), summary="One batch")
async def batch(batch_id: BatchId, tenant: TenantName, context: InContext) -> BatchView:
    return view(await threaded(context.batches.get, tenant, batch_id))


@router.post(
    "/v1/batches/{batch_id}/cancel",
    responses=refusals(UnknownBatch),
    summary="Take a batch back",
)
async def cancel(batch_id: BatchId, tenant: TenantName, context: InContext) -> BatchView:
    """What has ended until then is in its files. One that has ended stays as it is."""
    await threaded(context.batches.get, tenant, batch_id)
    await threaded(context.batches.ask_cancel, tenant, batch_id)
    return view(await threaded(context.batches.get, tenant, batch_id))


def view(batch: Batch) -> BatchView:
    def at(*statuses: BatchStatus) -> int | None:
        return int(batch.ended_at) if batch.ended_at and batch.status in statuses else None

    def whole(time_s: float | None) -> int | None:
        return None if time_s is None else int(time_s)

    faults: Any = [BatchFault(**fault) for fault in batch.errors]
    return BatchView(
        id=batch.id, endpoint=batch.endpoint, input_file_id=batch.input_file_id,
        errors=BatchFaults(data=faults) if faults else None,
        completion_window=batch.completion_window, status=batch.status,
        output_file_id=batch.output_file_id, error_file_id=batch.error_file_id,
        created_at=int(batch.created_at), expires_at=int(batch.expires_at),
        in_progress_at=whole(batch.in_progress_at), cancelling_at=whole(batch.cancelling_at),
        finalizing_at=at(BatchStatus.COMPLETED), completed_at=at(BatchStatus.COMPLETED),
        failed_at=at(BatchStatus.FAILED), expired_at=at(BatchStatus.EXPIRED),
        cancelled_at=at(BatchStatus.CANCELLED),
        request_counts=RequestCounts(
            total=batch.num_lines, completed=batch.num_completed, failed=batch.num_failed
        ),
        metadata=batch.metadata or None,
    )  # fmt: skip
