"""Forms: what is run on, joined, lined up; marks that pixels tell; pages as wide as their lines."""

from __future__ import annotations

import itertools
import random
import re
import time
import tracemalloc

import numpy as np
import pytest

from glyph_worker.render.fonts import marks
from glyph_worker.render.lines.forms import CELLS, RUN, TABLE, blocks
from glyph_worker.render.lines.typeset import source_lines
from glyph_worker.render.out.raster import draw
from glyph_worker.render.pages.page import LaidPage
from glyph_worker.render.pages.pagemap import locate, positions
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import PRESETS
from glyph_worker.render.style.style import Style

FLOW = sorted(name for name, style in PRESETS.items() if style.layout == "flow")
TABS = "Name\tQty\tPrice\nApples\t12\t3.50\nWatermelons, seedless\t1\t12.99\nPears\t3\t0.80\n"
BOX = """\
┌─────────┬──────────┐
│ Name    │ Value    │
├─────────┼──────────┤
│ 日本    │ 3        │
└─────────┴──────────┘
"""
WRAPPED = """\
This is a paragraph that somebody wrapped by hand at some sixty
columns, so that its line ends mean nothing at all and can go; it
has three lines and a bit of text in the last.
"""
CODE = """\
def area(width, height):
    if width < 0:
        raise ValueError(width)

    return width * height
"""


def kinds(text: str) -> list[tuple[str, int, int]]:
    """Form, number of lines and number of joined lines of every block."""
    found = blocks(text, source_lines(text), by_content=True)
    return [(block.kind, len(block.sources), len(block.joined)) for block in found]


def only_page(text: str, style: Style) -> LaidPage:
    (page,) = paginate(text, style)
    return page


@pytest.mark.parametrize("name", FLOW)
def test_tabbed_columns_start_at_one_place(name: str) -> None:
    page = only_page(TABS, PRESETS[name])
    lefts = []
    for index, line in enumerate(page.lines):
        edges = positions(page, index)
        cells = re.finditer("[^\t\n]+", TABS[line.start : line.end])
        lefts.append([edges[line.start + cell.start()][0] for cell in cells])
    assert len(lefts) == 4
    for column in (0,):
        assert len({row[column] for row in lefts}) == 1
    rights = [positions(page, i)[line.end - 2][1] for i, line in enumerate(page.lines[1:], 1)]
    assert max(rights) - min(rights) < 1e-6  # figures end at one place
    assert min(row[1] for row in lefts) > max(
        edge[1] for i, line in enumerate(page.lines) for offset, edge in positions(page, i).items()
        if offset < line.start + TABS[line.start :].index("\t")
    )  # fmt: skip


@pytest.mark.parametrize("name", FLOW)
def test_the_sides_of_a_box_stand_above_each_other(name: str) -> None:
    page = only_page("Before.\n" + BOX + "After.\n", PRESETS[name])
    text = "Before.\n" + BOX + "After.\n"
    columns = []
    for index, line in enumerate(page.lines):
        if line.mono:
            edges = positions(page, index)
            columns.append(
                [
                    round(edges[at][0], 6)
                    for at in range(line.start, line.end)
                    if text[at] in "┌┬┐│├┼┤└┴┘"
                ]
            )
    assert len(columns) == 5
    assert all(column == columns[0] for column in columns)


def test_a_box_has_no_gap_between_its_rows() -> None:
    page = only_page(BOX, PRESETS["balanced"])
    pixels = draw(page)
    left = positions(page, 0)[0][0]
    side = pixels[11:48, int(left) : int(left) + 6].min(axis=1)
    assert (side < 160).all()


def test_forms_are_chosen_by_content() -> None:
    assert kinds(WRAPPED) == [(RUN, 3, 2)]
    assert kinds(CODE) == [(RUN, 5, 0)]
    assert kinds(TABS) == [(TABLE, 4, 0)]
    assert kinds(BOX) == [(CELLS, 5, 0)]
    assert kinds("| a | b |\n|---|--:|\n| c | d |\n") == [(TABLE, 3, 0)]
    assert kinds("PID   USER\n1     root\n4312  ana\n") == [(TABLE, 3, 0)]
    assert kinds("#   a note about\n#   what is below\n#   in this file\n") == [(RUN, 3, 0)]
    assert kinds("- one thing to do now and later today and then\n- another thing to do\n") == [
        (RUN, 2, 0)
    ]
    assert kinds("import os\nimport sys\nimport textwrap\n") == [(RUN, 3, 0)]


