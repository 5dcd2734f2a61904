"""Documents and their questions packed into rows of tokens. Indices only: no model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glyph_worker.nano import vocabulary as v
from glyph_worker.nano.geometry import COLUMNS, TOKEN_COLUMNS
from glyph_worker.nano.sample import Cell, Sample

Ints = npt.NDArray[np.int64]
IGNORE = -100
GRAM = 4  # characters
BESIDE = 8  # columns


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows of packed documents: every question sees its own document and itself only.

    All int64, [rows, length] unless said otherwise. `document` numbers a row's documents from 1 (0
    is padding); `segment` is 0 for a document's own tokens and k for its k-th question. `target`
    is the next token where an answer is learned, else -100. `pointer` is the row index of the
    visual token that shows the next character, else -100, and `slot` which of its eight characters
    that is. `anchor` is, for every learned position, the visual token of the answer's first
    character, or the document's first token (`sink`) when the document does not hold the answer.
    `located` is, for a character of a question or a copied answer, the visual token that shows it
    where its last four characters stand, else the `sink` where they stand nowhere, else -100 (they
    stand more than once, or end in a token's last column). `finder` is which head of `located` must
    see it (see `_finder`), -1 with the sink. `keyed` is, for every learned position, the row index
    of the question's last character that is located in the line where the answer begins (or in the
    line above), else -100. `above` is the same for the one that is located further up, most nearly
    above where the answer begins and within `BESIDE` columns of it: a table column's heading.
    `question` is the index into `questions` (`task/prompt tokens`), -1 outside questions.
    `positions` is [3, rows, length]. `cells` [pages, lines, 64] are character ids of all pages of
    one height, and `places` [pages * tokens] the flat index (row * length + column) of each of
    their visual tokens.
    """

    tokens: Ints
    document: Ints
    segment: Ints
    target: Ints
    pointer: Ints
    slot: Ints
    anchor: Ints
    keyed: Ints
    above: Ints
    sink: Ints
    located: Ints
    finder: Ints
    question: Ints
    positions: Ints
    cells: tuple[Ints, ...]
    places: tuple[Ints, ...]
    documents: int
    questions: tuple[str, ...]


def page_cells(lines: list[str]) -> Ints:
    """Character ids [lines rounded up to even, 64] of one page, short lines filled with spaces."""
    height = max(2, len(lines) + len(lines) % 2)
    cells = np.full((height, COLUMNS), v.SPACE, dtype=np.int64)
    for row, line in enumerate(lines):
        ids = v.encode(line)
        cells[row, : len(ids)] = ids
    return cells


