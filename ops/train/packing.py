"""Documents and their questions packed into rows of tokens. Indices only: no model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from train import vocabulary as v
from train.attention_targets import HEADS, Floats, Ints, Lessons, TokenOf, evidence, grams, meet
from train.geometry import COLUMNS, TOKEN_COLUMNS
from train.sample import Sample

IGNORE = -100


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows of packed documents: every question sees its own document and itself only.

    All int64, [rows, length] unless said otherwise. `document` numbers a row's documents from 1 (0
    is padding); `segment` is 0 for a document's own tokens and k for its k-th question. `target`
    is the next token where an answer is learned, else -100. `goals` [rows, heads, length, places]
    and `due` (float32 [rows, heads, length]) are the lessons of each taught layer (see
    `taught.Lessons`). `question` is the index into `questions` (`task/prompt tokens`), -1 outside
    questions. `positions` is [3, rows, length]. `cells` [pages, lines, 64] are character ids of all
    pages of one height, and `places` [pages * tokens] the flat index (row * length + column) of
    each of their visual tokens.
    """

    tokens: Ints
    document: Ints
    segment: Ints
    target: Ints
    goals: dict[int, Ints]
    due: dict[int, Floats]
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
        self.lessons = Lessons(length)
        self.question = np.full(length, -1, dtype=np.int64)
        self.positions = np.zeros((3, length), dtype=np.int64)


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
    token = TokenOf([start + first for first in prefix.starts])
    for number, (opening, cells) in enumerate(zip(token.starts, prefix.cells, strict=True)):
        row.lessons.page(number, opening - 1, cells, start)
    known = grams(sample.pages)
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
        met = meet(question.text, known)
        copied = meet(question.answer, known, begins=False) if any(question.where) else {}
        row.lessons.written(at, at + total, start)
        for index, there in [*met.items(), *((len(prompt) + i, c) for i, c in copied.items())]:
            row.lessons.found(at + index, there, token, start)
        steps = range(at + len(prompt) - 1, at + total)
        keys = evidence(met, question.where, question.title)
        looks = [[at + character for character in key] for key in keys]
        row.lessons.answered(steps, question, looks, sample.pages, token, start)
        at += total
    row.used = at
    return prefix.cells, list(token.starts)


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
        goals={n: np.stack([row.lessons.goals[n] for row in filled]) for n in HEADS},
        due={n: np.stack([row.lessons.due[n] for row in filled]) for n in HEADS},
        question=np.stack([row.question for row in filled]),
        positions=np.stack([row.positions for row in filled], axis=1),
        cells=tuple(np.stack(cells[height]) for height in heights),
        places=tuple(np.concatenate(places[height]) for height in heights),
        documents=documents,
        questions=tuple(questions),
    )
