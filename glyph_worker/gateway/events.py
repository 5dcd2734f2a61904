"""Server-sent events of one job: its answer as it grows, its progress, its end. Resumable."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from glyph_worker import errors
from glyph_worker.client import Client
from glyph_worker.errors import GlyphError, InvalidOption, RefusedError, UnknownJob
from glyph_worker.gateway.deps import Context, InContext, TenantClient
from glyph_worker.gateway.jobs import JobPath
from glyph_worker.gateway.problems import responses
from glyph_worker.gateway.threads import threaded
from glyph_worker.gateway.views import job_fields
from glyph_worker.job import Delta, Job
from glyph_worker.store.streams import FIRST, Cursor, is_sequence

router = APIRouter(tags=["jobs"])

RECONNECT_MS = 1_000

# Progress is looked at often while the reader is likely to be a person at a screen, then less.
_SOON_S, _LATER_S, _PATIENT_S = 0.4, 2.0, 15.0
_SETTLED_S = 0.3
"""A job that was final from the start: its stream is read out at once."""

_DOC = """`text/event-stream`; see the MDN page on server-sent events.

* `delta`: `{"text": …, "attempt": …, "anew": …}`, what the answer grew by, with an `id`. Where
  `anew` is true the text begins again: whatever came before does not count any more. Append others.
* `status`: the job, whenever its stage or progress changed.
* `end`: the job, final. Nothing follows; close the stream, or the browser connects again.
* `error`: a problem; the browser connects again and goes on after the last `id`.

Send `Last-Event-ID` (browsers do by themselves) or `after` to go on where a stream broke off.
"""


@router.get(
    "/v1/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses=responses(
        UnknownJob, errors.JobExpired, errors.InvalidOption, RefusedError, errors.NotAllowed
    )
    | {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    summary="The answer as it grows",
    description=_DOC,
)
async def events(
    job_id: JobPath,
    client: TenantClient,
    context: InContext,
    last_event_id: Annotated[str | None, Header()] = None,
    after: Annotated[str | None, Query(description="As Last-Event-ID.")] = None,
) -> StreamingResponse:
    seq = last_event_id or after or FIRST
    if not is_sequence(seq):
        raise InvalidOption(f"Last-Event-ID {seq[:40]!r} is no id of an event; send one, or none")
    limit = context.settings.gateway.max_streams
    if context.num_streams >= limit:
        raise RefusedError(f"{limit} streams are open; poll instead, or retry", retry_after_s=5)
    job = await threaded(client.status, job_id)
    stream = _counted(context, _events(context, client, job, Cursor.at(seq)))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def _counted(context: Context, stream: AsyncIterator[str]) -> AsyncIterator[str]:
    context.num_streams += 1
    try:
        async for chunk in stream:
            yield chunk
    finally:
        context.num_streams -= 1


async def _events(context: Context, client: Client, job: Job, cursor: Cursor) -> AsyncIterator[str]:
    yield f"retry: {RECONNECT_MS}\n\n"
    yield _event("status", job_fields(job))
    began = heard = time.monotonic()
    try:
        while not context.watcher.closing:
            now = time.monotonic()
            pause_s = _SOON_S if now - began < _PATIENT_S else _LATER_S
            pause_s = _SETTLED_S if job.status.final else pause_s
            deltas = context.watcher.follow(job.id, cursor, idle_s=pause_s)
            async for fresh in deltas:
                for delta in fresh:
                    if delta.status is not None and cursor.torn:
                        yield _delta(await threaded(client.missed, job.id))
                    if delta.text:
                        yield _delta(delta)
                    if delta.status is not None:
                        job = await threaded(client.status, job.id)
                        if job.status.final:
                            yield _event("end", job_fields(job), seq=delta.seq)
                            return
                        # The server has lost the end meanwhile: there will be another.
                        cursor.ended = False
                        cursor.doubt()
                if fresh:
                    heard = time.monotonic()
                    continue
                seen, job = job, await threaded(client.status, job.id)
                if seen.status.final:
                    # Its stream was read out, or is gone, or has lost what was read last.
                    while not cursor.ended:
                        for delta in await threaded(client.next_deltas, job.id, cursor):
                            if delta.text:
                                yield _delta(delta)
                    yield _event("end", job_fields(job))
                    return
                if (seen.status, seen.stage, seen.progress) != (
                    job.status, job.stage, job.progress,
                ):  # fmt: skip
                    heard = time.monotonic()
                    yield _event("status", job_fields(job))
                elif time.monotonic() - heard > context.settings.gateway.stream_idle_s:
                    heard = time.monotonic()
                    yield ": still here\n\n"
                if pause_s != _LATER_S and (
                    job.status.final or time.monotonic() - began > _PATIENT_S
                ):
                    break  # with another patience
    except GlyphError as exc:
        yield _event("error", exc.to_wire())


def _delta(delta: Delta) -> str:
    body = {"text": delta.text, "attempt": delta.attempt, "anew": delta.anew}
    return _event("delta", body, seq=delta.seq)


def _event(name: str, body: dict[str, Any], *, seq: str | None = None) -> str:
    # JSON has no raw line end, so one data line is enough.
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return (f"id: {seq}\n" if seq else "") + f"event: {name}\ndata: {text}\n\n"
