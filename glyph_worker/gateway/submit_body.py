"""What a submit sends, as JSON or as a form with a file: document, questions, options."""

from __future__ import annotations

import json
from typing import Any, get_args

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from glyph_worker.document import MAX_DOCUMENTS, Document, SheetMode, Source, Sources
from glyph_worker.errors import InvalidOption
from glyph_worker.gateway.bodies import check_form_charset, json_body_of, media_type_of
from glyph_worker.gateway.deps import Context
from glyph_worker.gateway.json_bounds import MORE_VALUES, check_bounds
from glyph_worker.gateway.schemas import BatchBody, Options, SubmitBody, json_body, parsed
from glyph_worker.intake.reader import sheet_mode

_LISTS = ("stop", "choices")
"""Fields that a form may repeat."""
_PDF = {
    "type": "string",
    "enum": list(get_args(SheetMode)),
    "description": "How pages of a PDF, or pictures, are read: as text, as pictures, or by page.",
}
_JSON = ("response_format", "history")
"""Fields that a form has as JSON."""
_FILE = {
    "type": "string",
    "contentMediaType": "application/octet-stream",
    "format": "binary",
    "description": "Text of any kind, HTML, PDF, or pictures of pages (PNG, JPEG, TIFF); repeated, "
    "up to 100, for several documents.",
}


def submit_bodies(kind: type[SubmitBody] | type[BatchBody]) -> dict[str, Any]:
    """The request bodies for OpenAPI: JSON by reference, multipart with the document as a file."""
    options = Options.model_json_schema()["properties"]
    options = {name: value for name, value in options.items() if name not in _LISTS}
    several = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    form = {
        "type": "object",
        "required": ["question"],
        "additionalProperties": False,
        "properties": {
            "document": _FILE,
            "document_url": {"type": "string", "maxLength": 2_000},
            "pdf": _PDF,
            "question": {"type": "string"} if kind is SubmitBody else several,
        }
        | {name: _form_field(value) for name, value in options.items()},
    }
    extra = json_body(kind)
    extra["requestBody"]["content"]["multipart/form-data"] = {"schema": form}
    return extra


def _form_field(schema: dict[str, Any]) -> dict[str, Any]:
    """A form knows no null: an absent field is the default."""
    plain: dict[str, Any] = next(one for one in schema["anyOf"] if one.get("type") != "null")
    if plain.get("type") == "array":
        plain = {"type": "string", "contentMediaType": "application/json"}
    return plain | {"description": schema.get("description", "")}


async def read_submit(
    request: Request, context: Context, kind: type[SubmitBody] | type[BatchBody]
) -> tuple[Source | Sources | None, list[str], dict[str, Any]]:
    """Document, questions and options from JSON or from a form; no document with `follows`."""
    if media_type_of(request) != "multipart/form-data":
        limit = context.settings.gateway.max_questions
        body = await json_body_of(request, kind, max_questions=limit)
        questions = [body.question] if isinstance(body, SubmitBody) else body.questions
        if body.document_url is not None:
            return await _fetched(context, body.document_url), questions, body.chosen()
        return body.source, questions, body.chosen()
    check_form_charset(request)
    try:
        async with request.form(
            max_files=MAX_DOCUMENTS, max_fields=1_100, max_part_size=1 << 24
        ) as form:
            return await _from_form(form, context)
    except HTTPException as exc:  # starlette's word for a broken form
        raise InvalidOption(f"the form cannot be read: {exc.detail}") from exc


async def _from_form(
    form: FormData, context: Context
) -> tuple[Source | Sources | None, list[str], dict[str, Any]]:
    known = {"document", "document_url", "pdf", "question", *Options.model_fields}
    if unknown := sorted(set(form) - known):
        raise InvalidOption(
            f"unknown field {unknown[0][:80]!r}; there are {', '.join(sorted(known))}"
        )
    parts, url = form.getlist("document"), form.get("document_url")
    pdf = sheet_mode(str(form.get("pdf", "auto")))
    document: Source | Sources | None = None
    if parts and url:
        raise InvalidOption("document and document_url are both there; send one of the two")
    if parts:
        rows = [await _part(part, at, context, pdf) for at, part in enumerate(parts, start=1)]
        document = rows[0][1] if len(rows) == 1 else rows
    elif url:
        document = await _fetched(context, str(url), pdf=pdf)
    elif not form.get("follows"):
        raise InvalidOption("the form has no field `document`; send the file or the text there")
    questions = [text for text in form.getlist("question") if isinstance(text, str)]
    if not questions:
        raise InvalidOption("the form has no field `question`")
    values: dict[str, Any] = {}
    for name in Options.model_fields:
        texts = [text for text in form.getlist(name) if isinstance(text, str)]
        if texts:
            values[name] = texts if name in _LISTS else texts[-1]
    for name in _JSON:
        if name in values:
            values[name] = _json_field(name, values[name])
    # Numbers are text in a form; validation from JSON would refuse them.
    raw = json.dumps(values).encode()
    options: Options = parsed(Options, raw, max_questions=0, strict=False)
    return document, questions, options.chosen()


async def _part(
    part: UploadFile | str, number: int, context: Context, pdf: SheetMode
) -> tuple[str, Source]:
    """A document of a form and its name."""
    if isinstance(part, str):
        return f"document {number}", part
    read = await context.files.read(
        await part.read(), name=part.filename or "", content_type=part.content_type or "", pdf=pdf
    )
    return part.filename or f"document {number}", read


async def _fetched(context: Context, url: str, *, pdf: SheetMode = "auto") -> Document:
    found = await context.fetcher.fetch(url)
    return await context.files.read(
        found.raw, name=found.name, content_type=found.content_type, pdf=pdf
    )


def _json_field(name: str, text: str) -> Any:
    check_bounds(text.encode("utf-8", "replace"), max_values=MORE_VALUES)
    try:
        return json.loads(text)
    except ValueError as exc:
        raise InvalidOption(f"{name} is no JSON: {exc}", option=name) from exc
