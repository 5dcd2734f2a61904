"""One part of a turn: its text, or the file it brings. What has no effect here is refused by name.
No I/O."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from glyph_worker.errors import InvalidOption
from glyph_worker.gateway.openai.requests import Part
from glyph_worker.webhook_url import MAX_URL_CHARS

LABELS = frozenset({"id", "status", "phase", "name", "prompt_cache_breakpoint"})
"""Of turns and parts: which one it is, who says it, and what may be kept. They change no answer."""

_TEXT_TYPES = ("text", "input_text", "output_text")
_FILE_TYPES = ("file", "input_file")
_PICTURE_TYPES = ("image_url", "input_image")
_FILE_FIELDS = ("filename", "file_data", "file_id", "file_url")
_WHOLE = ("auto", "high", "original")
"""Values of `detail` that ask for what is done: pages are read as their style has them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FilePart:
    """A file as it came, the id of one that was uploaded, or where one is."""

    name: str = ""
    raw: bytes | None = None
    content_type: str = ""
    file_id: str = ""
    url: str = ""
    at: str = ""
    is_picture: bool = False


def read_part(part: Part, role: str, at: str) -> str | FilePart:
    """`at` is its place in the request. Raises InvalidOption with `param`, the place."""
    fields: dict[str, Any] = part.model_extra or {}
    if part.type in _TEXT_TYPES:
        text = fields.get("text")
        if not isinstance(text, str):
            raise refused(at, "a text part has a `text`")
        check_fields(fields, at, known=("text", "annotations", "logprobs"))
        return text
    if part.type in _FILE_TYPES:
        if role != "user":
            raise refused(at, f"a file part in a turn of role {role!r}; send it as the user's")
        if part.type == "input_file":
            return _file(fields, at)
        check_fields(fields, at, known=("file",))
        return _file(fields.get("file"), at)
    if part.type in _PICTURE_TYPES:
        if role != "user":
            raise refused(at, f"a picture in a turn of role {role!r}; send it as the user's")
        return replace(_picture(fields, at), is_picture=True)
    raise refused(
        at,
        f"a part of type {part.type!r} is not read here; text, file and picture parts are "
        "(any text, HTML, PDF, PNG, JPEG, TIFF)",
    )


def check_fields(fields: Mapping[str, Any], at: str, *, known: Collection[str]) -> None:
    """Raises InvalidOption for one that says something and would be passed over."""
    for name, value in fields.items():
        if name == "detail" and value in _WHOLE:
            continue
        if name in known or name in LABELS or value in (None, "", [], {}):
            continue
        raise refused(f"{at}.{name[:80]}", f"{name[:80]!r} is not supported here; leave it out")


def refused(at: str, message: str) -> InvalidOption:
    return InvalidOption(f"{at}: {message}", param=at)


def _file(fields: Any, at: str) -> FilePart:
    if not isinstance(fields, dict):
        raise refused(at, "a file part has `file_data` or `file_id`")
    check_fields(fields, at, known=_FILE_FIELDS)
    if url := fields.get("file_url"):
        return FilePart(url=_url(url, f"{at}.file_url"), at=f"{at}.file_url")
    name, file_id = fields.get("filename") or "", fields.get("file_id")
    if file_id is not None:
        if not isinstance(file_id, str) or len(file_id) > 100:
            raise refused(at, "`file_id` is the id of an uploaded file")
        return FilePart(file_id=file_id, at=at)
    data = fields.get("file_data")
    if not isinstance(data, str) or not isinstance(name, str):
        raise refused(at, "a file part has `file_data` (base64, or a data: URL) or `file_id`")
    return _decoded(data, name, at)


def _picture(fields: dict[str, Any], at: str) -> FilePart:
    """Chat's `image_url: {url}`, or a response's `image_url` or `file_id`."""
    check_fields(fields, at, known=("image_url", "file_id"))
    if fields.get("file_id") is not None:
        return _file({"file_id": fields["file_id"]}, at)
    said = fields.get("image_url")
    if isinstance(said, dict):
        check_fields(said, f"{at}.image_url", known=("url",))
    url = said.get("url") if isinstance(said, dict) else said
    if not isinstance(url, str):
        raise refused(at, "a picture part has an `image_url`")
    if not url.startswith("data:"):
        return FilePart(url=_url(url, f"{at}.image_url"), at=f"{at}.image_url")
    return _decoded(url, "", at)


def _url(url: object, at: str) -> str:
    if not isinstance(url, str) or len(url) > MAX_URL_CHARS:
        raise refused(at, f"a URL is text of at most {MAX_URL_CHARS} characters")
    return url


def _decoded(data: str, name: str, at: str) -> FilePart:
    head, comma, rest = data.partition(",")
    content_type = ""
    if comma and head.startswith("data:"):
        content_type, _, encoding = head.removeprefix("data:").rpartition(";")
        if encoding != "base64":
            raise refused(at, "a data: URL is base64 here")
        data = rest
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise refused(at, "`file_data` is no base64") from None
    return FilePart(name=name, raw=raw, content_type=content_type, at=at)
