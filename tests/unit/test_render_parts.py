"""Several documents in one: each is laid out as if it stood alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glyph_worker.document import PART_END
from glyph_worker.render.out.raster import draw
from glyph_worker.render.pages.pagemap import locate
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style

NANO = preset_style("nano")
PARTS = st.lists(st.text(alphabet="ab é漢\n\t", max_size=400), min_size=1, max_size=5)


@given(PARTS)
def test_parts_have_the_pages_that_they_have_alone_and_tile_the_text(parts: list[str]) -> None:
    text = PART_END.join(parts)
    together = list(paginate(text, NANO))
    alone = [laid.page.digest for part in parts for laid in paginate(part, NANO)]
    assert [laid.page.digest for laid in together] == alone
    assert [laid.page.index for laid in together] == list(range(len(together)))
    if together:
        pages = [laid.page for laid in together]
        assert [page.start for page in pages] == [0, *(page.end for page in pages[:-1])]
        assert pages[-1].end == len(text)
        lines = [line for laid in together for line in laid.lines]
        assert [line.start for line in lines] == [0, *(line.end for line in lines[:-1])]
        assert lines[-1].end == len(text)


@pytest.mark.parametrize("name", ["nano", "balanced", "fast-cjk", "reference"])
def test_a_character_of_a_later_part_is_drawn_where_it_would_be_alone(name: str) -> None:
    style = preset_style(name)
    parts = ["", "first document\n" * 70, "total due: 12.50 EUR\nпривет 漢字\n"]
    together = list(paginate(PART_END.join(parts), style))
    alone = list(paginate(parts[2], style))
    assert [laid.page.digest for laid in together[-len(alone) :]] == [p.page.digest for p in alone]
    assert (draw(together[-1]) == draw(alone[-1])).all()
    at = parts[2].index("12.50")
    shift = sum(map(len, parts[:2])) + 2
    [here] = locate(together, at + shift, at + shift + 5)
    [there] = locate(alone, at, at + 5)
    assert (here.left, here.top, here.right, here.bottom) == (
        there.left, there.top, there.right, there.bottom,
    )  # fmt: skip
