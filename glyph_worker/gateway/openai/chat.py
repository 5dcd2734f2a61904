"""POST /v1/chat/completions: one job, answered at once or as it grows."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from glyph_worker import errors
from glyph_worker.client import Client
from glyph_worker.errors import GlyphError, JobCancelled, JobFailed, RefusedError, WaitTimeout
from glyph_worker.gateway.deps import Context, InContext, TenantClient
from glyph_worker.gateway.openai.asking import RepeatKey, ended, give_up, submit
from glyph_worker.gateway.openai.errors import error_of, refusals, status_in_openai
from glyph_worker.gateway.openai.growth import grown
from glyph_worker.gateway.openai.models import UnknownModel
from glyph_worker.gateway.openai.parsing import read
from glyph_worker.gateway.openai.requests import ChatBody
from glyph_worker.gateway.openai.usage import (
    GlyphView,
    chat_usage,
    created,
    finish_reason,
    glyph_fields,
)
from glyph_worker.gateway.problems import status_of
from glyph_worker.gateway.schemas import json_body
from glyph_worker.job import Answer, Job

router = APIRouter(tags=["openai"])

COMPLETION, CHUNK = "chat.completion", "chat.completion.chunk"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class ChatMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    index: int = 0
    message: ChatMessage
    logprobs: None = None
    finish_reason: Literal["stop", "length"]


class ChatUsage(BaseModel):
    model_config = ConfigDict(extra="allow")

    prompt_tokens: int = Field(description="Visual tokens of the pages and the question's own.")
    completion_tokens: int
    total_tokens: int


class ChatCompletion(BaseModel):
    """As OpenAI's, with `glyph` beside."""

    model_config = ConfigDict(extra="allow")

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: ChatUsage
    glyph: GlyphView


@router.post(
    "/v1/chat/completions",
    response_model=ChatCompletion,
    responses=refusals(
        errors.Conflict, errors.DocumentTooLarge, errors.UnsupportedMedia, errors.QuotaExceeded,
        JobCancelled, JobFailed, WaitTimeout, UnknownModel, errors.JobExpired,
    )
    | {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    openapi_extra=json_body(ChatBody),
    summary="Ask as OpenAI's clients ask",
)  # fmt: skip
async def create(
    request: Request, client: TenantClient, context: InContext, key: RepeatKey = None
) -> Response:
    """One question about one document. A caller that hangs up takes the job back, unless it has
    sent an Idempotency-Key: then it goes on, and the same request again waits for the same job."""
    body = await read(request, ChatBody)
    check_streams(context, bool(body.stream))
    surface = {"api": "chat", "model": body.model}
    job = await submit(
        context, client, body, surface=surface,
        idempotency_key=None if key is None else f"chat:{key}",
    )  # fmt: skip
    if body.stream:
        usage = bool(body.stream_options and body.stream_options.include_usage)
        chunks = _chunks(context, client, job, body.model, with_usage=usage, key=key)
        return StreamingResponse(chunks, media_type="text/event-stream", headers=HEADERS)
    del body  # as large as the document, and the wait is long
    answer = await ended(request, context, client, job.id, key=key)
    if answer is None:
        return Response(status_code=499)  # nobody is there to read it
    return JSONResponse(completion(job, surface["model"], answer))


def check_streams(context: Context, wanted: bool) -> None:
    """Raises RefusedError while too many streams are open."""
    limit = context.settings.gateway.max_streams
    if wanted and context.num_streams >= limit:
        raise RefusedError(f"{limit} streams are open; retry, or ask without", retry_after_s=5)


def completion(job: Job, model: str, answer: Answer) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{job.id}",
        "object": COMPLETION,
        "created": created(job),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer.text, "refusal": None},
                "logprobs": None,
                "finish_reason": finish_reason(answer),
            }
        ],
        "usage": chat_usage(answer),
        "glyph": glyph_fields(job.id, answer),
    }


async def _chunks(
    context: Context, client: Client, job: Job, model: str, *, with_usage: bool, key: str | None
) -> AsyncIterator[str]:
    head = {
        "id": f"chatcmpl-{job.id}", "object": CHUNK, "created": created(job), "model": model,
    }  # fmt: skip

    def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return data({**head, "choices": [choice], **more})

    context.num_streams += 1
    over = False
    try:
        yield chunk({"role": "assistant", "content": ""})
        async for piece in grown(context, client, job.id):
            if isinstance(piece, Answer):
                over = True
                more = {"glyph": glyph_fields(job.id, piece)}
                yield chunk({}, finish_reason(piece), **more)
                if with_usage:
                    yield data({**head, "choices": [], "usage": chat_usage(piece)})
            elif piece:
                yield chunk({"content": piece})
            else:
                yield ": still here\n\n"
        yield "data: [DONE]\n\n"
    except GlyphError as exc:
        over = True
        yield data(stream_error(exc))
    finally:
        context.num_streams -= 1
        if not over:
            await give_up(client, job.id, key)


def stream_error(exc: GlyphError) -> dict[str, Any]:
    return error_of(exc.code, exc.message, status_in_openai(status_of(exc)))


def data(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False, separators=(',', ':'))}\n\n"
