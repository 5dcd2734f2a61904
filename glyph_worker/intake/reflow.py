"""Lines that a page's width broke, joined to the paragraphs they were. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

MAX_LEADING = 1.8
"""Of the type size: lines further apart belong to different paragraphs."""
MIN_CHARS = 25
"""A shorter line broke for another reason: an address, a verse, a list."""
WORD_SPACE = 0.25
"""Of the type size, between two words."""

_HYPHENS = "-\u2010\u00ad"
_BROKEN_WORD = re.compile(rf"((?:[^\W\d_]+-)*)([^\W\d_]+)[{_HYPHENS}]$")
_FIRST_WORD = re.compile(r"([^\W\d_]+)(-?)")
_ITEM = re.compile(r"(?:[•◦▪‣·–—*]|\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,4})[.)])(?:\s|$)")
_LEADER = re.compile(r"[ .…·]{8,}")
"""Dots between a heading and its page number."""
_CJK = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uff60]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    text: str
    left: float
    right: float
    baseline: float
    size: float
    is_fixed: bool = False
    """Of a typeface whose characters are equally wide: code, whose blanks count."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of a column. Lengths in points, y upwards."""

    text: str
    left: float
    right: float
    baseline: float
    size: float
    first_width: float
    """Of its first word."""
    is_fixed: bool = False
    words: tuple[Word, ...] = ()
    """In the order of the text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Lines of one column, from its top; or a table, whose lines are its rows."""

    lines: tuple[Line, ...]
    is_table: bool = False


def join_pages(pages: Sequence[Sequence[Block]]) -> list[str]:
    """Each page's text: a paragraph or a table's row is a line. An empty line stands before a
    heading only, for it costs as many visual tokens as a full one."""
    blocks = [block for page in pages for block in page]
    words = _vocabulary(line.text for block in blocks for line in block.lines)
    return ["".join(_page_lines(page, words)) for page in pages]


def _page_lines(page: Sequence[Block], words: frozenset[str]) -> Iterator[str]:
    for block in page:
        shown = [line.text for line in block.lines] if block.is_table else []
        for line in shown or _paragraphs(block.lines, words):
            yield _LEADER.sub(_short, line).rstrip() + "\n"


def _short(leader: re.Match[str]) -> str:
    dots = sum(char != " " for char in leader[0])
    return " ... " if dots >= 4 else leader[0]


def _vocabulary(texts: Iterator[str] | Sequence[str]) -> frozenset[str]:
    """Words, with their hyphens, that stand whole in a line somewhere."""
    words: set[str] = set()
    for text in texts:
        # A line's last word may be a part of one.
        words.update(re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", text.lower().rpartition(" ")[0]))
    return frozenset(words)


def _paragraphs(lines: Sequence[Line], words: frozenset[str]) -> list[str]:
    if not lines:
        return []
    edge = max(line.right for line in lines)
    found = [lines[0].text]
    for line, following in pairwise(lines):
        if _goes_on(line, following, edge):
            found[-1] = _joined(found[-1], following.text, words)
        else:
            if following.size > 1.1 * line.size:
                found.append("")
            found.append(following.text)
    return found


def _goes_on(line: Line, following: Line, edge: float) -> bool:
    """Whether a line ends only because the next word had no room."""
    if line.is_fixed or following.is_fixed or _ITEM.match(following.text):
        return False
    if abs(line.size - following.size) > 0.1 * line.size:
        return False
    if not 0 < line.baseline - following.baseline <= MAX_LEADING * line.size:
        return False
    if following.left > line.left + 2 * line.size and not _ITEM.match(line.text):
        return False
    if len(line.text) < MIN_CHARS:
        return False
    room = edge - line.right
    return room < following.first_width + WORD_SPACE * line.size


def _joined(text: str, following: str, words: frozenset[str]) -> str:
    broken = _BROKEN_WORD.search(text)
    rest = _FIRST_WORD.match(following)
    if broken and rest and following[0].islower():
        whole = (broken[2] + rest[1]).lower()
        hyphenated = f"{broken[2]}-{rest[1]}".lower()
        # A word with more hyphens, as in state-of-the-art, has this one as well.
        is_compound = bool(broken[1] or rest[2]) or hyphenated in words
        if is_compound and whole not in words:
            return text + following
        return text[:-1] + following
    if broken or (text and following and _CJK.match(text[-1]) and _CJK.match(following[0])):
        return text + following
    return f"{text} {following}"
