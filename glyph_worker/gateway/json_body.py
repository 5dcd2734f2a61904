"""JSON bodies: which header they need, and where they are validated. Knows no route."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from pydantic import BaseModel

from glyph_worker.errors import UnsupportedMedia
from glyph_worker.gateway.schemas import parsed
from glyph_worker.gateway.threads import threaded

INLINE_BYTES = 64 * 1024
"""A body up to here is validated where it arrived: a thread would cost more."""


def media_type_of(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def json_body_of(request: Request, kind: type[BaseModel], *, max_questions: int) -> Any:
    """The body as `kind`, validated beside the event loop. Raises UnsupportedMedia, InvalidOption.

    No content type counts as JSON.
    """
    media_type = media_type_of(request)
    if media_type == "application/x-www-form-urlencoded":
        raise UnsupportedMedia(
            "the body was sent as application/x-www-form-urlencoded, as `curl -d` does by itself; "
            "for JSON send the header Content-Type: application/json (curl -H or --json), "
            "for a file send multipart/form-data (curl -F)"
        )
    if media_type not in ("", "application/json") and not media_type.endswith("+json"):
        raise UnsupportedMedia(
            f"content type {media_type[:80]!r} is not read here; send JSON with the header "
            "Content-Type: application/json, or a file as multipart/form-data"
        )
    raw = await request.body()
    if len(raw) <= INLINE_BYTES:
        return parsed(kind, raw, max_questions=max_questions)
    return await threaded(parsed, kind, raw, max_questions=max_questions)
