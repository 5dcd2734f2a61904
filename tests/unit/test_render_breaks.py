"""Page breaks over made-up lines: pages tile the lines, and cuts find back into step."""

from __future__ import annotations

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from glyph_worker.render.lines.line import Line
from glyph_worker.render.pages.breaks import greedy_pages, section_pages, windowed_pages

HEIGHTS = [28 * -(-(32 + 10 * count) // 28) for count in range(81)]


def lines_of(texts: list[str]) -> list[Line]:
    return [Line(at, at + 1, text, ends_paragraph=True) for at, text in enumerate(texts)]


@given(st.lists(st.sampled_from(["", "a", "b", "c", "}"]), max_size=400), st.integers(1, 80))
def test_pages_tile_the_lines_and_none_is_too_long(texts: list[str], most: int) -> None:
    lines = lines_of(texts)
    for pages in (
        greedy_pages(lines, most),
        section_pages(lines, min_lines=0, heights=HEIGHTS[: most + 1]),
        section_pages(lines, min_lines=200, heights=HEIGHTS[: most + 1]),
        windowed_pages(lines, min_lines=most // 2 or 1, spare=[0.0] * (most + 1)),
    ):
        found = list(pages)
        assert list(itertools.chain.from_iterable(found)) == lines
        assert all(0 < len(page) <= most for page in found)


def test_sections_are_long_enough_and_start_with_full_pages() -> None:
    rng = random.Random(1)
    lines = lines_of([str(rng.random()) for _ in range(5000)])
    pages = list(section_pages(lines, min_lines=60, heights=HEIGHTS))
    sizes = [len(page) for page in pages]
    # 78 lines fill 29 strips of visual tokens but for the margins; 80 do not fill the thirtieth.
    assert sizes.count(78) > len(sizes) / 3
    pairs = list(itertools.pairwise(sizes))[:-1]  # the document may end anywhere
    assert all(one >= 60 or before >= 78 for before, one in pairs)


def test_cuts_are_back_in_step_soon_after_an_insertion() -> None:
    rng = random.Random(2)
    lines = lines_of([str(rng.random()) for _ in range(2800)])
    base = {tuple(page) for page in section_pages(lines, min_lines=0, heights=HEIGHTS)}
    shares = []
    for _ in range(60):
        at = rng.randrange(len(lines))
        new = lines_of([str(rng.random()) for _ in range(rng.randint(1, 20))])
        edited = list(section_pages(lines[:at] + new + lines[at:], min_lines=0, heights=HEIGHTS))
        shares.append(sum(tuple(page) in base for page in edited) / len(edited))
    assert sum(shares) / len(shares) > 0.93


def test_rows_wrapped_anew_move_no_cut_below_their_block() -> None:
    rng = random.Random(3)

    def rows(count: int) -> list[Line]:
        texts = [str(rng.random()) for _ in range(count)]
        return [Line(0, 1, text, ends_paragraph=text is texts[-1]) for text in texts]

    blocks = [rows(rng.randint(10, 50)) for _ in range(100)]

    def pages_of(parts: list[list[Line]]) -> list[tuple[Line, ...]]:
        whole = itertools.chain.from_iterable(parts)
        return [tuple(page) for page in section_pages(whole, min_lines=0, heights=HEIGHTS)]

    base = set(pages_of(blocks))
    shares = []
    for _ in range(40):
        edited = list(blocks)
        for _ in range(5):
            at = rng.randrange(len(edited))
            kept = rng.randrange(1, len(blocks[at]))
            edited[at] = blocks[at][:kept] + rows(len(blocks[at]) - kept + rng.randint(-1, 1) or 1)
        pages = pages_of(edited)
        shares.append(sum(page in base for page in pages) / len(pages))
    assert sum(shares) / len(shares) > 0.82


def test_lines_all_alike_make_full_pages() -> None:
    pages = list(section_pages(lines_of(["same"] * 4000), min_lines=0, heights=HEIGHTS))
    assert len(pages) < 1.25 * 4000 / 78
