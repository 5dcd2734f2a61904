"""What ties an answer to its document, as it travels: citations and checked literals. No I/O.

Found by `evidence/` on the answer worker; read by clients, the gateway and the command line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

CitationKind = Literal["exact", "normalized", "close"]
"""As it is; but for white space, case, hyphens and forms of the same letter; alike."""
LiteralKind = Literal["number", "date", "amount", "code", "url", "address", "name"]
LiteralStatus = Literal["verified", "corrected", "unsupported"]
DOUBTFUL = 0.8
"""Confidence below which an answer is called doubtful where people see it, though it stands in the
document: with it, most answers to strangers' documents are told apart (`ops/bench/reader_exam`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A rectangle on a page image as the model saw it, in its pixels from the top left corner."""

    page: int
    """Number of the page from 1, as in its address."""
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Citation:
    """Where a part of an answer stands in the document."""

    start: int
    end: int
    """Half-open range of characters of the document's text."""
    text: str
    """What the document has there."""
    page: int | None
    """Number of its first page from 1; None where the pages are not known."""
    boxes: tuple[Box, ...]
    """One for each line that it lies on; none where the pages are not known."""
    kind: CitationKind
    score: float
    """1 for exact and normalized; share of characters in common, 0.8 and more, for close."""
    answer_start: int
    answer_end: int
    """Half-open range of the part, in characters of the answer."""
    document: str = ""
    """Of a job on several documents the name of the one it stands in, whose characters start and
    end count; '' otherwise."""
    sheet_boxes: tuple[Box, ...] = ()
    """The same on the pages that were brought, a PDF's (in points from the top left corner, `page`
    as in the file) or a picture's (in its pixels); none where the document was brought as text."""
    by_ocr: bool = False
    """The text of that place was read by OCR, which misreads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedLiteral:
    """A number, date, amount, code, URL, address or name of an answer, and its status."""

    text: str
    kind: LiteralKind
    status: LiteralStatus
    start: int
    end: int
    """Half-open range in characters of the answer."""
    read_as: str = ""
    """What the model wrote in its place, of a corrected one."""
    suggested: str = ""
    """The one string of the document that eyes take for an unsupported one, if one alone."""


T = TypeVar("T")


def citations_of(rows: Iterable[Mapping[str, Any]]) -> tuple[Citation, ...]:
    """From a stored record; entries of a newer version that are not known are dropped."""
    return tuple(
        _known(
            Citation,
            row,
            boxes=tuple(_known(Box, box) for box in row["boxes"]),
            sheet_boxes=tuple(_known(Box, box) for box in row.get("sheet_boxes", ())),
        )
        for row in rows
    )


def literals_of(rows: Iterable[Mapping[str, Any]]) -> tuple[CheckedLiteral, ...]:
    """As `citations_of`."""
    return tuple(_known(CheckedLiteral, row) for row in rows)


def _known(kind: type[T], row: Mapping[str, Any], **made: Any) -> T:
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in {**row, **made}.items() if name in names})
