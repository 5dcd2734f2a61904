"""What the reader learns from: pages of text and questions with known answers."""

from __future__ import annotations

from dataclasses import dataclass, field

Cell = tuple[int, int, int]  # page, line of the page, column
NOT_FOUND = "not found"


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question, its answer, and for each character of the answer the cell that shows it.

    `title` are the cells of the name of the answer's column or section, and `layout` is what a
    value looked up stands in.
    """

    text: str
    answer: str
    task: str
    where: tuple[Cell | None, ...] = ()
    title: tuple[Cell | None, ...] = ()
    layout: str = ""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A document as it stands on its pages (at most 28 lines of 64 columns) and its questions."""

    pages: list[list[str]]
    text: str = ""  # the document as it would be submitted
    questions: list[Question] = field(default_factory=list)
