"""The compiled loops and the numpy ones draw the same pages, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glyph_worker.render.fonts.glyphs import Pictures
from glyph_worker.render.loops.blit import NUMPY, PHASES, STEP, fastest
from glyph_worker.render.out.raster import draw
from glyph_worker.render.pages.flow import Flow
from glyph_worker.render.paginate import layout_of, paginate
from glyph_worker.render.style.presets import preset_style
from glyph_worker.render.style.style import Style

needs_numba = pytest.mark.skipif(fastest() is NUMPY, reason="numba is not installed")


@needs_numba
@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 0, 76, 255]))
def test_blits_agree_even_over_edges_and_each_other(seed: int, ink: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(4, 40, 2))
    store = Pictures()
    for _ in range(5):
        rows, columns = (int(side) for side in rng.integers(0, 20, 2))
        coverage = rng.integers(0, 256, (rows, columns), np.uint8) * rng.integers(0, 2)
        store.add(coverage.astype(np.uint8), int(rng.integers(-5, 5)), int(rng.integers(-9, 3)))
    count = int(rng.integers(0, 40))
    pictures = rng.integers(0, 5, count).astype(np.int32)
    xs = rng.integers(-25, width + 9, count).astype(np.int32)
    ys = rng.integers(-25, height + 9, count).astype(np.int32)
    start = np.full(height * width + STEP, 255, np.uint8)
    start[: height * width] = rng.choice([255, 255, 200, 0], height * width)
    pages = []
    for blit in (NUMPY.blit, fastest().blit):
        flat = start.copy()
        blit(flat, height, width, pictures, xs, ys, store.box, store.coverage, ink)
        pages.append(flat[: height * width])
    assert np.array_equal(*pages)


@needs_numba
@settings(deadline=None)
@given(
    st.lists(st.integers(0, 30), max_size=12), st.integers(0, 2**32 - 1), st.sampled_from([1, 4])
)
def test_places_agree(counts: list[int], seed: int, phases: int) -> None:
    rng = np.random.default_rng(seed)
    num, lines = sum(counts), np.array(counts, np.int64)
    slot_of = rng.permutation(np.arange(-1, 300, dtype=np.int32))
    codes = rng.integers(0, len(slot_of), num).astype(np.uint32)
    spaces = rng.uniform(-1, 1, len(counts)) * rng.integers(0, 2)
    looked_up = (codes, slot_of, rng.uniform(-3, 12, 300), lines, spaces, 7)
    slots, steps = NUMPY.step(*looked_up)
    for ours, theirs in zip((slots, steps), fastest().step(*looked_up), strict=True):
        assert np.array_equal(ours, theirs)
    known = np.maximum(slots, 0)
    lefts, rows = rng.uniform(0, 500, len(counts)), rng.integers(0, 800, len(counts))
    picture_of = rng.integers(-1, 50, 300 * PHASES).astype(np.int32)
    places = (known, steps, lines, lefts, rows.astype(np.int32), 96 / 72, 16 * 96 / 72, phases)
    both = (loops.place(*places, picture_of) for loops in (NUMPY, fastest()))
    for ours, theirs in zip(*both, strict=True):
        assert np.array_equal(ours, theirs)


@needs_numba
@given(st.integers(0, 2**32 - 1), st.integers(1, 130), st.sampled_from([0, 1, 5, 400]))
def test_the_last_inked_column_is_found(seed: int, width: int, num_inked: int) -> None:
    rng = np.random.default_rng(seed)
    page = rng.integers(250, 256, (20, width)).astype(np.uint8)
    page.ravel()[rng.integers(0, page.size, num_inked)] = 249
    inked = np.flatnonzero((page < 250).any(axis=0))
    for loops in (NUMPY, fastest()):
        assert loops.last_column(page, 250) == (inked[-1] if len(inked) else -1)


WORDS = st.lists(
    st.one_of(
        st.text("abcdefgWMil.,&<é—", min_size=1, max_size=12),
        st.text("iW", min_size=60, max_size=300),
        st.sampled_from([" ", "  ", "\n", "\n\n", "\t", "中文", "   "]),
    ),
    max_size=120,
)


@needs_numba
@settings(deadline=None, max_examples=80)
@given(WORDS, st.sampled_from(["LEFT", "JUSTIFY"]), st.sampled_from(["flow", "exact"]))
def test_bulk_wrapping_gives_the_lines_of_the_plain_one(
    words: list[str], alignment: str, kind: str
) -> None:
    text = " ".join(words)
    style = Style(page_size=(300, 400), alignment=alignment, layout=kind)
    compiled = [laid.lines for laid in paginate(text, style)]
    fast = fastest
    with pytest.MonkeyPatch.context() as patch:
        for place in ("measure", "wrap"):
            patch.setattr(f"glyph_worker.render.lines.{place}.fastest", lambda: NUMPY)
        plain = [laid.lines for laid in paginate(text, style)]
    assert fast() is not NUMPY
    assert [
        (line.start, line.end, line.shown, line.ends_paragraph)
        for page in compiled
        for line in page
    ] == [
        (line.start, line.end, line.shown, line.ends_paragraph) for page in plain for line in page
    ]
    for ours, theirs in zip(compiled, plain, strict=True):
        for line, other in zip(ours, theirs, strict=True):
            assert line.word_space == pytest.approx(other.word_space, abs=1e-9)


@pytest.mark.parametrize("alignment", ["LEFT", "JUSTIFY", "CENTER", "RIGHT"])
@pytest.mark.parametrize("kind", ["flow", "exact"])
def test_lines_set_in_bulk_are_those_set_alone(alignment: str, kind: str) -> None:
    text = "天刚亮，村口的老槐树（很老）下就聚了七八个人。拄着 walking stick 慢慢地  走\n\n" * 9
    text += "甲方，" * 70 + "\n \n\u3000首行\t缩进 \n" * 40 + "e\u0301nd of it\n"
    style = Style(page_size=(160, 400), alignment=alignment, layout=kind)
    in_bulk = [line for laid in paginate(text, style) for line in laid.lines]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("glyph_worker.render.lines.measure.BLOCK", -1)  # each is too long
        alone = [line for laid in paginate(text, style) for line in laid.lines]
    assert len(in_bulk) > 150
    for ours, other in zip(in_bulk, alone, strict=True):
        assert ours._replace(left=0, offsets=None) == other._replace(left=0, offsets=None)
        assert ours.left == pytest.approx(other.left, abs=1e-9)
        own, others = (
            [line.offset_of(at) for at in range(len(line.shown))] for line in (ours, other)
        )
        assert own == others


@needs_numba
def test_pages_are_the_same_without_numba() -> None:
    style = preset_style("balanced")
    address = "see https://example.com/" + "/".join(map(str, range(40)))
    text = "The quick brown fox, naïve; 中文 and   gaps.\n" * 40 + "שלום עולם\n"
    text += f"Of words and an address: {address[:60]}\n{address}\n" * 20
    layout = layout_of(style)
    assert isinstance(layout, Flow)
    compiled = [draw(laid) for laid in paginate(text, style)]
    with pytest.MonkeyPatch.context() as patch:
        for place in ("lines.measure", "lines.wrap", "lines.set_runs", "pages.draw_lines"):
            patch.setattr(f"glyph_worker.render.{place}.fastest", lambda: NUMPY)
        plain = [draw(laid) for laid in paginate(text, style)]
    assert len(compiled) == len(plain)
    for ours, theirs in zip(compiled, plain, strict=True):
        assert np.array_equal(ours, theirs)
