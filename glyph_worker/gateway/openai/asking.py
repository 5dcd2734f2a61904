"""A request becomes a job: document, question, options; and the wait for its end."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

from fastapi import Header, Request

from glyph_worker.client import Client
from glyph_worker.document import Document, SheetMode, joined
from glyph_worker.errors import (
    GlyphError,
    InvalidOption,
    JobError,
    RequestError,
    UnknownJob,
    WaitTimeout,
)
from glyph_worker.gateway.deps import Context
from glyph_worker.gateway.openai.forms import format_options, reasoning_options, text_format_options
from glyph_worker.gateway.openai.growth import stopping
from glyph_worker.gateway.openai.models import check_model
from glyph_worker.gateway.openai.requests import ChatBody, GlyphExtras, Item, ResponseBody
from glyph_worker.gateway.openai.turn_parts import FilePart
from glyph_worker.gateway.openai.turns import Asked, asked_by
from glyph_worker.gateway.threads import threaded, threaded_whole
from glyph_worker.gateway.webhooks import check_webhook
from glyph_worker.job import Answer, Job
from glyph_worker.store.backlog import Noted

DEFAULT_NEW_TOKENS = 1_024
"""Longest answer where the caller says nothing: OpenAI's clients expect a whole one."""
LOOK_S = 1.0
"""How often a waiting request asks whether its caller is still there."""

RepeatKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=180,
        description="The same key with the same body gives the same job, so that a client's own "
        "retries ask once.",
    ),
]


def chat_asked(body: ChatBody) -> Asked:
    extras = body.glyph or GlyphExtras()
    return asked_by(
        body.messages,
        param="messages",
        document=extras.document,
        question=extras.question,
        goes_on=extras.follows is not None,
    )


def response_asked(body: ResponseBody) -> Asked:
    extras = body.glyph or GlyphExtras()
    items = body.input
    if isinstance(items, str):
        items = [Item(role="user", content=items)]
    if body.instructions:
        items = [Item(role="developer", content=body.instructions), *items]
    return asked_by(
        items,
        param="input",
        document=extras.document,
        question=extras.question,
        goes_on=body.previous_response_id is not None or extras.follows is not None,
    )


def chat_options(body: ChatBody) -> dict[str, Any]:
    """Of `Client.submit`. Raises InvalidOption."""
    if body.max_tokens is not None and body.max_completion_tokens is not None:
        raise InvalidOption("max_tokens is max_completion_tokens; send one", param="max_tokens")
    return _options(
        body.glyph,
        tier=body.service_tier,
        max_new_tokens=body.max_completion_tokens or body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        seed=body.seed,
        stop=body.stop,
        **format_options(body.response_format),
        **reasoning_options(body.reasoning_effort, param="reasoning_effort"),
    )


def response_options(body: ResponseBody) -> dict[str, Any]:
    """Of `Client.submit`. Raises InvalidOption."""
    form = body.text.format if body.text else None
    before = body.previous_response_id
    effort = body.reasoning.effort if body.reasoning else None
    return _options(
        body.glyph,
        tier=body.service_tier,
        max_new_tokens=body.max_output_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        follows=None if before is None else before.removeprefix("resp_"),
        **text_format_options(form),
        **reasoning_options(effort, param="reasoning.effort"),
    )


def _options(extras: GlyphExtras | None, *, tier: str | None, **said: Any) -> dict[str, Any]:
    chosen = {name: value for name, value in said.items() if value is not None}
    if tier == "flex":
        chosen["priority"] = "bulk"
    for name, value in (extras.chosen() if extras else {}).items():
        if name in chosen and chosen[name] != value:
            raise InvalidOption(
                f"glyph.{name} says another thing than the request; send one", param=f"glyph.{name}"
            )
        chosen[name] = value
    return chosen


async def document_of(
    context: Context, client: Client, asked: Asked, *, pdf: SheetMode = "auto"
) -> str | Document | None:
    """Raises what reading a file raises, and UnknownFile."""
    if asked.document is None or isinstance(asked.document, str):
        return asked.document
    if isinstance(asked.document, FilePart):
        return await _file(context, client, asked.document, pdf)
    pages = [await _file(context, client, part, pdf) for part in asked.document]
    limits = context.settings.limits
    return joined(
        pages,
        max_bytes=limits.max_document_bytes,
        max_picture_bytes=limits.max_picture_bytes,
    )


