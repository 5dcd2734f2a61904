"""Bodies: which headers they need, and where JSON is validated. Knows no route."""

from __future__ import annotations

from email.message import Message
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


def check_form_charset(request: Request) -> None:
    """A form's names and values would be decoded by any codec that the caller names, on the event
    loop, and `punycode` takes seconds. Raises UnsupportedMedia."""
    message = Message()
    message["content-type"] = request.headers.get("content-type", "")
    charset = message.get_param("charset")
    if charset is not None and str(charset).lower() not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedMedia(
            f"a form in charset {str(charset)[:40]!r} is not read here; send it as UTF-8 "
            "(a file in it may have another charset, in its own part)"
        )


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
