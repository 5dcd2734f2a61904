"""Rows of a page's tables: one line each, empty cells kept. Which tables are none is told apart."""

from __future__ import annotations

from selectolax.lexbor import LexborNode

CELL_BETWEEN = " | "
"""Between a row's cells: no blank can be taken for it, so an empty cell is seen."""

MAX_SPAN = 1_000
MAX_COVERED = 100
"""Columns in which a cell above may leave an empty one; a row costs no more than that."""


class Table:
    """Rows as they are read. A cell that spans rows leaves empty ones below it."""

    def __init__(self) -> None:
        self._row: list[str] = []
        self._column = 0
        self._covered: dict[int, int] = {}
        """Column → rows that a cell above still covers, this one included."""
        self._begun: dict[int, int] = {}
        """The same for the cells that begin in this row."""

    def begin_row(self) -> None:
        self._row, self._column, self._begun = [], 0, {}

    def add(self, text: str, attributes: dict[str, str | None]) -> None:
        self._skip_covered()
        self._row.append(text)
        down = _span(attributes.get("rowspan"))
        if down > 1 and self._column < MAX_COVERED:
            self._begun[self._column] = down
        self._column += _span(attributes.get("colspan"))

    def end_row(self) -> list[str]:
        """The row's cells, from left to right."""
        self._skip_covered()
        rows = self._covered | self._begun
        self._covered = {at: left - 1 for at, left in rows.items() if left > 1}
        return self._row

    def _skip_covered(self) -> None:
        while self._column in self._covered:
            self._row.append("")
            self._column += 1


def _span(text: str | None) -> int:
    try:
        return min(MAX_SPAN, max(1, int(text or 1)))
    except ValueError:
        return 1


def layout_tables(root: LexborNode) -> set[int]:
    """`mem_id` of the tables that only place blocks: with a table, or code, in a cell; one column.

    Their cells are read one below the other, as blocks.
    """
    found: set[int] = set()
    open_tables: list[LexborNode] = []
    widths: dict[int, int] = {}
    node: LexborNode | None = root
    while node is not None:
        tag = node.tag if node.is_element_node else ""
        if tag in ("table", "pre") and open_tables:
            found.add(open_tables[-1].mem_id)
        if tag == "table":
            open_tables.append(node)
            widths[node.mem_id] = 0
        elif tag == "tr" and open_tables:
            cells = sum(cell.tag in ("td", "th") for cell in node.iter())
            at = open_tables[-1].mem_id
            widths[at] = max(widths[at], cells)
        following = node.child
        while following is None and node is not None:
            if open_tables and node.mem_id == open_tables[-1].mem_id:
                open_tables.pop()
            if node.mem_id == root.mem_id:
                return found | {at for at, width in widths.items() if width < 2}
            following, node = node.next, node.parent
        node = following
    return found | {at for at, width in widths.items() if width < 2}
