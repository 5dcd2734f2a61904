"""Lines from words and breaks, as a page of HTML asks for them. Knows no markup."""

from __future__ import annotations

import re
from collections.abc import Callable

MAX_INDENTS = 16
"""Levels that are shown; deeper ones stand below each other."""

_BLANKS = re.compile(r"[ \t\n\r\f]+")


class Flow:
    """Collects text. A break asked for takes effect before the next text, so that none is doubled.

    Captures nest: what is written inside one becomes one string of one line.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._breaks = 0
        """Newlines owed before the next text."""
        self._space = False
        self._indent: list[str] = []
        self._marker = ""
        self._captures: list[tuple[list[str], int, bool]] = []

    @property
    def is_empty(self) -> bool:
        return not self._parts

    @property
    def at_word_end(self) -> bool:
        """Whether the next text would stand right after a word."""
        return bool(self._parts) and not self._breaks and not self._space

    def text(self, text: str) -> None:
        """Runs of blanks count as one space, at the beginning of a line as none."""
        words = _BLANKS.sub(" ", text)
        if words.startswith(" "):
            self._space = True
        body = words.strip(" ")
        if body:
            self._put(body)
        if words.endswith(" "):
            self._space = True

    def verbatim(self, text: str) -> None:
        """With its blanks and line ends."""
        for number, line in enumerate(text.expandtabs(8).splitlines() or [""]):
            if number:
                self._newline()
            if line:
                self._space = False
                self._put(line)
        if text.endswith(("\n", "\r")):
            self._newline()

    def _newline(self) -> None:
        if self._captures:
            self._space = True
        elif self._parts:
            self._breaks += 1

    def space(self) -> None:
        self._space = True

    def line(self) -> None:
        """What follows begins a line."""
        self._break(1)

    def paragraph(self) -> None:
        """What follows begins a line, with an empty one before it."""
        self._break(2)

    def _break(self, number: int) -> None:
        if self._marker:
            return  # an item's first paragraph stands beside its number
        if self._captures:
            self._space = True
        elif self._parts:
            self._breaks = max(self._breaks, number)

    def item(self, marker: str) -> None:
        """An item begins; its text stands right after the marker, further lines below the text."""
        self._marker = ""
        self.line()
        self._indent.append(" " * len(marker))
        self._marker = marker

    def end_item(self) -> None:
        if self._marker:  # an empty item
            self._put("")
        self._indent.pop()
        self.line()

    def indent(self, by: str) -> None:
        self._indent.append(by)

    def dedent(self) -> None:
        self._indent.pop()

    def begin_capture(self) -> None:
        self._captures.append((self._parts, self._breaks, self._space))
        self._parts, self._breaks, self._space = [], 0, False

    def end_capture(self, shape: Callable[[str], str] | None = None) -> str:
        """The captured text; with `shape`, what that makes of it is written in its place."""
        text = "".join(self._parts).strip()
        inner_space = self._space
        self._parts, self._breaks, self._space = self._captures.pop()
        if shape is not None and text:
            self._put(shape(text))
            self._space = inner_space
        return text

    def _put(self, text: str) -> None:
        marker, self._marker = self._marker, ""
        if self._captures:
            if self._parts and self._space:
                self._parts.append(" ")
            self._parts.append(marker + text)
        else:
            if self._breaks or not self._parts:
                self._parts.append("\n" * self._breaks)
                indent = self._indent[:-1] if marker else self._indent
                self._parts += [*indent[:MAX_INDENTS], marker]
            elif self._space:
                self._parts.append(" ")
            self._parts.append(text)
        self._breaks, self._space = 0, False

    def result(self) -> str:
        # Not by a pattern: on a long run of blanks one is quadratic.
        text = "".join(self._parts).replace("\xa0", " ")
        return "\n".join(line.rstrip(" \t") for line in text.split("\n"))
