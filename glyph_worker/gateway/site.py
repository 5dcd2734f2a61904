"""The page at `/` and the reference at `/docs`: files, no build, no other host."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import PurePath

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


_FILES = {
    "/": "index.html",
    "/page.css": "page.css",
    "/page.js": "page.js",
    "/pages.js": "pages.js",
    "/docs": "docs.html",
    "/docs.css": "docs.css",
    "/docs.js": "docs.js",
    "/favicon.svg": "favicon.svg",
}
_TYPES = {
    ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml",
}  # fmt: skip


def _serve(path: str, name: str) -> None:
    async def file() -> Response:
        body = resources.files("glyph_worker.gateway").joinpath("static", name).read_bytes()
        return Response(body, media_type=_TYPES[PurePath(name).suffix], headers=_HEADERS)

    router.get(path)(file)


for _path, _name in _FILES.items():
    _serve(_path, _name)


@router.get("/sample.json")
async def sample() -> dict[str, object]:
    """One of the demo's documents and a few of its questions."""
    folder = resources.files("glyph_worker.local").joinpath("documents")
    known = json.loads(folder.joinpath("questions.json").read_text())["invoice"]
    return {
        "document": folder.joinpath("invoice.txt").read_text(),
        "questions": [entry["question"] for entry in known[:3]],
    }
