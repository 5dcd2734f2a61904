"""Places of the document → the pages it was brought as: boxes on a PDF's page, or on a picture."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from glyph_worker.document import Sheet, WordPlace
from glyph_worker.proof import Box

MAX_BOXES = 64
_SAME_LINE = 0.5
"""Of a word's height that the next one overlaps, on one line."""


class SheetMap:
    """The sheets of one document. Their words' places are unpacked as they are asked for."""

    def __init__(self, sheets: Sequence[Sheet]) -> None:
        self._sheets = [sheet for sheet in sheets if sheet.end > sheet.start]
        self._starts = [sheet.start for sheet in self._sheets]
        self._words: dict[int, list[WordPlace]] = {}

    def boxes(self, start: int, end: int) -> tuple[Box, ...]:
        """Of these characters, one for each line: on the sheets, in their points or pixels."""
        found: list[Box] = []
        for sheet in self._over(start, end):
            for line in _lines(self._between(sheet, start, end)):
                found.append(_box(line, sheet.number, sheet.width, sheet.height))
        return tuple(found[:MAX_BOXES])

    def on_page(
        self, sheet: Sheet, start: int, end: int, *, page: int, width: int, height: int
    ) -> tuple[Box, ...]:
        """The same on the page image that shows the sheet."""
        lines = _lines(self._between(sheet, start, end))
        return tuple(_box(line, page, width, height) for line in lines)[:MAX_BOXES]

    def picture_at(self, start: int) -> Sheet | None:
        """The sheet with this character, if it has a picture."""
        sheet = next(self._over(start, start + 1), None)
        return sheet if sheet is not None and sheet.picture else None

    def by_ocr(self, start: int, end: int) -> bool:
        """Whether any of these characters was read by OCR."""
        return any(sheet.by_ocr for sheet in self._over(start, end))

    def _over(self, start: int, end: int) -> Iterator[Sheet]:
        first = max(0, bisect_right(self._starts, start) - 1)
        for sheet in self._sheets[first:]:
            if sheet.start >= end:
                return
            if sheet.end > start:
                yield sheet

    def _between(self, sheet: Sheet, start: int, end: int) -> list[WordPlace]:
        if sheet.start not in self._words:
            self._words[sheet.start] = list(sheet.word_places())
        words = self._words[sheet.start]
        first = bisect_left(words, start, key=lambda word: word.end - 1)
        parts: list[WordPlace] = []
        for word in words[first:]:
            if word.start >= end:
                break
            parts.append(_part(word, start, end))
        return parts


def _part(word: WordPlace, start: int, end: int) -> WordPlace:
    """The part of a word, its box cut in proportion to its characters."""
    low, high = max(word.start, start), min(word.end, end)
    length, width = word.end - word.start, word.right - word.left
    left = word.left + width * (low - word.start) / length
    right = word.left + width * (high - word.start) / length
    return word._replace(start=low, end=high, left=left, right=right)


def _lines(words: Sequence[WordPlace]) -> Iterator[WordPlace]:
    """Words that follow each other on a line, joined."""
    line: WordPlace | None = None
    for word in words:
        if line is not None and _on_line(line, word):
            line = line._replace(
                end=word.end,
                left=min(line.left, word.left),
                top=min(line.top, word.top),
                right=max(line.right, word.right),
                bottom=max(line.bottom, word.bottom),
            )
            continue
        if line is not None:
            yield line
        line = word
    if line is not None:
        yield line


def _on_line(line: WordPlace, word: WordPlace) -> bool:
    overlap = min(line.bottom, word.bottom) - max(line.top, word.top)
    return overlap > _SAME_LINE * min(line.bottom - line.top, word.bottom - word.top)


def _box(place: WordPlace, page: int, width: float, height: float) -> Box:
    return Box(
        page=page,
        left=round(place.left * width, 1),
        top=round(place.top * height, 1),
        right=round(place.right * width, 1),
        bottom=round(place.bottom * height, 1),
    )
