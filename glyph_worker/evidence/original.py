"""Places of a text in normal form → places of the text as it was submitted. By lines."""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cached_property

from glyph_worker.evidence.index import Span
from glyph_worker.render.lines.normalize import normalize

_LINE_END = re.compile("\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]")


class Original:
    """A document and its normal form. Most texts are in normal form, and cost nothing here."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.normal = normalize(text).text
        self._is_normal = self.normal == text

    def span(self, span: Span) -> Span:
        """The characters of the submitted text that these of the normal form come from."""
        if self._is_normal:
            return span
        start, end = self._offset(span[0]), self._offset(span[1] - 1)
        return start, max(start, end) + 1

    def _offset(self, offset: int) -> int:
        """The character of the submitted text that this one of the normal form ends in."""
        originals, normals = self._line_starts
        line = min(bisect_right(normals, offset) - 1, len(originals) - 1)
        begin = originals[line]
        end = originals[line + 1] if line + 1 < len(originals) else len(self.text)
        wanted = offset - normals[line]
        # The shortest beginning of the line whose normal form has that character.
        low, high = begin, end
        while low < high:
            middle = (low + high) // 2
            if len(normalize(self.text[begin : middle + 1]).text) > wanted:
                high = middle
            else:
                low = middle + 1
        return min(low, len(self.text) - 1)

    @cached_property
    def _line_starts(self) -> tuple[list[int], list[int]]:
        """Starts of the lines in both texts. A line end is one in both."""
        originals = [0, *(match.end() for match in _LINE_END.finditer(self.text))]
        normals = [0, *(match.end() for match in re.finditer("\n", self.normal))]
        if len(originals) != len(normals):  # a line end inside a control sequence went with it
            return [0], [0]
        return originals, normals
