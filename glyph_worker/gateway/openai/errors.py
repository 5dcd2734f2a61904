"""Our problems in OpenAI's shape, and what its clients may try again. Knows paths, and no route.

The clients repeat 408, 409, 429 and 5xx by themselves unless `x-should-retry` says otherwise, after
`retry-after-ms`. So whatever says when to come back says it there, and whatever does not is final.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from pydantic import BaseModel
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glyph_worker import errors
from glyph_worker.errors import GlyphError, KeyMissing
from glyph_worker.gateway.problems import MEDIA_TYPE

ROOTS = (
    "/v1/chat", "/v1/responses", "/v1/models", "/v1/files", "/v1/batches", "/v1/completions",
    "/v1/embeddings", "/v1/assistants", "/v1/threads", "/v1/images", "/v1/audio",
    "/v1/moderations", "/v1/fine_tuning", "/v1/uploads", "/v1/vector_stores", "/v1/conversations",
    "/v1/realtime", "/v1/evals", "/v1/containers", "/v1/videos",
)  # fmt: skip
"""Paths that speak OpenAI's language, errors included."""

_TYPES = {
    401: "authentication_error", 403: "permission_error", 429: "rate_limit_error",
}  # fmt: skip


class Fault(BaseModel):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """What OpenAI's clients raise from; `code` is our error tree's."""

    error: Fault


def is_ours(path: str) -> bool:
    return any(path == root or path.startswith(root + "/") for root in ROOTS)


def status_in_openai(status: int) -> int:
    """Its clients know bad input as 400."""
    return 400 if status == 422 else status


def error_of(code: str, message: str, status: int, param: str | None = None) -> dict[str, Any]:
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_of_problem(problem: dict[str, Any]) -> dict[str, Any]:
    status = status_in_openai(problem["status"])
    param = problem.get("param") or problem.get("option")
    return error_of(problem["code"], problem["detail"], status, param)


def refusals(*kinds: type[GlyphError]) -> dict[int | str, dict[str, Any]]:
    """What a route declares in OpenAPI: one entry per status, naming the codes behind it."""
    found: dict[int | str, dict[str, Any]] = {}
    always: tuple[type[GlyphError], ...] = (
        KeyMissing, errors.InvalidOption, errors.NotAllowed, errors.StoreUnavailable,
        errors.StoreFull, errors.StoreDenied,
    )  # fmt: skip
    for kind in (*always, *kinds):
        entry = found.setdefault(
            status_in_openai(kind.http_status), {"description": "", "model": ErrorBody}
        )
        codes = [code for code in (entry["description"], kind.code) if code]
        entry["description"] = ", ".join(dict.fromkeys(codes))
    return found


class OpenAIErrors:
    """ASGI middleware: a problem on one of these paths leaves in OpenAI's shape, whoever raised it,
    and every reply there has an `x-request-id`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_ours(scope["path"]):
            await self._app(scope, receive, send)
            return
        held: Message | None = None
        raw = b""

        async def translated(message: Message) -> None:
            nonlocal held, raw
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = f"req_{uuid.uuid4().hex}"
                if headers.get("content-type", "").startswith(MEDIA_TYPE):
                    held = message
                    return
            elif held is not None:
                raw += message.get("body", b"")
                if message.get("more_body"):
                    return
                head, body = _in_openai(held, raw)
                held = None
                await send(head)
                message = {"type": "http.response.body", "body": body}
            await send(message)

        await self._app(scope, receive, translated)


def _in_openai(head: Message, raw: bytes) -> tuple[Message, bytes]:
    problem = json.loads(raw)
    status = status_in_openai(head["status"])
    body = json.dumps(error_of_problem(problem), ensure_ascii=False).encode()
    headers = MutableHeaders(raw=list(head["headers"]))
    headers["content-type"] = "application/json"
    headers["content-length"] = str(len(body))
    wait_s = problem.get("retry_after_s") or headers.get("retry-after")
    if wait_s is not None:
        headers["retry-after-ms"] = str(max(1, round(float(wait_s) * 1e3)))
        headers["x-should-retry"] = "true"
    else:
        headers["x-should-retry"] = "false"
    return {**head, "status": status, "headers": headers.raw}, body