async def _file(context: Context, client: Client, part: FilePart, pdf: SheetMode) -> Document:
    try:
        if part.url:
            fetched = await context.fetcher.fetch(part.url)
            raw, name, content_type = fetched.raw, fetched.name, fetched.content_type
        elif part.file_id:
            found = await threaded(context.uploads.get, client.tenant, part.file_id)
            raw, name, content_type = found.raw, found.name, ""
        else:
            raw, name, content_type = part.raw or b"", part.name, part.content_type
        document = await context.files.read(raw, name=name, content_type=content_type, pdf=pdf)
    except RequestError as exc:
        exc.details.setdefault("param", part.at)
        raise
    if part.is_picture and not document.sheets:
        raise InvalidOption(f"{part.at}: it is no picture; send it as a file part", param=part.at)
    return document


async def submit(
    context: Context,
    client: Client,
    body: ChatBody | ResponseBody,
    *,
    surface: dict[str, Any],
    job_id: str = "",
    **more: Any,
) -> Job:
    """`more`: options that go over the body's. Raises what a submit raises, and UnknownModel."""
    await check_model(context, body.model)
    if isinstance(body, ChatBody):
        asked, options = chat_asked(body), chat_options(body)
    else:
        asked, options = response_asked(body), response_options(body)
    options |= {name: value for name, value in more.items() if value is not None}
    if asked.history:
        if "follows" in options or options.get("history"):
            name = "follows" if "follows" in options else "history"
            raise InvalidOption(f"earlier turns beside {name}; send one of the two", param=name)
        options["history"] = asked.history
    options.setdefault(
        "max_new_tokens", min(DEFAULT_NEW_TOKENS, context.settings.limits.max_new_tokens)
    )
    if (webhook := options.get("webhook")) is not None:
        await check_webhook(webhook, context)
    pdf = body.glyph.pdf if body.glyph else None
    document = await document_of(context, client, asked, pdf=pdf or "auto")
    noted = Noted(surface=json.dumps(surface, ensure_ascii=False, sort_keys=True).encode())
    try:
        return await threaded(
            client.submit_noted, document, asked.question, noted=noted, job_id=job_id, **options
        )
    except UnknownJob as exc:
        if options.get("follows") is None:
            raise
        raise PreviousUnknown(
            f"no response {options['follows'][:80]!r} to go on from: never made, or over its time "
            "to live",
            param="previous_response_id",
        ) from exc


class PreviousUnknown(RequestError):
    code = "previous_response_not_found"
    http_status = 400


async def ended(
    request: Request, context: Context, client: Client, job_id: str, *, key: str | None
) -> Answer | None:
    """The answer; None when the caller hung up, whose job is then cancelled unless it has a key.

    Raises JobFailed, JobCancelled, WaitTimeout; RefusedError when the gateway stops.
    """
    until = time.monotonic() + context.settings.gateway.max_wait_s
    while True:
        answer = await threaded(client.result, job_id)
        if answer is not None:
            return answer
        if await request.is_disconnected():
            await give_up(client, job_id, key)
            return None
        left_s = until - time.monotonic()
        if context.watcher.closing or left_s <= 0:
            await give_up(client, job_id, key)
            if context.watcher.closing:
                raise stopping()
            raise _late(job_id, context.settings.gateway.max_wait_s, key)
        await context.watcher.ended(job_id, within_s=min(LOOK_S, left_s))


async def give_up(client: Client, job_id: str, key: str | None) -> None:
    """Nobody can come back to a job without a key: its answer would be computed for no one."""
    if key is None:
        try:
            await threaded_whole(client.cancel, job_id)
        except (JobError, RequestError):
            return  # it has ended meanwhile
        except GlyphError:
            return  # the store is away; its answer goes unread


def _late(job_id: str, wait_s: float, key: str | None) -> WaitTimeout:
    if key is None:
        return WaitTimeout(
            f"no answer after {wait_s:g} s, and the job is taken back; send an Idempotency-Key to "
            "wait on by asking again, stream, or use /v1/responses with background",
            job_id=job_id,
        )
    return WaitTimeout(
        f"no answer after {wait_s:g} s; the job goes on: ask again with the same key",
        job_id=job_id,
        retry_after_s=0.1,
    )
