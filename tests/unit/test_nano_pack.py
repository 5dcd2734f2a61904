"""Where the taught heads are told to look, read back from the pages' own characters."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from glyph_worker.nano import vocabulary as v  # noqa: E402
from glyph_worker.nano.corpus import samples  # noqa: E402
from glyph_worker.nano.geometry import TOKEN_COLUMNS  # noqa: E402
from glyph_worker.nano.oracle import Oracle  # noqa: E402
from glyph_worker.nano.pack import BESIDE, IGNORE, Batch, pack  # noqa: E402
from glyph_worker.nano.stages import PAGES_TOLD, told_page  # noqa: E402

LENGTH = 384
Shown = dict[tuple[int, int], tuple[np.ndarray, int, int]]


@pytest.fixture(scope="module")
def batch() -> Batch:
    return pack(samples("taught", low=3, high=10, asked=6), rows=12, length=LENGTH)


def shown(batch: Batch) -> Shown:
    """(row, index) of every visual token → its page's cells, its first line, its first column."""
    where = {}
    for cells, places in zip(batch.cells, batch.places, strict=True):
        tokens = cells.shape[1] // 2 * TOKEN_COLUMNS
        for number, flat in enumerate(places.tolist()):
            page, token = divmod(number, tokens)
            line, column = token // TOKEN_COLUMNS * 2, token % TOKEN_COLUMNS * 4
            where[flat // LENGTH, flat % LENGTH] = (cells[page], line, column)
    return where


def met(tokens: Shown, batch: Batch, row: int, index: int) -> tuple[np.ndarray, int, int]:
    """The page, line and column where a located character stands."""
    cells, line, column = tokens[row, batch.located[row, index]]
    finder = batch.finder[row, index]
    return cells, line + finder // 3, column + finder % 3


def test_a_pointer_names_the_cell_of_the_next_character(batch: Batch) -> None:
    tokens = shown(batch)
    pointed = np.argwhere(batch.pointer != IGNORE)
    assert len(pointed) > 200
    for row, index in pointed:
        cells, line, column = tokens[row, batch.pointer[row, index]]
        slot = batch.slot[row, index]
        assert cells[line + slot // 4, column + slot % 4] == batch.target[row, index]


def test_a_finder_sees_the_four_characters_just_written(batch: Batch) -> None:
    tokens = shown(batch)
    found = np.argwhere(batch.finder >= 0)
    assert len(found) > 200
    for row, index in found:
        cells, line, column = met(tokens, batch, row, index)
        there = v.decode(cells[line, column - 3 : column + 1].tolist())
        assert there.lower() == v.decode(batch.tokens[row, index - 3 : index + 1].tolist()).lower()
    nowhere = (batch.finder < 0) & (batch.located != IGNORE)
    assert nowhere.sum() > 200
    assert (batch.located[nowhere] == batch.sink[nowhere]).all()


def test_a_key_stands_in_the_answers_line_or_above(batch: Batch) -> None:
    keyed = np.argwhere(batch.keyed != IGNORE)
    assert len(keyed) > 200
    tokens = shown(batch)
    for row, index in keyed:
        cells, line, _ = met(tokens, batch, row, batch.keyed[row, index])
        page, first, _ = tokens[row, batch.anchor[row, index]]
        assert (page == cells).all()
        assert first - 1 <= line <= first + 1


def test_a_heading_stands_above_the_answer_and_as_far_right(batch: Batch) -> None:
    headed = np.argwhere(batch.above != IGNORE)
    assert len(headed) > 20
    tokens = shown(batch)
    for row, index in headed:
        cells, line, column = met(tokens, batch, row, batch.above[row, index])
        page, first, left = tokens[row, batch.anchor[row, index]]
        assert (page == cells).all()
        assert line < first + 2
        assert abs(column - left) < BESIDE + 4


def test_a_visual_token_is_told_its_page_by_a_share_of_looks() -> None:
    long = samples("told", low=10, high=14, asked=2, max_pages=3)
    many = [pack(long, rows=4, length=768) for _ in range(8)]
    looks: dict[int, list[bool]] = {}
    for batch in many:
        goals = told_page(batch).numpy()
        opening, page = 0, 0
        for row, index in np.ndindex(batch.tokens.shape):
            token, goal = batch.tokens[row, index], goals[row, index]
            if index == batch.sink[row, index]:
                page = -1
            if token == v.PAGE_OPEN:
                opening, page = index, page + 1
            elif token == v.IMAGE:
                assert goal in (opening, batch.sink[row, index])
                looks.setdefault(page, []).append(goal == opening)
    assert set(looks) == {0, 1, 2}
    for page, at_opening in looks.items():
        assert len(at_opening) > 500
        assert abs(np.mean(at_opening) - page / PAGES_TOLD) < 0.05


def test_ideal_tokens_tell_their_place() -> None:
    oracle = Oracle(384)
    places = oracle.places(5).view(5, TOKEN_COLUMNS, -1)
    row = (places @ oracle.rows.T).argmax(-1)
    column = (places @ oracle.columns.T).argmax(-1)
    assert (row == torch.arange(5)[:, None]).all()
    assert (column == torch.arange(TOKEN_COLUMNS)).all()
    ideal = oracle(torch.full((1, 10, 64), v.SPACE))
    assert oracle.misplaced(ideal, ideal) == 0
    assert oracle.misplaced(ideal.roll(1, 0), ideal) > 0.1