def test_lines_of_a_log_that_happen_to_have_gaps_are_no_table() -> None:
    rng = random.Random(4)
    levels = ["INFO "] * 12 + [rng.choice(("INFO ", "DEBUG")) for _ in range(40)] + ["DEBUG"] * 20
    log = "".join(f"2026-11-01T10:00:{n:02d}Z {one} [db] retry\n" for n, one in enumerate(levels))
    assert kinds(log)
    assert all(kind == RUN for kind, _, _ in kinds(log))


GRID = """\
+----------------------------------------------------------+-----------------------------+
| Operator                                                 | Description                 |
|==========================================================|=============================|
| "|"                                                      | Bitwise OR                  |
+----------------------------------------------------------+-----------------------------+
"""


def test_a_grid_is_cut_at_its_crosses_and_its_rules_are_short() -> None:
    page = only_page(GRID, PRESETS["balanced"])
    end = marks.LINE_END
    assert [line.shown for line in page.lines] == [
        f"+---- +---- +{end}",
        f"| Operator | Description |{end}",
        f"|==== |==== |{end}",
        f'| "|" | Bitwise OR |{end}',
        f"+---- +---- +{end}",
    ]
    assert "".join(GRID[line.start : line.end] for line in page.lines) == GRID
    lefts = {
        tuple(page.layout.boxes(page, at)[[0, line.shown.rindex(end) - 1], 0].round(3))
        for at, line in enumerate(page.lines)
    }
    assert len(lefts) == 1


def test_a_short_rule_keeps_the_colon_that_aligns_its_column() -> None:
    page = only_page("| a | b |\n|-----------:|:---|\n| 1 | 2 |\n", PRESETS["balanced"])
    assert page.lines[1].shown == f"|---:|:---|{marks.LINE_END}"
    offsets = [page.lines[1].offset_of(at) for at in (3, 4)]
    assert offsets == [10 + 3, 10 + 12]


def test_blocks_tile_the_text() -> None:
    text = (WRAPPED + "\n" + CODE + TABS + "\n\n" + BOX + "x\n") * 40
    ends = [0]
    for block in blocks(text, source_lines(text), by_content=True):
        assert block.sources[0].start == ends[-1]
        assert all(a.after == b.start for a, b in itertools.pairwise(block.sources))
        ends.append(block.sources[-1].after)
    assert ends[-1] == len(text)


def test_a_joined_paragraph_has_no_mark_but_its_last() -> None:
    page = only_page(WRAPPED, PRESETS["balanced"])
    shown = "".join(line.shown for line in page.lines)
    assert shown.count(marks.LINE_END) == 1
    assert shown.endswith(marks.LINE_END)


def test_marks_count_lines_and_their_indentation() -> None:
    page = only_page(CODE + "\tx\n", PRESETS["balanced"])
    shown = "".join(line.shown for line in page.lines)
    end, four = marks.LINE_END, marks.FOUR
    assert shown == (
        f"def area(width, height):{end} {four}if width < 0:{end} {four}{four}raise "
        f"ValueError(width){end}{end} {four}return width * height{end} {marks.TAB}x{end}"
    )


def rectangles(pixels: np.ndarray) -> int:
    """How many marks stand on a page, told from the level of gray alone."""
    gray = np.pad(pixels == marks.GRAY, 1)
    square = gray[1:-1, 1:-1] & gray[2:, 1:-1] & gray[1:-1, 2:] & gray[2:, 2:]
    return int((square & ~gray[:-2, 1:-1] & ~gray[1:-1, :-2]).sum())


def test_the_pixels_tell_every_line_end_and_indentation() -> None:
    source = "".join(
        f"{'    ' * (n % 5)}{'  ' * (n % 2)}value_{n} = [{n}, 'Qg|_y' * {n}]\n" for n in range(300)
    )
    for page in paginate(source, PRESETS["balanced"]):
        wanted = sum(len(marks.ANY_MARK.findall(line.shown)) for line in page.lines)
        assert rectangles(draw(page)) == wanted > 50


def test_text_cannot_bring_marks_of_its_own() -> None:
    page = only_page("a\x01b\x02c\x03d\x04e", PRESETS["balanced"])
    assert [line.shown for line in page.lines] == ["abcde"]


def test_pages_are_as_wide_as_their_lines() -> None:
    style = PRESETS["balanced"]
    assert only_page("short\n", style).page.width == 56
    for page in paginate("alpha beta gamma delta\n" * 400, style):
        assert page.page.width == style.page_width
    narrow = only_page("short\n", style)
    wide = next(paginate("short\n", style.with_(auto_crop_width=False)))
    assert np.array_equal(draw(narrow), draw(wide)[:, : narrow.page.width])


