"""A page's text as a reader sees it: hidden parts away, rows on lines, lists numbered. No I/O.

The tree is HTML5's, built by lexbor: every end tag may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode

from glyph_worker.intake import charsets
from glyph_worker.intake.flow import Flow
from glyph_worker.intake.html_limits import tamed
from glyph_worker.intake.html_tables import CELL_BETWEEN, Table, layout_tables
from glyph_worker.intake.numbering import Numbering

_HIDDEN = frozenset(
    {"script", "style", "template", "noscript", "svg", "iframe", "audio", "video", "canvas",
     "datalist", "noembed", "noframes", "rp", "meta", "link", "base", "area", "map", "source",
     "track", "annotation", "annotation-xml"}
)  # fmt: skip
_LINES = frozenset(
    {"address", "article", "aside", "body", "dd", "details", "dialog", "div", "dt", "fieldset",
     "figcaption", "footer", "form", "header", "hgroup", "html", "legend", "main", "nav", "option",
     "optgroup", "search", "section", "summary", "center", "caption", "tr", "td", "th", "thead",
     "tbody", "tfoot", "li", "frameset", "head", "textarea"}
)  # fmt: skip
_PARAGRAPHS = frozenset(
    {"blockquote", "dl", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "ol", "p", "pre",
     "table", "ul", "menu", "dir", "listing", "plaintext", "xmp", "title"}
)  # fmt: skip
_APART = frozenset({"button", "select", "input", "img", "meter", "progress"})
_VERBATIM = frozenset({"pre", "listing", "plaintext", "xmp", "textarea"})
_SHOWN_INPUTS = frozenset(
    {"text", "search", "email", "url", "tel", "number", "date", "time", "month", "week",
     "datetime-local", "submit", "button", "reset", "color", "range", ""}
)  # fmt: skip
_NOT_DISPLAYED = re.compile(r"(?:^|[;\s])(?:display\s*:\s*none|visibility\s*:\s*hidden)\b", re.I)
_PREFORMATTED = re.compile(r"(?:^|[;\s])white-space(?:-collapse)?\s*:\s*(?:pre|break)", re.I)
_SCRIPTS = {"sup": "^", "sub": "_"}
_MATHS = {"msup": "^", "msub": "_", "mfrac": "/", "mover": "^", "munder": "_"}
_PLAIN_RAISED = re.compile(
    r"(?:st|nd|rd|th|e|er|re|ère|ème|o|a|TM|SM|[®©™†‡§*ºª°]+|\[.*\]|\(.*\))", re.I | re.DOTALL
)


def text_of_page(raw: bytes, charset: str = "") -> tuple[str, list[str]]:
    """(A page's text, what the reader should know about it). Raises InvalidEncoding.

    The charset is the byte-order mark's, else `charset`, else `<meta>`'s, else UTF-8, else
    windows-1252, as the HTML standard has it.
    """
    notes = []
    codec = charsets.mark_of(raw) or (charsets.codec_named(charset) if charset else "")
    if codec:
        markup = charsets.decoded_by(codec, raw, said=charset)
    elif codec := charsets.declared_in_markup(raw):
        markup = charsets.decoded_by(codec, raw, said=f"{codec}, as its <meta> says")
    else:
        try:
            markup = raw.decode()
        except UnicodeDecodeError:
            markup = charsets.decoded_by("cp1252", raw)
            notes.append("the page names no charset and is not UTF-8; read as windows-1252")
    return text_of_markup(markup), notes


def text_of_markup(markup: str) -> str:
    """The text, one line a block or a table's row."""
    clean = markup.encode("utf-8", "replace").decode()  # a lone surrogate has no UTF-8
    root = LexborHTMLParser(tamed(clean.replace("\0", ""))).root
    return "" if root is None else _Reader(root).text()


class _Reader:
    """Walks the tree by hand: pages nest deeper than Python's stack."""

    def __init__(self, root: LexborNode) -> None:
        self._root = root
        self._flow = Flow()
        self._verbatim = 0
        self._lists: list[Numbering | None] = []
        self._tables: list[Table | None] = []
        self._layout = layout_tables(root)
        self._ends: list[tuple[int, Callable[[], Any]]] = []
        """(An element, what to do when it is left)."""

    def text(self) -> str:
        node: LexborNode | None = self._root
        while node is not None:
            inside = self._enter(node)
            following = node.child if inside else None
            while following is None and node is not None:
                self._leave(node)
                if node.mem_id == self._root.mem_id:
                    return self._flow.result().strip("\n") + "\n"
                following, node = node.next, node.parent
            node = following
        return self._flow.result().strip("\n") + "\n"

    def _enter(self, node: LexborNode) -> bool:
        """Writes what the node begins with. Whether its children are to be read."""
        if node.is_text_node:
            self._write(node.text_content or "")
            return False
        if not node.is_element_node:
            return node.mem_id == self._root.mem_id or node.is_document_node
        tag = node.tag or ""
        attributes = node.attributes
        if tag in _HIDDEN or _is_hidden(tag, attributes):
            if tag == "svg":
                self._drawing(node)
            return False
        self._begin(node, tag, attributes)
        return tag not in ("img", "input", "br", "hr", "wbr")

    def _write(self, text: str) -> None:
        if self._verbatim:
            self._flow.verbatim(text)
        else:
            self._flow.text(text)

    def _begin(self, node: LexborNode, tag: str, attributes: dict[str, str | None]) -> None:
        flow = self._flow
        if tag in _PARAGRAPHS:
            nested = tag in ("ul", "ol", "menu", "dir") and self._lists
            (flow.line if nested else flow.paragraph)()
            self._at_end(node, flow.line if nested else flow.paragraph)
        elif tag in _LINES and not (tag == "option" and flow.is_empty):
            flow.line()
            self._at_end(node, flow.line)
        elif tag == "br":
            flow.space() if self._in_row else flow.verbatim("\n")
        elif tag in _APART:
            flow.space()
            self._at_end(node, flow.space)
        elif tag == "q":
            flow.text("“")
            self._at_end(node, lambda: flow.text("”"))
        elif tag == "rt":
            flow.begin_capture()
            self._at_end(node, lambda: flow.end_capture(lambda text: f"({text})"))
        elif tag in _SCRIPTS:
            self._script(node, _SCRIPTS[tag])
        if node.parent is not None and node.parent.tag in _MATHS:
            self._math(node, _MATHS[node.parent.tag])
        if tag == "img" and attributes.get("alt"):
            flow.text(attributes["alt"] or "")
            flow.space()
        elif tag == "input":
            self._input(attributes)
        elif tag in _VERBATIM or _PREFORMATTED.search(attributes.get("style") or ""):
            self._verbatim += 1
            self._at_end(node, self._end_verbatim)
        self._begin_list(node, tag, attributes)
        self._begin_table(node, tag, attributes)

    def _at_end(self, node: LexborNode, do: Callable[[], Any]) -> None:
        self._ends.append((node.mem_id, do))

    def _leave(self, node: LexborNode) -> None:
        while self._ends and self._ends[-1][0] == node.mem_id:
            self._ends.pop()[1]()

    def _end_verbatim(self) -> None:
        self._verbatim -= 1

    def _script(self, node: LexborNode, mark: str) -> None:
        after_word = self._flow.at_word_end

        def shape(text: str) -> str:
            if not after_word or (mark == "^" and _PLAIN_RAISED.fullmatch(text)):
                return text
            return mark + (text if re.fullmatch(r"[-+−]?\w+", text) else f"({text})")

        self._flow.begin_capture()
        self._at_end(node, lambda: self._flow.end_capture(shape))

    def _math(self, node: LexborNode, mark: str) -> None:
        first = node.prev is None or (node.prev.is_text_node and node.prev.prev is None)

        def shape(text: str) -> str:
            whole = text if re.fullmatch(r"[-+−]?\w+", text) else f"({text})"
            if first:
                return whole if mark == "/" else text
            return mark + whole

        self._flow.begin_capture()
        self._at_end(node, lambda: self._flow.end_capture(shape))

    def _drawing(self, node: LexborNode) -> None:
        """Of a drawing the texts, without what only names its parts."""
        for text in node.css("text"):
            self._flow.space()
            self._flow.text(text.text(deep=True))
            self._flow.space()

    def _input(self, attributes: dict[str, str | None]) -> None:
        kind = (attributes.get("type") or "").lower()
        if kind in ("checkbox", "radio"):
            self._flow.text("[x]" if "checked" in attributes else "[ ]")
        elif kind in _SHOWN_INPUTS and attributes.get("value"):
            self._flow.text(attributes["value"] or "")
        self._flow.space()

    # Lists ---------------------------------------------------------------------------------------

    def _begin_list(self, node: LexborNode, tag: str, attributes: dict[str, str | None]) -> None:
        if tag in ("ul", "menu", "dir"):
            self._lists.append(None)
            self._at_end(node, self._lists.pop)
        elif tag == "ol":
            items = 0
            if "reversed" in attributes:
                items = sum(child.tag == "li" for child in node.iter())
            self._lists.append(Numbering.of(attributes, num_items=items))
            self._at_end(node, self._lists.pop)
        elif tag == "li":
            numbering = self._lists[-1] if self._lists else None
            marker = "- " if numbering is None else numbering.next(attributes.get("value"))
            self._flow.item(marker)
            self._at_end(node, self._flow.end_item)
        elif tag == "dd":
            self._flow.indent("  ")
            self._at_end(node, self._flow.dedent)

    # Tables --------------------------------------------------------------------------------------

    @property
    def _in_row(self) -> bool:
        return bool(self._tables) and self._tables[-1] is not None

    def _begin_table(self, node: LexborNode, tag: str, attributes: dict[str, str | None]) -> None:
        if tag == "table":
            layout = node.mem_id in self._layout or attributes.get("role") == "presentation"
            self._tables.append(None if layout else Table())
            self._at_end(node, self._tables.pop)
        table = self._tables[-1] if self._tables else None
        if table is None:
            return
        if tag == "tr":
            table.begin_row()
            self._at_end(node, lambda: self._end_row(table))
        elif tag in ("td", "th"):
            self._flow.begin_capture()
            self._at_end(node, lambda: table.add(self._flow.end_capture(), attributes))

    def _end_row(self, table: Table) -> None:
        cells = table.end_row()
        if any(cells):
            self._flow.verbatim(CELL_BETWEEN.join(cells).rstrip())


def _is_hidden(tag: str, attributes: dict[str, str | None]) -> bool:
    if "hidden" in attributes or (tag == "input" and attributes.get("type") == "hidden"):
        return True
    if tag == "dialog" and "open" not in attributes:
        return True
    style = attributes.get("style")
    return bool(style) and bool(_NOT_DISPLAYED.search(style or ""))
