"""Where the taught heads should look, and how much it matters. Indices only: no model.

Some attention heads are shown where to look, because the right place is known:

- `BEFORE`: three look one, two and three tokens back, so that a token of text knows what was just
  written, and a visual token what stands left of it. A fourth tells a visual token its page: it
  shares its look between the document's first token and, the more the later the page, the page's
  opening. Rotary attention knows distances only, and without the number a key found on one page led
  to the same line of another. Two more, one for each line of a visual token, tell it how many
  commas stand left of it: they share their look between those and the document's first token.
- `FIND`: six, one for each line of a visual token and each of its first three columns, find in the
  document what was just written, by its last four characters, wherever that stands. Six heads leave
  none for the last column, but a word's characters stand in consecutive columns.
- `KEY`: the answer looks at the question's characters that stand in its line, at those that name
  its column or its section, and at those that stand in its line just before it.
- `ANCHORS`: one looks at the answer's beginning, in the next layer one looks there again. Beside
  the first, one looks at the name of the answer's column or section where it stands on the page:
  columns are told apart by where their names begin and end.
- `HERE`: four, one for each column of a visual token, look at the character of the answer that was
  just written: what stands in many places is told apart by the beginning. Two look at what stands
  right of it, since an end is known by what follows.
- `POINT`: eight, upper line in the first of two layers and lower line in the second, look at the
  next character, so the answer is simply what they copy. Two more of the first layer look further
  right: a message ends before a key only if an equals sign follows that key. Two of the last layer
  look at the next word of the line, however wide the gap, and at the beginning of the next line: a
  line ends where no word follows, an answer may go on below.

A head that has nothing to look at looks at the document's first token (the `sink`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from train import vocabulary as v
from train.geometry import COLUMNS, TOKEN_COLUMNS
from train.sample import Cell, Question

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Found = dict[int, list[Cell]]  # character of a text → where its last four stand; [] is nowhere

BEFORE, FIND, KEY, ANCHORS, HERE, POINT = 0, 1, 2, (3, 4), 5, (6, 7)  # layers
HEADS = {
    BEFORE: 6,
    FIND: 6,
    KEY: 3,
    ANCHORS[0]: 2,
    ANCHORS[1]: 1,
    HERE: 6,
    POINT[0]: 6,
    POINT[1]: 6,
}
BACK = 3  # tokens
PAGES_TOLD = 8  # from this page on, all pages look alike
SLOTS = 4  # characters of a line of a visual token
GRAM = 4  # characters
AHEAD = ((HERE, 4, 1), (HERE, 5, 2), (POINT[0], 4, 3), (POINT[0], 5, 4))  # layer, head, tokens
MOST = 4  # places at which one head may look; what stands oftener teaches nothing
NOWHERE_WEIGHT = 0.2  # of what stands nowhere in the document: easy, and most of a question
FIRST_WEIGHT = 3.0  # an answer's first character counts four times: to find it is the hard part


class Lessons:
    """What a row of `length` tokens teaches: per layer `goals` [heads, length, MOST], row indices
    of which any is right (-1: none), and `due` [heads, length], 0 where a head is not asked."""

    def __init__(self, length: int) -> None:
        self.goals: dict[int, Ints] = {
            layer: np.full((heads, length, MOST), -1, dtype=np.int64)
            for layer, heads in HEADS.items()
        }
        self.due: dict[int, Floats] = {
            layer: np.zeros((heads, length), dtype=np.float32) for layer, heads in HEADS.items()
        }

    def teach(
        self, layer: int, head: int, at: int, goals: Sequence[int] | Ints, weight: float = 1.0
    ) -> None:
        """One head at one position: any of `goals` is right."""
        self.goals[layer][head, at, :] = -1
        self.goals[layer][head, at, : len(goals)] = goals
        self.due[layer][head, at] = weight

    def rest(self, layer: int, at: int, sink: int, weight: float = 1.0) -> None:
        """All heads of a layer: nothing to look at (`teach` may say otherwise for some)."""
        self.goals[layer][:, at, 0] = sink
        self.due[layer][:, at] = weight

    # ── what is known of a document ─────────────────────────────────────────────────────────────

    def page(self, number: int, opening: int, cells: Ints, sink: int) -> None:
        """The visual tokens of one page of `cells` [lines, 64], which follow its `opening`. Which
        of them look there is drawn at random, so that the share is what is learned."""
        here = np.arange(opening + 1, opening + 1 + len(cells) // 2 * TOKEN_COLUMNS)
        column = (here - opening - 1) % TOKEN_COLUMNS
        goals = self.goals[BEFORE]
        for head in range(BACK):
            goals[head, here, 0] = np.where(column > head, here - head - 1, sink)
        drawn = np.random.default_rng(opening).random((3, len(here)), dtype=np.float32)
        goals[BACK, here, 0] = np.where(drawn[0] * PAGES_TOLD < number, opening, sink)
        self.due[BEFORE][: BACK + 1, here] = 1.0
        self._commas(here, cells == v.ID[","], drawn[1:], sink)

    def _commas(self, here: Ints, commas: npt.NDArray[np.bool_], drawn: Floats, sink: int) -> None:
        """How many stand left of each of the tokens `here`, in each of its lines: of n commas and
        the document's first token each has an equal share of the look."""
        for line in (0, 1):
            head = BACK + 1 + line
            self.goals[BEFORE][head, here, 0] = sink
            self.due[BEFORE][head, here] = NOWHERE_WEIGHT
            held = commas[line::2].reshape(-1, TOKEN_COLUMNS, SLOTS).sum(-1)  # [rows, columns]
            for row in np.flatnonzero(held.any(1)):
                holders = np.flatnonzero(held[row])
                for column in range(holders[0] + 1, TOKEN_COLUMNS):
                    index = row * TOKEN_COLUMNS + column
                    before = holders[holders < column]
                    count = held[row, before].sum()
                    if len(before) > MOST:
                        self.due[BEFORE][head, here[index]] = 0.0
                    elif drawn[line, index] * (count + 1) < count:
                        tokens = here[row * TOKEN_COLUMNS + before]
                        self.teach(BEFORE, head, here[index], tokens)
                    else:
                        self.teach(BEFORE, head, here[index], [sink])

    # ── what is known of a question and its answer ──────────────────────────────────────────────

    def written(self, start: int, end: int, sink: int) -> None:
        """A question's tokens and its answer's: what stands before each of them."""
        here = np.arange(start, end)
        for head in range(BACK):
            self.goals[BEFORE][head, here, 0] = np.where(here > start + head, here - head - 1, sink)
            self.due[BEFORE][head, here] = 1.0

    def found(self, at: int, cells: Sequence[Cell], token: TokenOf, sink: int) -> None:
        """A character that stands in these cells; nowhere if there are none."""
        self.rest(FIND, at, sink, 1.0 if cells else NOWHERE_WEIGHT)
        for head, mine in _by_finder(cells).items():
            self.teach(FIND, head, at, [token(cell) for cell in mine])

    def answered(
        self,
        steps: range,
        question: Question,
        keys: Sequence[Sequence[int]],
        pages: list[list[str]],
        token: TokenOf,
        sink: int,
    ) -> None:
        """A question's answer, its k-th character written at `steps[k]` and the end at the last.
        `keys` are the row indices of its `evidence`, for each head of `KEY`."""
        where, title = question.where, question.title
        first = next((cell for cell in where if cell is not None), None)
        begin = token(first) if first else sink
        named = list(dict.fromkeys(token(cell) for cell in title if cell is not None))[:MOST]
        for k, at in enumerate(steps):
            weight = 1.0 if k else 1 + FIRST_WEIGHT
            for head, characters in enumerate(keys):
                if characters:
                    self.teach(KEY, head, at, characters, weight)
            for layer in ANCHORS:
                self.teach(layer, 0, at, [begin], weight)
            if named:
                self.teach(ANCHORS[0], 1, at, named, weight)
            self.rest(HERE, at, sink, weight if first else NOWHERE_WEIGHT)
            if first is None:
                continue
            before = where[k - 1] if k else None
            if before is not None:
                self.teach(HERE, before[2] % SLOTS, at, [token(before)])
                for head, further in enumerate(onward(pages, before), SLOTS):
                    self.teach(POINT[1], head, at, [token(further) if further else sink])
            for layer, head, tokens in AHEAD:
                ahead = _right_of(before or first, tokens, token, sink)
                self.teach(layer, head, at, [ahead], weight)
            cell = where[k] if k < len(where) else None
            if cell is not None:
                for number, layer in enumerate(POINT):
                    for slot in range(SLOTS):
                        mine = (cell[1] % 2, cell[2] % SLOTS) == (number, slot)
                        self.teach(layer, slot, at, [token(cell) if mine else sink], weight)


