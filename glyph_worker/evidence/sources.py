"""Characters of a job's text → its document, where it has several, and pages, for citations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from glyph_worker.document import PART_END
from glyph_worker.proof import Citation


def in_its_document(citation: Citation, text: str, names: Sequence[str]) -> Citation:
    """A citation of a text of several documents, by its document's name and characters.

    Without names it stays as it is.
    """
    if not names:
        return citation
    begin = text.rfind(PART_END, 0, citation.start) + 1
    number = min(text.count(PART_END, 0, begin), len(names) - 1)
    return replace(
        citation,
        document=names[number],
        start=citation.start - begin,
        end=citation.end - begin,
    )