class Prefix:
    """Tokens and positions of one document, as transformers would compute them."""

    def __init__(self, pages: list[list[str]]) -> None:
        self.tokens: list[int] = list(v.PROMPT_HEAD)
        self.positions: list[tuple[int, int, int]] = [(i, i, i) for i in range(len(self.tokens))]
        self.cells: list[Ints] = []
        self.starts: list[int] = []  # index of each page's first visual token
        here = len(self.tokens)
        for lines in pages:
            cells = page_cells(lines)
            rows = len(cells) // 2
            self.tokens.append(v.PAGE_OPEN)
            self.positions.append((here, here, here))
            here += 1
            self.starts.append(len(self.tokens))
            self.cells.append(cells)
            self.tokens += [v.IMAGE] * (rows * TOKEN_COLUMNS)
            self.positions += [
                (here, here + row, here + column)
                for row in range(rows)
                for column in range(TOKEN_COLUMNS)
            ]
            here += max(rows, TOKEN_COLUMNS)
            self.tokens.append(v.PAGE_CLOSE)
            self.positions.append((here, here, here))
            here += 1
        self.next_position = here

    def visual_token(self, page: int, line: int, column: int) -> int:
        """Index of the visual token that shows one cell."""
        return self.starts[page] + (line // 2) * TOKEN_COLUMNS + column // 4


def question_tokens(question: str) -> list[int]:
    """What follows the pages in a prompt."""
    return [*v.encode(question), *v.ANSWER_HEAD]


class _Row:
    def __init__(self, length: int) -> None:
        self.length = length
        self.used = 0
        self.documents = 0
        self.tokens = np.full(length, v.PAD, dtype=np.int64)
        self.document = np.zeros(length, dtype=np.int64)
        self.segment = np.zeros(length, dtype=np.int64)
        self.target = np.full(length, IGNORE, dtype=np.int64)
        self.pointer = np.full(length, IGNORE, dtype=np.int64)
        self.anchor = np.full(length, IGNORE, dtype=np.int64)
        self.keyed = np.full(length, IGNORE, dtype=np.int64)
        self.above = np.full(length, IGNORE, dtype=np.int64)
        self.sink = np.zeros(length, dtype=np.int64)
        self.located = np.full(length, IGNORE, dtype=np.int64)
        self.finder = np.full(length, -1, dtype=np.int64)
        self.slot = np.zeros(length, dtype=np.int64)
        self.question = np.full(length, -1, dtype=np.int64)
        self.positions = np.zeros((3, length), dtype=np.int64)


def _unique_grams(pages: list[list[str]]) -> dict[str, Cell | None]:
    """The cell of the last character of every run of four that stands once, letter case aside."""
    found: dict[str, Cell | None] = {}
    for page, lines in enumerate(pages):
        for number, line in enumerate(lines):
            low = line.lower()
            for end in range(GRAM - 1, len(low)):
                gram = low[end - GRAM + 1 : end + 1]
                found[gram] = None if gram in found else (page, number, end)
    return found


def _finder(cell: Cell) -> int:
    """The head that finds a gram which ends in this cell: one for each line of a visual token and
    each of its first three columns. Six heads leave none for the last column, but a word's grams
    end in consecutive columns, so at most one in four is missed.
    """
    return cell[1] % 2 * 3 + cell[2] % 4


def _meet(text: str, known: dict[str, Cell | None]) -> dict[int, Cell | None]:
    """For each character of `text` whose last four stand once in the document where that is; None
    where they stand nowhere.
    """
    low, met = text.lower(), {}
    for end in range(GRAM - 1, len(low)):
        gram = low[end - GRAM + 1 : end + 1]
        cell = known.get(gram)
        if gram not in known or (cell is not None and cell[2] % 4 < 3):
            met[end] = cell
    return met


def _key(met: dict[int, Cell | None], answer: Cell) -> int | None:
    """The last question character met in the answer's line, else in the line above it."""
    page, line, _ = answer
    for wanted in ((page, line), (page, line - 1)):
        if here := [index for index, cell in met.items() if cell and cell[:2] == wanted]:
            return max(here)
    return None


def _heading(met: dict[int, Cell | None], answer: Cell) -> int | None:
    """The question character met above the answer's line, on its page, that stands straightest
    above its beginning."""
    page, line, column = answer
    aside = {
        index: abs(cell[2] - column)
        for index, cell in met.items()
        if cell and cell[0] == page and cell[1] < line
    }
    near = [index for index, columns in aside.items() if columns <= BESIDE]
    return min(near, key=aside.__getitem__, default=None)


def _place(row: _Row, sample: Sample, questions: list[str]) -> tuple[list[Ints], list[int]] | None:
    """Put a document and as many of its questions as fit into the row; None if it is too long."""
    prefix = Prefix(sample.pages)
    start, size = row.used, len(prefix.tokens)
    first = question_tokens(sample.questions[0].text)
    need = size + len(first) + len(sample.questions[0].answer)
    if start + need > row.length:
        return None
    row.documents += 1
    row.tokens[start : start + size] = prefix.tokens
    row.positions[:, start : start + size] = np.array(prefix.positions).T
    row.document[start : start + size] = row.documents
    row.sink[start:] = start
    known = _unique_grams(sample.pages)
    at, asked = start + size, 0
    for question in sample.questions:
        prompt = question_tokens(question.text)
        answer = v.encode(question.answer)
        total = len(prompt) + len(answer)
        if at + total > row.length:
            continue
        asked += 1
        row.question[at : at + total] = len(questions)
        questions.append(f"{question.task}/{size}")
        row.tokens[at : at + total] = prompt + answer
        row.positions[:, at : at + total] = prefix.next_position + np.arange(total)
        row.document[at : at + total] = row.documents
        row.segment[at : at + total] = asked
        row.target[at + len(prompt) - 1 : at + total] = [*answer, v.END[0]]
        met = _meet(question.text, known)
        copied = _meet(question.answer, known) if any(question.where) else {}
        for index, there in [*met.items(), *((len(prompt) + i, c) for i, c in copied.items())]:
            row.located[at + index] = start + (prefix.visual_token(*there) if there else 0)
            row.finder[at + index] = _finder(there) if there else -1
        shown = [cell for cell in question.where if cell is not None]
        first_token = start + prefix.visual_token(*shown[0]) if shown else start
        row.anchor[at + len(prompt) - 1 : at + total] = first_token
        if shown and (key := _key(met, shown[0])) is not None:
            row.keyed[at + len(prompt) - 1 : at + total] = at + key
        if shown and (heading := _heading(met, shown[0])) is not None:
            row.above[at + len(prompt) - 1 : at + total] = at + heading
        for offset, cell in enumerate(question.where):
            if cell is not None:
                step = at + len(prompt) - 1 + offset
                row.pointer[step] = start + prefix.visual_token(*cell)
                row.slot[step] = cell[1] % 2 * 4 + cell[2] % 4
        at += total
    row.used = at
    return prefix.cells, [start + s for s in prefix.starts]


def pack(samples: Iterable[Sample], *, rows: int, length: int) -> Batch:
    """Fill `rows` rows of `length` tokens with samples from an endless source."""
    source = iter(samples)
    filled: list[_Row] = []
    cells: dict[int, list[Ints]] = {}
    places: dict[int, list[Ints]] = {}
    questions: list[str] = []
    documents = 0
    sample = next(source)
    for number in range(rows):
        row = _Row(length)
        while (placed := _place(row, sample, questions)) is not None:
            for page, start in zip(placed[0], placed[1], strict=True):
                count = len(page) // 2 * TOKEN_COLUMNS
                cells.setdefault(len(page), []).append(page)
                places.setdefault(len(page), []).append(number * length + start + np.arange(count))
            documents += 1
            sample = next(source)
        if not row.documents:
            raise ValueError(f"a document does not fit a row of {length} tokens")
        filled.append(row)
    heights = sorted(cells)
    return Batch(
        tokens=np.stack([row.tokens for row in filled]),
        document=np.stack([row.document for row in filled]),
        segment=np.stack([row.segment for row in filled]),
        target=np.stack([row.target for row in filled]),
        pointer=np.stack([row.pointer for row in filled]),
        anchor=np.stack([row.anchor for row in filled]),
        keyed=np.stack([row.keyed for row in filled]),
        above=np.stack([row.above for row in filled]),
        located=np.stack([row.located for row in filled]),
        finder=np.stack([row.finder for row in filled]),
        sink=np.stack([row.sink for row in filled]),
        slot=np.stack([row.slot for row in filled]),
        question=np.stack([row.question for row in filled]),
        positions=np.stack([row.positions for row in filled], axis=1),
        cells=tuple(np.stack(cells[height]) for height in heights),
        places=tuple(np.concatenate(places[height]) for height in heights),
        documents=documents,
        questions=tuple(questions),
    )
