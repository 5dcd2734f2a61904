"""The page at `/` and the reference at `/docs`: files, no build, no other host."""

from __future__ import annotations

import json
from importlib import resources

from fastapi import APIRouter, Response

router = APIRouter(include_in_schema=False)

_HEADERS = {
    # Everything from here; pictures of pages come as blobs because a key may be needed.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def _file(name: str, media_type: str) -> Response:
    text = resources.files("glyph_worker.gateway").joinpath("static", name).read_bytes()
    return Response(text, media_type=media_type, headers=_HEADERS)


@router.get("/")
async def index() -> Response:
    return _file("index.html", "text/html")


@router.get("/page.css")
async def css() -> Response:
    return _file("page.css", "text/css")


@router.get("/page.js")
async def script() -> Response:
    return _file("page.js", "text/javascript")


@router.get("/docs")
async def docs() -> Response:
    return _file("docs.html", "text/html")


@router.get("/docs.css")
async def docs_css() -> Response:
    return _file("docs.css", "text/css")


@router.get("/docs.js")
async def docs_script() -> Response:
    return _file("docs.js", "text/javascript")


@router.get("/sample.json")
async def sample() -> dict[str, object]:
    """One of the demo's documents and a few of its questions."""
    folder = resources.files("glyph_worker.local").joinpath("documents")
    known = json.loads(folder.joinpath("questions.json").read_text())["invoice"]
    return {
        "document": folder.joinpath("invoice.txt").read_text(),
        "questions": [entry["question"] for entry in known[:3]],
    }


@router.get("/favicon.svg")
async def icon() -> Response:
    return _file("favicon.svg", "image/svg+xml")
