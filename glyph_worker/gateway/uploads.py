"""Documents as files: text, Markdown, HTML and PDF to plain text. Draws nothing."""

from __future__ import annotations

import asyncio
import re
from html.parser import HTMLParser
from pathlib import PurePath

from glyph_worker.errors import InvalidEncoding, UnsupportedMedia
from glyph_worker.gateway.pdf import PdfReader

_TEXT = {"text/plain", "text/markdown", "text/x-markdown", "text/csv", "application/json"}
_BY_SUFFIX = {
    ".txt": "text/plain", ".text": "text/plain", ".log": "text/plain", ".csv": "text/csv",
    ".md": "text/markdown", ".markdown": "text/markdown", ".json": "application/json",
    ".html": "text/html", ".htm": "text/html", ".xhtml": "text/html", ".pdf": "application/pdf",
}  # fmt: skip


async def extract(raw: bytes, *, name: str, content_type: str, pdf: PdfReader) -> str | bytes:
    """The document's text; bytes are UTF-8 that the client checks.

    `name` decides where the content type says nothing. Raises UnsupportedMedia,
    UnreadableDocument, InvalidEncoding.
    """
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    if kind in ("", "application/octet-stream"):
        kind = _BY_SUFFIX.get(PurePath(name).suffix.lower(), "")
        if not kind and not name:
            kind = "text/plain"
    if raw.startswith(b"%PDF-") or kind == "application/pdf":
        return await pdf.text(raw)
    if kind in ("text/html", "application/xhtml+xml"):
        return await asyncio.to_thread(_html, _decoded(raw, parameters))
    if kind in _TEXT:
        return raw if "charset" not in parameters.lower() else _decoded(raw, parameters)
    raise UnsupportedMedia(
        f"a document of type {kind or PurePath(name).suffix or 'unknown'!r} is not read here; "
        "send text, Markdown, HTML or PDF"
    )


def _decoded(raw: bytes, parameters: str) -> str:
    named = re.search(r"charset=\"?([\w.:-]+)", parameters, flags=re.IGNORECASE)
    charset = named.group(1) if named else "utf-8"
    try:
        return raw.decode(charset)
    except (LookupError, UnicodeDecodeError) as exc:
        raise InvalidEncoding(f"the file is not {charset}: {exc}") from exc


def _html(markup: str) -> str:
    parser = _TextOfHtml()
    parser.feed(markup)
    parser.close()
    return parser.text()


class _TextOfHtml(HTMLParser):
    """The readable text of a page: blocks on lines of their own, cells apart, lists marked."""

    _BLOCKS = frozenset(
        {
            "address", "article", "aside", "blockquote", "body", "dd", "div", "dl", "dt",
            "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5",
            "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "table",
            "tr", "ul",
        }
    )  # fmt: skip
    _HIDDEN = frozenset({"script", "style", "template", "noscript", "head", "svg"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._hidden: list[str] = []
        self._pre = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._HIDDEN:
            self._hidden.append(tag)
        elif tag == "title":
            self._hidden = [t for t in self._hidden if t != "head"]
        if tag == "br" or tag in self._BLOCKS:
            self._parts.append("\n\n" if re.fullmatch(r"h\d|p|table|ul|ol", tag) else "\n")
        if tag in ("td", "th"):
            self._parts.append("\t")
        elif tag == "li":
            self._parts.append("- ")
        elif tag == "pre":
            self._pre += 1

    def handle_endtag(self, tag: str) -> None:
        if tag in self._hidden:
            while self._hidden and self._hidden.pop() != tag:
                pass
        if tag == "title":
            self._parts.append("\n\n")
        if tag in self._BLOCKS:
            self._parts.append("\n\n" if re.fullmatch(r"h\d|p", tag) else "\n")
        if tag == "pre":
            self._pre = max(0, self._pre - 1)

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._parts.append(data if self._pre else re.sub(r"\s+", " ", data))

    def text(self) -> str:
        lines = [line.strip(" \t") for line in "".join(self._parts).split("\n")]
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"
