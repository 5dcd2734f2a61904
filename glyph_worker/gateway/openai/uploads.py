"""/v1/files: what a batch reads and writes, and documents to refer to by id."""

from __future__ import annotations

import re
import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from glyph_worker import errors
from glyph_worker.errors import InvalidOption, UnsupportedMedia
from glyph_worker.gateway.bodies import check_form_charset, media_type_of
from glyph_worker.gateway.deps import InContext, TenantName
from glyph_worker.gateway.openai.errors import refusals
from glyph_worker.gateway.threads import threaded
from glyph_worker.store.uploads import MAX_TTL_S, FileInfo, UnknownFile

router = APIRouter(tags=["openai"])

PURPOSES = ("batch", "user_data")
MIN_TTL_S = 3_600

FileId = Annotated[str, Path(max_length=100, description="As POST /v1/files returned it.")]
After = Annotated[str | None, Query(max_length=100, description="The last id of the page before.")]
Order = Annotated[Literal["asc", "desc"], Query(description="By creation.")]


class FileView(BaseModel):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"


class FileList(BaseModel):
    object: Literal["list"] = "list"
    data: list[FileView]
    has_more: bool
    first_id: str | None
    last_id: str | None


class FileDeleted(BaseModel):
    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {
                            "type": "string", "format": "binary",
                            "contentMediaType": "application/octet-stream",
                        },
                        "purpose": {"type": "string", "enum": list(PURPOSES)},
                    },
                }
            }
        },
    }
}  # fmt: skip


@router.post(
    "/v1/files",
    responses=refusals(errors.UnsupportedMedia, errors.QuotaExceeded, errors.BodyTooLarge),
    openapi_extra=_FORM,
    summary="Upload a file",
)
async def upload(request: Request, tenant: TenantName, context: InContext) -> FileView:
    """`batch`: requests, one JSON object a line. `user_data`: a document for a file part."""
    if media_type_of(request) != "multipart/form-data":
        raise UnsupportedMedia("a file is sent as multipart/form-data, with `file` and `purpose`")
    check_form_charset(request)
    try:
        async with request.form(max_files=1, max_fields=10, max_part_size=1 << 16) as form:
            return await _kept(form, tenant, context)
    except HTTPException as exc:  # starlette's word for a broken form
        raise InvalidOption(f"the form cannot be read: {exc.detail}") from exc


async def _kept(form: FormData, tenant: str, context: InContext) -> FileView:
    part, purpose = form.get("file"), form.get("purpose")
    known = {"file", "purpose", "expires_after[anchor]", "expires_after[seconds]"}
    if unknown := sorted(set(form) - known):
        raise InvalidOption(f"unknown field {unknown[0][:80]!r}", param=unknown[0][:80])
    if not isinstance(part, UploadFile):
        raise InvalidOption("the form has no file in its field `file`", param="file")
    if purpose not in PURPOSES:
        raise InvalidOption(
            f"purpose is {str(purpose)[:40]!r}, must be 'batch' or 'user_data'", param="purpose"
        )
    info = await threaded(
        context.uploads.put, tenant, f"file-{uuid.uuid4().hex}", await part.read(),
        name=_name(part.filename), purpose=str(purpose), ttl_s=_ttl_s(form),
    )  # fmt: skip
    return view(info)


def _name(given: str | None) -> str:
    """Printable, and no path: it comes back in headers and on screens."""
    plain = re.sub(r"[^\w. ()+-]", "_", (given or "").rpartition("/")[2])
    return plain[:200] or "file"


def _ttl_s(form: FormData) -> int:
    anchor, seconds = form.get("expires_after[anchor]"), form.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return MAX_TTL_S
    if anchor != "created_at" or not re.fullmatch(r"[0-9]{1,9}", str(seconds)):
        raise InvalidOption(
            "expires_after has anchor 'created_at' and whole seconds", param="expires_after"
        )
    if not MIN_TTL_S <= int(str(seconds)) <= MAX_TTL_S:
        raise InvalidOption(
            f"expires_after is {seconds} s, must be from {MIN_TTL_S} to {MAX_TTL_S}",
            param="expires_after",
        )
    return int(str(seconds))


@router.get("/v1/files", responses=refusals(), summary="Your files")
async def files(
    tenant: TenantName,
    context: InContext,
    purpose: Annotated[str | None, Query(max_length=40)] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
    order: Order = "desc",
    after: After = None,
) -> FileList:
    """`after` may be a file that was deleted since it was listed."""
    try:
        found = await threaded(
            context.uploads.listed, tenant, newest_first=order == "desc", after=after
        )
    except UnknownFile as exc:
        raise unknown_after(after) from exc
    found = [info for info in found if purpose in (None, info.purpose)]
    page = found[:limit]
    return FileList(
        data=[view(info) for info in page],
        has_more=len(found) > limit,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
    )


@router.get("/v1/files/{file_id}", responses=refusals(UnknownFile), summary="One file")
async def file(file_id: FileId, tenant: TenantName, context: InContext) -> FileView:
    return view(await threaded(context.uploads.info, tenant, file_id))


@router.get(
    "/v1/files/{file_id}/content",
    response_class=Response,
    responses=refusals(UnknownFile)
    | {
        200: {
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            }
        }
    },
    summary="What is in it",
)
async def content(file_id: FileId, tenant: TenantName, context: InContext) -> Response:
    found = await threaded(context.uploads.get, tenant, file_id)
    # Never as a page: what somebody uploaded must not run on this address.
    headers = {"Content-Disposition": "attachment", "X-Content-Type-Options": "nosniff"}
    return Response(found.raw, media_type="application/octet-stream", headers=headers)


@router.delete("/v1/files/{file_id}", responses=refusals(UnknownFile), summary="Delete a file")
async def delete(file_id: FileId, tenant: TenantName, context: InContext) -> FileDeleted:
    """A batch that reads it goes on: it has its lines of its own."""
    await threaded(context.uploads.delete, tenant, file_id)
    return FileDeleted(id=file_id)


def view(info: FileInfo) -> FileView:
    return FileView(
        id=info.id, bytes=info.num_bytes, created_at=int(info.created_at),
        expires_at=int(info.expires_at), filename=info.name, purpose=info.purpose,
    )  # fmt: skip


def unknown_after(after: str | None) -> InvalidOption:
    return InvalidOption(f"after {str(after)[:60]!r} is no id of this list", param="after")
