"""Errors as problem+json (RFC 9457), from the one error tree. Knows no route."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import islice
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from glyph_worker import errors
from glyph_worker.errors import (
    BodyTooLarge,
    GlyphError,
    JobFailed,
    KeyMissing,
    RefusedError,
    TransientError,
)

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"

TRANSIENT_RETRY_S = 2
"""Retry-After of an error that says itself only "try again"."""


class Problem(BaseModel):
    """RFC 9457; `code` is the error tree's, and the numbers of `detail` stand beside it."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:glyph-worker:problem:unknown_job"])
    title: str = Field(examples=["Unknown job"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["no job '6f1c…' here: never submitted, or over its time to live"])
    code: str = Field(examples=["unknown_job"])


def _tree(kind: type[GlyphError]) -> Iterable[type[GlyphError]]:
    yield kind
    for sub in kind.__subclasses__():
        if sub.__module__ == errors.__name__:
            yield from _tree(sub)


KINDS: dict[str, type[GlyphError]] = {kind.code: kind for kind in _tree(GlyphError)}
"""Error classes by code: a failed job's record carries the code alone."""


def status_of(exc: GlyphError) -> int:
    """The HTTP status. A failed job has that of its stored code's class."""
    if type(exc) is JobFailed:
        return KINDS.get(exc.code, GlyphError).http_status
    return exc.http_status


def problem(
    code: str,
    status: int,
    detail: str,
    *,
    headers: dict[str, str] | None = None,
    more: dict[str, Any] | None = None,
) -> JSONResponse:
    """`more` stands beside the members that RFC 9457 names, and never over them."""
    body = {
        "type": f"urn:glyph-worker:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
    }
    extra = {name: value for name, value in (more or {}).items() if name not in body}
    return JSONResponse(extra | body, status, headers=headers, media_type=MEDIA_TYPE)


def problem_of(exc: GlyphError, *, status: int | None = None) -> JSONResponse:
    headers = {}
    status = status or status_of(exc)
    if isinstance(exc, RefusedError):
        headers["Retry-After"] = str(max(1, math.ceil(exc.retry_after_s)))
    elif isinstance(exc, TransientError):
        headers["Retry-After"] = str(TRANSIENT_RETRY_S)
    elif isinstance(exc, BodyTooLarge):
        # Else the server would read the rest, however long, to use the connection again.
        headers["Connection"] = "close"
    elif isinstance(exc, KeyMissing):
        headers["WWW-Authenticate"] = 'Bearer realm="glyph-worker"'
    return problem(exc.code, status, exc.message, headers=headers, more=exc.details)


def responses(*kinds: type[GlyphError]) -> dict[int | str, dict[str, Any]]:
    """What a route declares in OpenAPI: one entry per status, naming the codes behind it."""
    found: dict[int | str, dict[str, Any]] = {}
    always: tuple[type[GlyphError], ...] = (
        KeyMissing,
        errors.StoreUnavailable,
        errors.StoreFull,
        errors.StoreDenied,
    )
    for kind in (*always, *kinds):
        entry = found.setdefault(
            kind.http_status, {"description": "", "content": {MEDIA_TYPE: {"schema": SCHEMA_REF}}}
        )
        codes = [code for code in (entry["description"], kind.code) if code]
        entry["description"] = ", ".join(dict.fromkeys(codes))
    return found


SCHEMA_REF = {"$ref": "#/components/schemas/Problem"}

_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed"}
_DETAILS = {
    404: "there is nothing at this path; /openapi.json lists what there is",
    405: "this path takes other methods; Allow has them",
}


def install(app: FastAPI) -> None:
    """Every error leaves as problem+json, whoever raised it."""

    async def ours(_: Request, exc: Exception) -> JSONResponse:
        assert isinstance(exc, GlyphError)
        if status_of(exc) >= 500 and not isinstance(exc, RefusedError):
            log.warning("gateway.refused", error=exc.code, message=exc.message)
        return problem_of(exc)

    async def framework(request: Request, exc: Exception) -> JSONResponse:
        assert isinstance(exc, HTTPException)
        code = _CODES.get(exc.status_code, "invalid_request")
        headers = dict(exc.headers or {})
        if exc.status_code == 405:
            headers["Allow"] = ", ".join(allowed_methods(app, request.scope))
        detail = _DETAILS.get(exc.status_code, str(exc.detail))
        return problem(code, exc.status_code, detail, headers=headers)

    async def invalid(_: Request, exc: Exception) -> JSONResponse:
        assert isinstance(exc, RequestValidationError)
        return problem_of(invalid_input(exc.errors()))

    async def unexpected(_: Request, exc: Exception) -> JSONResponse:
        log.error("gateway.crashed", error=type(exc).__name__)
        return problem("internal", 500, "an unexpected error; the gateway's log has its trace")

    app.add_exception_handler(GlyphError, ours)
    app.add_exception_handler(HTTPException, framework)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, unexpected)


def allowed_methods(app: FastAPI, scope: Scope) -> list[str]:
    """Of all routes at this path: the framework names those of the first one only."""
    methods = ("GET", "POST", "PUT", "PATCH", "DELETE")
    found = [
        method
        for method in methods
        if any(
            route.matches({**scope, "method": method})[0] is Match.FULL
            for route in app.router.routes
        )
    ]
    return ["GET", "HEAD", *found[1:]] if found[:1] == ["GET"] else found  # gateway.head


def invalid_input(found: Iterable[Any]) -> errors.InvalidOption:
    """Pydantic's findings as one error; never echoes the input, which may be the document."""
    rows = [
        # A place may be a key of the caller's, as long as he likes.
        {
            "at": ".".join(str(part)[:80] for part in row["loc"][:8]),
            "problem": str(row["msg"])[:200],
        }
        for row in islice(found, 20)
    ]
    message = "; ".join(f"{row['at']}: {row['problem']}" for row in rows) or "invalid input"
    return errors.InvalidOption(message, errors=rows)