@pytest.mark.parametrize("name", ["balanced", "balanced-cjk"])
def test_every_word_is_where_the_map_says(name: str) -> None:
    text = (CODE + WRAPPED + TABS + "\n" + BOX + "中文测试，一二三。\n") * 3
    pages = list(paginate(text, PRESETS[name]))
    drawn = [draw(page) for page in pages]
    for match in re.finditer(r"\w+", text):
        for span in locate(pages, *match.span()):
            box = drawn[span.page][
                int(span.top) : int(span.bottom) + 1, int(span.left) : int(span.right) + 1
            ]
            assert box.min() < 128, match


def test_a_hidden_space_lies_behind_what_is_drawn_before_it() -> None:
    page = only_page("if x:\n        y\n", PRESETS["balanced"])
    edges = positions(page, 0)
    spans = [locate([page], at, at + 1)[0] for at in range(6, 14)]
    assert [span.left for span in spans] == sorted(span.left for span in spans)
    assert all(edges[5][1] <= span.left <= edges[14][0] for span in spans)


def test_an_edit_in_a_log_leaves_most_pages_as_they_were() -> None:
    rng = random.Random(8)
    lines = []
    for number in range(8_000):
        when = f"2026-03-{number // 400 + 1:02d} {number % 24:02d}:{number % 60:02d}"
        lines.append(f"{when} {rng.choice(('open', 'read'))} file-{rng.getrandbits(30):08x} ok")
    style = PRESETS["balanced"]

    def digests(parts: list[str]) -> list[str]:
        return [page.page.digest for page in paginate("\n".join(parts), style)]

    base = set(digests(lines))
    kept = []
    for _ in range(6):
        edited = list(lines)
        edited.insert(rng.randrange(len(lines)), "a line that was not there before")
        new = digests(edited)
        kept.append(sum(one in base for one in new) / len(new))
    assert sum(kept) / len(kept) > 0.9


@pytest.mark.parametrize("unit", [TABS, BOX, CODE, "  a  b\n", "| x |\n", "\tq\n", "a  b  c\n"])
def test_a_long_text_of_any_form_takes_linear_time(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    begin = time.process_time()
    end = 0
    for page in paginate(text, PRESETS["balanced"]):
        assert page.page.start == end
        end = page.page.end
    assert end == len(text)
    assert time.process_time() - begin < 60  # seconds of this process; quadratic would take hours


@pytest.mark.parametrize("end", ["", "中"], ids=["by words", "by characters"])
def test_a_long_line_takes_few_bytes_a_character(end: str) -> None:
    line = "lorem ipsum " * 20_000 + end
    style = PRESETS["balanced"]
    assert sum(1 for _ in paginate(line[-200:], style)) == 1  # what is loaded stays loaded
    tracemalloc.start()
    try:
        assert sum(1 for _ in paginate(line, style)) > 10
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40 * len(line)


def test_an_address_begins_where_the_words_before_it_end() -> None:
    address = "https://example.com/" + "/".join(map(str, range(20)))
    text = f"{'word ' * 12}{address} {'word ' * 200}"
    (page,) = paginate(text, PRESETS["balanced"])
    first, second = page.lines[:2]
    assert first.shown.startswith("word ")
    head = first.shown.rsplit(" ", 1)[-1]
    assert address.startswith(head)
    assert head + second.shown.split(" ", 1)[0] == address
    assert page.layout.reach([first]) > 0.9 * page.layout.reach(list(page.lines))


def test_a_long_line_that_ends_in_a_tab_takes_linear_time() -> None:
    line = "x" * 400_000 + "\t"
    begin = time.process_time()
    (block,) = blocks(line, source_lines(line), by_content=True)
    assert block.kind == RUN
    assert time.process_time() - begin < 5  # of this process; quadratic takes minutes


def test_a_tab_between_words_makes_a_table_and_one_between_tabs_and_spaces_does_not() -> None:
    kinds = {}
    for line in ("a\tb", "a \t\t b", "a\t \tb", "\ta", "a\t", "a b"):
        text = f"{line}\n" * 4
        (block,) = blocks(text, source_lines(text), by_content=True)
        kinds[line] = block.kind
    assert [line for line, kind in kinds.items() if kind == TABLE] == ["a\tb", "a \t\t b"]
