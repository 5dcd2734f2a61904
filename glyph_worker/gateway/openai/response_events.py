"""A response as an object, and as numbered events that resume anywhere. Knows no route.

The numbers follow from the job's stream alone: created 0, queued 1, in_progress 2, the item and its
part 3 and 4, one for each piece of text, then the ends. So any gateway gives the same events to
whoever goes on after a number.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from glyph_worker.client import Client
from glyph_worker.errors import GlyphError, JobCancelled, JobFailed
from glyph_worker.gateway.deps import Context
from glyph_worker.gateway.openai.growth import grown
from glyph_worker.gateway.openai.usage import created, finish_reason, glyph_fields, response_usage
from glyph_worker.gateway.threads import threaded
from glyph_worker.job import Answer, Job, JobStatus

API = "responses"

_STATUS = {
    JobStatus.QUEUED: "queued", JobStatus.RUNNING: "in_progress",
    JobStatus.SUCCEEDED: "completed", JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "cancelled",
}  # fmt: skip


def response_id(job_id: str) -> str:
    return f"resp_{job_id}"


def response_of(
    job: Job, answer: Answer | None, surface: dict[str, Any], *, status: str = ""
) -> dict[str, Any]:
    """`surface` is what the request said and the response says again; `status` overrides."""
    status = status or _STATUS[job.status]
    if status == "completed" and answer is not None and finish_reason(answer) == "length":
        status = "incomplete"
    error = job.error or {}
    return {
        "id": response_id(job.id),
        "object": "response",
        "created_at": created(job),
        "status": status,
        "background": surface.get("background", False),
        "error": {"code": "server_error", "message": f"{error.get('code')}: {error.get('message')}"}
        if status == "failed"
        else None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": surface.get("instructions"),
        "max_output_tokens": surface.get("max_output_tokens"),
        "metadata": surface.get("metadata") or {},
        "model": surface["model"],
        "output": [] if answer is None else [_item(job.id, answer.text)],
        "parallel_tool_calls": False,
        "previous_response_id": surface.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "store": True,
        "temperature": surface.get("temperature"),
        "text": {"format": surface.get("format") or {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": surface.get("top_p"),
        "truncation": "disabled",
        "usage": None if answer is None else response_usage(answer),
        "glyph": glyph_fields(job.id, answer) | ({"error": error} if error else {}),
    }


def _item(job_id: str, text: str | None) -> dict[str, Any]:
    """The one message of the output; None while it is written."""
    return {
        "id": f"msg_{job_id}",
        "type": "message",
        "status": "in_progress" if text is None else "completed",
        "role": "assistant",
        "content": [] if text is None else [_part(text)],
    }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


async def events(
    context: Context, client: Client, job: Job, surface: dict[str, Any], *, after: int
) -> AsyncIterator[str]:
    """Server-sent events with a number above `after`, from -1."""
    context.num_streams += 1
    try:
        number = -1
        async for event in _all_events(context, client, job, surface):
            if event is None:
                yield ": still here\n\n"
                continue
            number += 1
            if number > after:
                event["sequence_number"] = number
                text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
                yield f"event: {event['type']}\ndata: {text}\n\n"
    except GlyphError as exc:
        event = {"type": "error", "code": exc.code, "message": exc.message, "param": None,
                 "sequence_number": number + 1}  # fmt: skip
        yield f"event: error\ndata: {json.dumps(event, ensure_ascii=False)}\n\n"
    finally:
        context.num_streams -= 1


async def _all_events(
    context: Context, client: Client, job: Job, surface: dict[str, Any]
) -> AsyncIterator[dict[str, Any] | None]:
    def whole(name: str, status: str) -> dict[str, Any]:
        return {"type": name, "response": response_of(job, None, surface, status=status)}

    yield whole("response.created", "queued")
    yield whole("response.queued", "queued")
    yield whole("response.in_progress", "in_progress")
    where = {"item_id": f"msg_{job.id}", "output_index": 0, "content_index": 0}
    text = ""
    opened = False
    try:
        async for piece in grown(context, client, job.id):
            if piece == "":
                yield None
                continue
            if not opened:
                opened = True
                yield {"type": "response.output_item.added", "output_index": 0,
                       "item": _item(job.id, None)}  # fmt: skip
                yield {"type": "response.content_part.added", **where, "part": _part("")}
            if isinstance(piece, Answer):
                text, answer = piece.text, piece
                break
            yield {"type": "response.output_text.delta", **where, "delta": piece, "logprobs": []}
    except (JobFailed, JobCancelled):
        job = await threaded(client.status, job.id)
        name = "failed" if job.status is JobStatus.FAILED else "cancelled"
        # OpenAI has no event for a cancel: its clients end with `response.failed`.
        yield {"type": "response.failed", "response": response_of(job, None, surface, status=name)}
        return
    yield {"type": "response.output_text.done", **where, "text": text, "logprobs": []}
    yield {"type": "response.content_part.done", **where, "part": _part(text)}
    yield {"type": "response.output_item.done", "output_index": 0, "item": _item(job.id, text)}
    job = await threaded(client.status, job.id)
    done = response_of(job, answer, surface)
    yield {"type": f"response.{done['status']}", "response": done}
