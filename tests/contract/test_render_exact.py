"""`layout: exact` against the real thing: reportlab and poppler, page by page, pixel by pixel."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench import render_corpus as corpus
from bench import reportlab_reference as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from glyph_worker.render.fonts.fontfile import FOLDER
from glyph_worker.render.out.raster import draw
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.style import Style

ROOT = Path(__file__).parents[2]
SANS, MICROHEI = str(FOLDER / "DejaVuSans.ttf"), str(FOLDER / "wqy-microhei.ttc")
MARKER = '<font color="#FF0000"> \\n </font>'
CONFIG: dict[str, Any] = {
    "page-size": "595,842",
    "dpi": 72,
    "margin-x": 10,
    "margin-y": 10,
    "font-path": SANS,
    "font-size": 9,
    "line-height": 10,
    "alignment": "LEFT",
    "auto-crop-width": True,
    "auto-crop-last-page": True,
}

if shutil.which("pdftoppm") is None and os.environ.get("CI", "").lower() != "true":
    pytest.skip("pdftoppm is not installed (apt install poppler-utils)", allow_module_level=True)


LATIN = corpus.english(40_000, seed=3)


def differences(text: str, config: dict[str, Any]) -> list[tuple[int, float]]:
    """Per page, largest difference in levels and share of pixels that differ."""
    theirs = [reference.gray(page) for page in reference.pages(text, config)]
    ours = [draw(laid) for laid in paginate(text, Style.from_json(config))]
    assert [page.shape for page in ours] == [page.shape for page in theirs]
    found = []
    for one, two in zip(ours, theirs, strict=True):
        apart = np.abs(one.astype(np.int16) - two)
        found.append((int(apart.max()), float((apart > 0).mean())))
    return found


def assert_equal(text: str, **changes: Any) -> None:
    config = CONFIG | changes
    assert all(largest == 0 for largest, _ in differences(text, config)), changes


@pytest.mark.parametrize("dpi", [72, 96])
@pytest.mark.parametrize("markup", ["<br/>", MARKER, MARKER + "<br/>"])
def test_latin_pages_are_equal(dpi: int, markup: str) -> None:
    assert_equal(LATIN, **{"dpi": dpi, "newline-markup": markup})


@pytest.mark.parametrize("dpi", [72, 96])
@pytest.mark.parametrize("markup", ["<br/>", MARKER])
def test_a_chinese_page_is_equal(dpi: int, markup: str) -> None:
    text = corpus.chinese(1500, seed=4)
    assert_equal(text, **{"dpi": dpi, "font-path": MICROHEI, "newline-markup": markup})
    assert_equal(text.replace("\n", ""), **{"dpi": dpi, "font-path": MICROHEI})


@pytest.mark.parametrize(
    "head", [" ", "   ", "\t", "\u3000\u3000", " \u3000  ", "\u00a0", "\u2003"]
)
@pytest.mark.parametrize("markup", ["<br/>", MARKER])
def test_white_space_around_paragraphs_is_stripped_alike(head: str, markup: str) -> None:
    chinese = corpus.chinese(300, seed=5).replace("\n", "\n" + head)
    assert_equal(head + chinese, **{"font-path": MICROHEI, "newline-markup": markup})
    latin = "\n".join(head + "Indented by one thing or another." for _ in range(70))
    if head.isascii():  # the others are not in the font
        assert_equal(latin + head, **{"newline-markup": markup})


@pytest.mark.parametrize(
    "changes",
    [
        {"alignment": "JUSTIFY"},
        {"first-line-indent": 20, "left-indent": 13.5, "right-indent": 7},
        {"space-before": 5, "space-after": 3},
        {"font-color": "#336699", "page-bg-color": "#EEEEDD", "para-bg-color": "#FFEEFF"},
        {"horizontal-scale": 0.8},
        {"border-width": 1, "border-padding": 2, "para-border-color": "#000000"},
        {"font-size": 10, "line-height": 12, "dpi": 96},
        {"font-size": 10.5, "line-height": None},
        {"font-size": 8, "line-height": 9, "dpi": 150},
        {"font-size": 30, "line-height": 33, "dpi": 96},
        {"auto-crop-width": False, "auto-crop-last-page": False},
        {"page-size": "200,150", "margin-x": 0, "margin-y": 3},
    ],
    ids=lambda changes: ",".join(changes),
)
def test_variants_are_equal(changes: dict[str, Any]) -> None:
    assert_equal(LATIN[:12_000], **changes)


@pytest.mark.parametrize("alignment", ["CENTER", "RIGHT"])
def test_centred_and_right_lines_differ_by_a_quarter_pixel_at_most(alignment: str) -> None:
    # Their pens rest on rounded text moves: some lines fall on another quarter pixel.
    for largest, share in differences(LATIN, CONFIG | {"alignment": alignment}):
        assert largest <= 100
        assert share < 0.005


@pytest.mark.parametrize("num_lines", [1, 30, 81, 90])
@pytest.mark.parametrize("tail", ["", "\n", "\n ", "\n\n", "\n\n\n"])
def test_blank_ends_leave_their_faint_traces(num_lines: int, tail: str) -> None:
    text = "\n".join(["jgpqy,; Qç"] * num_lines) + tail
    for dpi in (72, 96):
        assert_equal(text, dpi=dpi)


def test_defaults_of_the_script_are_equal() -> None:
    config = {"font-path": SANS}
    assert all(largest == 0 for largest, _ in differences(LATIN[:20_000], config))


LINES = st.lists(
    st.one_of(
        st.text("abcdefghijklmnopqrstuvwxyz ABCXYZ.,;:!?'\"()&<>-\\é—“”0123456789", max_size=150),
        st.text("mWi&<", min_size=1, max_size=400),
        st.sampled_from(
            ["", "", "  two  spaces   three", " one", "tab\tand \t tab", "trail  ", " "]
        ),
    ),
    max_size=100,
)


@settings(deadline=None, max_examples=25)
@given(
    LINES,
    st.sampled_from([72, 96]),
    st.sampled_from(["<br/>", MARKER]),
    st.sampled_from(["LEFT", "JUSTIFY"]),
    st.sampled_from([8, 9, 12]),
)
def test_random_documents_are_equal(
    lines: list[str], dpi: int, markup: str, alignment: str, size: int
) -> None:
    text = "x" + "\n".join(lines)
    changes = {"dpi": dpi, "newline-markup": markup, "alignment": alignment}
    assert_equal(text, **changes, **{"font-size": size, "line-height": size + 1})


def test_pages_break_at_the_same_lines_after_many_splits() -> None:
    rng = random.Random(6)
    text = "\n".join("w " * rng.randint(0, 400) for _ in range(400))
    assert_equal(text, **{"page-size": "300,120"})