class TokenOf:
    """Which row index shows a cell."""

    def __init__(self, starts: Sequence[int]) -> None:
        self.starts = starts  # row index of each page's first visual token

    def __call__(self, cell: Cell) -> int:
        page, line, column = cell
        return self.starts[page] + (line // 2) * TOKEN_COLUMNS + column // SLOTS


def onward(pages: list[list[str]], cell: Cell) -> tuple[Cell | None, Cell | None]:
    """(Where the next word of a cell's line begins, where the next line does), if they do."""
    page, line, column = cell
    text = pages[page][line]
    gap = text.find(" ", column)
    rest = text[gap:].lstrip() if gap >= 0 else ""
    word = (page, line, len(text) - len(rest)) if rest else None
    page, line = (page, line + 1) if line + 1 < len(pages[page]) else (page + 1, 0)
    below = pages[page][line] if page < len(pages) else ""
    return word, (page, line, len(below) - len(below.lstrip())) if below.strip() else None


def grams(pages: list[list[str]]) -> dict[str, list[Cell]]:
    """The cells of the last character of every run of four, letter case aside. A line begins after
    spaces, as a word does after one."""
    cells: dict[str, list[Cell]] = {}
    for page, lines in enumerate(pages):
        for number, line in enumerate(lines):
            low = " " * (GRAM - 1) + line.lower()
            for column in range(len(line)):
                cells.setdefault(low[column : column + GRAM], []).append((page, number, column))
    return cells


def meet(text: str, known: dict[str, list[Cell]], *, begins: bool = True) -> Found:
    """Where the last four characters of each character of `text` stand, of the cells that a head
    of `FIND` sees. What stands in too many of them is left out, and what stands in others only. A
    text that `begins` something follows spaces.
    """
    low, met = " " * (GRAM - 1) + text.lower(), {}
    for end in range(0 if begins else GRAM - 1, len(text)):
        cells = known.get(low[end : end + GRAM], [])
        mine = _by_finder(cells)
        if all(len(heads) <= MOST for heads in mine.values()) and bool(mine) == bool(cells):
            met[end] = [cell for seen in mine.values() for cell in seen]
    return met


def evidence(
    met: Found, where: Sequence[Cell | None], title: Sequence[Cell | None]
) -> tuple[list[int], list[int], list[int]]:
    """(The question's characters that stand in the answer's line, else in the line above it; those
    that stand in its `title`; of the first, those that stand nearest before the answer), at most
    `MOST` of each: what stands in few places, and the last of it. None of an absent answer.
    """
    first = next((cell for cell in where if cell is not None), None)
    if first is None:
        return [], [], []
    page, line, column = first
    here: dict[int, int] = {}  # character: the column nearest before the answer
    for wanted, limit in (((page, line), column), ((page, line - 1), COLUMNS)):
        if not here:
            for end, cells in met.items():
                mine = [c[2] if c[2] < limit else -1 for c in cells if c[:2] == wanted]
                if mine:
                    here[end] = max(mine)
    nearest = max(here.values(), default=-1)
    before = [end for end, there in here.items() if there > max(-1, nearest - GRAM)]
    named = [end for end, cells in met.items() if set(cells) & set(title)]

    def clearest(ends: Iterable[int]) -> list[int]:
        return sorted(ends, key=lambda end: (len(met[end]), -end))[:MOST]

    return clearest(here), clearest(named), clearest(before)


def _by_finder(cells: Sequence[Cell]) -> dict[int, list[Cell]]:
    """The cells that each head of `FIND` must see."""
    mine: dict[int, list[Cell]] = {}
    for cell in cells:
        if cell[2] % SLOTS < SLOTS - 1:
            mine.setdefault(cell[1] % 2 * 3 + cell[2] % SLOTS, []).append(cell)
    return mine


def _right_of(cell: Cell, tokens: int, token: TokenOf, sink: int) -> int:
    """The visual token so many to the right in the same row; the sink beyond the page."""
    return token(cell) + tokens if cell[2] // SLOTS + tokens < TOKEN_COLUMNS else sink
