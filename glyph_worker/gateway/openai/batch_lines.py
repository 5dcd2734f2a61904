"""One line of a batch: what it asks, and what becomes of it in the output or the error file."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from glyph_worker.errors import GlyphError, InvalidOption, RequestError
from glyph_worker.gateway.json_bounds import check_bounds
from glyph_worker.gateway.openai.chat import completion
from glyph_worker.gateway.openai.errors import error_of, status_in_openai
from glyph_worker.gateway.openai.parsing import MAX_DEPTH, MAX_VALUES, parse
from glyph_worker.gateway.openai.requests import ChatBody, ResponseBody
from glyph_worker.gateway.openai.response_events import response_of
from glyph_worker.gateway.problems import KINDS
from glyph_worker.job import Answer, Job, JobStatus

MAX_LINES = 50_000
MAX_ERRORS = 20
"""Findings about unfit lines that a batch keeps."""

KINDS_OF: dict[str, type[ChatBody] | type[ResponseBody]] = {
    "/v1/chat/completions": ChatBody,
    "/v1/responses": ResponseBody,
}


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    custom_id: Annotated[str, Field(min_length=1, max_length=512)]
    method: Literal["POST"]
    url: str
    body: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    custom_id: str
    body: bytes
    """JSON, parsed where the line is asked: a batch of long documents is not built at once."""


def lines_of(raw: bytes, endpoint: str) -> tuple[list[Line], list[dict[str, Any]]]:
    """The lines, or findings about those that are not fit: line (from 1), code, message."""
    found: list[Line] = []
    faults: list[dict[str, Any]] = []
    known: set[str] = set()
    rows = [(n, row) for n, row in enumerate(raw.split(b"\n"), start=1) if row.strip()]
    if not rows:
        faults.append(_fault(None, "empty_file", "the file has no line"))
    if len(rows) > MAX_LINES:
        faults.append(_fault(None, "too_many_lines", f"{len(rows)} lines, limit is {MAX_LINES}"))
        return [], faults
    for number, row in rows:
        try:
            line = _line(row, endpoint)
            if line.custom_id in known:
                raise InvalidOption(f"custom_id {line.custom_id[:60]!r} stands on two lines")
        except RequestError as exc:
            if len(faults) < MAX_ERRORS:
                faults.append(_fault(number, exc.code, exc.message))
            continue
        known.add(line.custom_id)
        found.append(line)
    return found, faults


def _line(row: bytes, endpoint: str) -> Line:
    check_bounds(row, max_values=MAX_VALUES, max_depth=MAX_DEPTH)
    try:
        line = _Line.model_validate_json(row)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        at = ".".join(str(part)[:40] for part in first["loc"][:4])
        raise InvalidOption(f"{at}: {first['msg']}"[:200]) from exc
    except ValueError as exc:
        raise InvalidOption(f"no JSON: {exc}"[:200]) from exc
    if line.url != endpoint:
        raise InvalidOption(f"url is {line.url[:60]!r}, the batch's endpoint is {endpoint!r}")
    if line.body.get("stream") or line.body.get("background"):
        raise InvalidOption("a line of a batch neither streams nor goes to the background")
    return Line(custom_id=line.custom_id, body=json.dumps(line.body).encode())


def _fault(number: int | None, code: str, message: str) -> dict[str, Any]:
    return {"code": code, "line": number, "message": message, "param": None}


def body_of(line: Line, endpoint: str) -> ChatBody | ResponseBody:
    """Raises InvalidOption."""
    return parse(KINDS_OF[endpoint], line.body)


def job_id_of(batch_id: str, number: int) -> str:
    """The same at every try, so that a line is asked once whoever moves its batch on."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{batch_id}/{number}"))


def refusal_of(exc: GlyphError) -> dict[str, Any]:
    """What a batch keeps of a line that no job was made of."""
    status = status_in_openai(exc.http_status)
    return {"code": exc.code, "message": exc.message, "status": status}


EXPIRED = {
    "code": "batch_expired", "status": 504,
    "message": "the completion window closed before this line had ended",
}  # fmt: skip
CANCELLED = {
    "code": "batch_cancelled", "status": 409,
    "message": "the batch was cancelled before this line had ended",
}  # fmt: skip
LOST = {
    "code": "job_expired", "status": 410,
    "message": "the line's job was kept no longer than its time to live",
}  # fmt: skip


def failure_of(job: Job) -> dict[str, Any]:
    error = job.error or {}
    code = str(error.get("code", "internal"))
    if code == "deadline_passed":
        return EXPIRED
    status = status_in_openai(KINDS.get(code, GlyphError).http_status)
    return {"code": code, "message": str(error.get("message", "")), "status": status}


def output_line(
    custom_id: str, endpoint: str, job: Job, answer: Answer, surface: dict[str, Any]
) -> bytes:
    if endpoint == "/v1/responses":
        body = response_of(job, answer, surface)
    else:
        body = completion(job, surface["model"], answer)
    return _row(custom_id, job.id, {"status_code": 200, "body": body}, None)


def error_line(custom_id: str, job_id: str, why: dict[str, Any]) -> bytes:
    """A line whose window closed, or that was taken back, has no response; any other has one."""
    error = {"code": why["code"], "message": why["message"]}
    if why in (EXPIRED, CANCELLED):
        return _row(custom_id, job_id, None, error)
    status = int(why["status"])
    body = error_of(why["code"], why["message"], status)
    return _row(custom_id, job_id, {"status_code": status, "body": body}, error)


def _row(
    custom_id: str, job_id: str, reply: dict[str, Any] | None, error: dict[str, Any] | None
) -> bytes:
    response = None if reply is None else {"request_id": f"req_{job_id}", **reply}
    row = {"id": f"batch_req_{job_id}", "custom_id": custom_id, "response": response,
           "error": error}  # fmt: skip
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def succeeded(job: Job) -> bool:
    return job.status is JobStatus.SUCCEEDED
