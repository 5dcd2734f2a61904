"""A document being written: source lines, the facts in them, and where both land on pages."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style
from train.sample import Cell

Spot = tuple[int, int]  # source line, column


@dataclass(frozen=True, kw_only=True)
class Fact:
    """An answer that stands in the document, and the ready questions that ask for it.

    `names` are field names for the general question templates (may be empty); `asks` are complete
    questions. `kind` is the kind of value, for "who", "when" and "how much". `title` is the name of
    its column or its section, and `above` where that stands. `layout` says what it stands in.
    """

    answer: str
    spot: Spot
    kind: str = "other"
    names: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    title: str = ""
    above: Spot = (0, 0)
    layout: str = ""


@dataclass
class Draft:
    """Source lines with their facts; each maker says what `layout` its own stand in."""

    layout: str = ""
    lines: list[str] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    used: set[str] = field(default_factory=set)  # sentence templates already in the document

    def add(self, line: str = "") -> int:
        self.lines.append(line.rstrip())
        return len(self.lines) - 1

    def insert(self, number: int, line: str) -> None:
        """A line before line `number`; the facts from there on move down."""
        self.lines.insert(number, line)

        def moved(spot: Spot) -> Spot:
            return spot[0] + (spot[0] >= number), spot[1]

        self.facts = [replace(f, spot=moved(f.spot), above=moved(f.above)) for f in self.facts]

    def add_fact(
        self,
        before: str,
        answer: str,
        after: str = "",
        *,
        kind: str = "other",
        names: tuple[str, ...] = (),
        asks: tuple[str, ...] = (),
        title: str = "",
        above: Spot = (0, 0),
    ) -> None:
        """A line `before + answer + after` that holds one fact."""
        number = self.add(before + answer + after)
        self.note(
            number, len(before), answer, kind=kind, names=names, asks=asks, title=title, above=above
        )

    def note(
        self,
        number: int,
        column: int,
        answer: str,
        *,
        kind: str = "other",
        names: tuple[str, ...] = (),
        asks: tuple[str, ...] = (),
        title: str = "",
        above: Spot = (0, 0),
    ) -> None:
        """A fact in a line already written."""
        fact = Fact(
            answer=answer, spot=(number, column), kind=kind, names=names, asks=asks, title=title,
            above=above, layout=self.layout,
        )  # fmt: skip
        self.facts.append(fact)


@dataclass(frozen=True)
class Placed:
    """A draft on its pages: display lines, and the cell of each character of the text."""

    pages: list[list[str]]
    starts: list[int]  # of each source line in the text
    cell_of: list[Cell | None]

    def cells(self, spot: Spot, length: int) -> tuple[Cell | None, ...]:
        """The cell of each of `length` source characters from `spot`; None on a line break."""
        first = self.starts[spot[0]] + spot[1]
        return tuple(self.cell_of[first : first + length])


def place(lines: list[str]) -> Placed:
    """Lay the lines out as the renderer does: the same wrapping, the same page breaks."""
    text = "\n".join(lines)
    starts, here = [], 0
    for line in lines:
        starts.append(here)
        here += len(line) + 1
    cell_of: list[Cell | None] = [None] * here
    pages = []
    for page, laid in enumerate(paginate(text, preset_style("nano"))):
        pages.append([line.shown.rstrip() for line in laid.lines])
        for row, shown in enumerate(laid.lines):
            offsets = shown.offsets or range(shown.start, shown.start + len(shown.shown))
            for column, offset in enumerate(offsets):
                if cell_of[offset] is None:
                    cell_of[offset] = (page, row, column)
    return Placed(pages=pages, starts=starts, cell_of=cell_of)
