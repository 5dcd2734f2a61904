"""Text to pages: nothing lost, digests that tell the truth, breaks that survive edits."""

from __future__ import annotations

import hashlib
import itertools
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glyph_worker.errors import InvalidOption
from glyph_worker.render.lines.normalize import normalize
from glyph_worker.render.out.raster import cell_atlas, draw
from glyph_worker.render.pages.pagemap import line_spans, locate
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style
from glyph_worker.render.style.style import Style

LAYOUTS = ("nano", "balanced", "reference", "balanced-cjk", "fast")
MARKER = '<font color="#FF0000"> \\n </font>'
SAMPLES = (
    "The quick brown fox.\n\n  indented, twice  spaced\tand tabbed\n" * 7,
    "中文段落，用来看看换行是否正确。English in it.\n" * 9,
    "שלום עולם 123 مرحبا بالعالم\nनमस्ते दुनिया\n",
    "\U0001f600\U0001f680 \U00013000 [U+0041]\n" + "x" * 3000 + "\n" + "é" * 200,
    "\n" * 200,
    "\u3000\u3000 cut \t\n" * 65 + " foo \u3000",
    "Name\tQty\nApples, red\t12\n\tin\n\n| a | b |\n|---|--:|\n| c d | 1 |\n\n\n┌──┐\n│ x│\n└──┘\n"
    * 9,
    "def f(x):\n    if x:\n        return  1\n\n\tpass\n" * 30,
)
MIXED = st.lists(
    st.one_of(
        st.text("abc XYZ.,\n\t-", max_size=30),
        st.text(st.characters(exclude_categories=()), max_size=12),
        st.sampled_from(
            [
                *("中文，测试。", "שלום ", "مرحبا", "नमस्ते", "\U0001f680", "  ", "\n\n", "a" * 99),
                *("a\tb\n", "| c | d |\n", "│ e │\n", "    f  g\n"),
                "the words of a line that is wrapped\n",
            ]
        ),
    ),
    max_size=25,
).map("".join)


def styles() -> list[Style]:
    exact = preset_style("reference")
    return [
        *(preset_style(name) for name in LAYOUTS),
        *(
            preset_style("balanced").with_(form=form, name=form)
            for form in ("lines", "marks", "auto")
        ),
        preset_style("balanced-cjk").with_(
            form="auto", page_size=(120, 100), margin_x=0, name="narrow"
        ),
        exact.with_(newline_markup=MARKER),
        exact.with_(newline_markup=MARKER + "<br/>", alignment="JUSTIFY"),
        exact.with_(page_size=(160.0, 60.0), first_line_indent=20, alignment="RIGHT"),
    ]


def check_document(text: str, style: Style) -> None:
    """Everything that must hold of any text in any style."""
    pages = paginate(text, style)
    laid = list(pages)
    whole = pages.normalized.text
    lines = [line for page in laid for line in page.lines]
    # The lines tile the normalised text, and so do the pages.
    at = 0
    for line in lines:
        assert line.start == at <= line.end
        at = line.end
    assert at == len(whole)
    assert [page.page.index for page in laid] == list(range(len(laid)))
    assert all(page.page.start == page.lines[0].start for page in laid)
    assert all(page.page.end == page.lines[-1].end for page in laid)
    # Whatever is not white space is drawn, as itself or as a counted escape.
    shown: set[int] = set()
    for line in lines:
        offsets = [line.offset_of(index) for index in range(len(line.shown))]
        assert all(line.start <= offset <= line.end for offset in offsets)
        assert offsets == sorted(offsets)
        shown.update(offsets)
        for char, offset in zip(line.shown, offsets, strict=True):
            source = whole[offset : offset + 1]
            assert char == source or source.isspace() or source in pages.report.missing_glyphs
    lost = [char for i, char in enumerate(whole) if i not in shown and not char.isspace()]
    assert not lost
    assert pages.report.num_pages == len(laid)
    assert pages.report.num_chars == len(whole)


@pytest.mark.parametrize("style", styles(), ids=lambda style: f"{style.name}-{style.alignment}")
@pytest.mark.parametrize(
    "text",
    SAMPLES,
    ids=["latin", "chinese", "complex", "escapes", "empty", "white", "tables", "code"],
)
def test_samples_lose_nothing(text: str, style: Style) -> None:
    check_document(text, style)


@settings(deadline=None, max_examples=150)
@given(MIXED, st.sampled_from(styles()))
def test_no_character_is_lost(text: str, style: Style) -> None:
    check_document(text, style)


@settings(deadline=None, max_examples=40)
@given(MIXED, st.sampled_from([preset_style(name) for name in LAYOUTS]))
def test_pixels_have_the_page_s_size_and_equal_digests_equal_pixels(
    text: str, style: Style
) -> None:
    first = [(laid.page, draw(laid)) for laid in paginate(text + "\n" + text, style)]
    by_digest: dict[str, np.ndarray] = {}
    for page, pixels in first:
        assert pixels.shape == (page.height, page.width)
        assert pixels.dtype == np.uint8
        assert np.array_equal(by_digest.setdefault(page.digest, pixels), pixels)


def test_digest_is_known_without_drawing_and_any_page_can_be_drawn_alone() -> None:
    text = SAMPLES[0] * 40
    for name in ("nano", "balanced"):
        style = preset_style(name)
        laid = list(paginate(text, style))
        again = {page.page.index: page for page in paginate(text, style)}
        middle = laid[len(laid) // 2]
        assert again[middle.page.index].page == middle.page
        assert np.array_equal(draw(again[middle.page.index]), draw(middle))


def test_empty_text_has_no_pages() -> None:
    assert list(paginate("", preset_style("nano"))) == []


# Pixels of known pages: equal on every machine, Python version and Pillow that we support.
GOLDEN = {
    "nano": "6c0d322d35faa9bbaf170c1279899e55ec2167086ff869756e6249f60b20cdf9",
    "balanced": "2eb053435672fcfff1e7a6bd0312e2bba536c5fe48a426f3e28518a955072a95",
    "reference": "29b50701c697b6d3c01f4cfde564240dc0e087db20e3ef96aa1fafc03fbe9ce4",
    "accurate-cjk": "fee276b3c00bec33d67b490532a810c7920d3c192c4d660e032893f1a8aea855",
}
GOLDEN_TEXT = (
    "Sphinx of black quartz, judge my vow: 0123456789! (naïve café — “quoted” …)\n"
    "中文测试，一二三。 Привет Ελληνικά  שלום مرحبا नमस्ते ไทย\n"
)


def golden_digest(name: str) -> str:
    sha = hashlib.sha256()
    for laid in paginate(GOLDEN_TEXT * 30, preset_style(name)):
        sha.update(draw(laid).tobytes())
        sha.update(laid.page.digest.encode())
    return sha.hexdigest()


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_pixels_and_digests_are_those_of_every_other_machine(name: str) -> None:
    assert golden_digest(name) == GOLDEN[name]


def test_digests_do_not_depend_on_the_process() -> None:
    program = (
        "from glyph_worker.render.paginate import paginate\n"
        "from glyph_worker.render.style.presets import preset_style\n"
        "for name in ('nano', 'balanced', 'reference'):\n"
        "    for laid in paginate('One, two.\\n' * 300, preset_style(name)):\n"
        "        print(laid.page.digest)\n"
    )
    out = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert out[0] == out[1] != b""


def test_threads_sharing_a_style_draw_the_same_pages() -> None:
    style = preset_style("balanced").with_(font_size=9.25)
    text = "".join(chr(code) for code in range(0x4E00, 0x5200)) + SAMPLES[0]

    def digest() -> str:
        return hashlib.sha256(
            b"".join(draw(laid).tobytes() for laid in paginate(text, style))
        ).hexdigest()

    with ThreadPoolExecutor(8) as pool:
        together = set(pool.map(lambda _: digest(), range(16)))
    assert len(together) == 1


@pytest.mark.parametrize("name", ["nano", "balanced"])
def test_an_edit_leaves_most_pages_as_they_were(name: str) -> None:
    rng = random.Random(5)
    words = ["".join(rng.choices("abcdefghij", k=rng.randint(2, 9))) for _ in range(500)]
    paragraphs = [" ".join(rng.choices(words, k=rng.randint(5, 120))) for _ in range(700)]
    style = preset_style(name)

    def digests(parts: list[str]) -> list[str]:
        return [laid.page.digest for laid in paginate("\n".join(parts), style)]

    base = set(digests(paragraphs))
    kept = []
    for _ in range(20):
        edited = list(paragraphs)
        where = rng.randrange(len(edited))
        edited[where : where + rng.randint(0, 2)] = ["An inserted paragraph. " * rng.randint(1, 9)]
        new = digests(edited)
        kept.append(sum(one in base for one in new) / len(new))
    assert sum(kept) / len(kept) > 0.9


def test_heights_are_whole_visual_tokens() -> None:
    for name in ("nano", "balanced", "fast", "accurate", "balanced-cjk"):
        for text in ("one line", SAMPLES[0], SAMPLES[1] * 8):
            for laid in paginate(text, preset_style(name)):
                assert laid.page.height % 28 == laid.page.width % 28 == 0


def test_right_to_left_lines_end_at_the_right_edge_and_never_beyond() -> None:
    for name in ("balanced", "accurate-cjk"):
        style = preset_style(name)
        edge = style.page_width - (style.margin_x + 6) * style.scale
        for laid in paginate("نص طويل نسبيا يجب أن يلتف إلى أكثر من سطر " * 30, style):
            for span in line_spans(laid):
                assert span.right == pytest.approx(edge, abs=0.01)
                assert span.left >= (style.margin_x + 6) * style.scale - 0.01


def test_cell_atlas_is_what_draw_puts_on_the_page() -> None:
    style = preset_style("nano")
    chars = "".join(map(chr, range(0x21, 0x7F))) + "éßЖω€"
    page = draw(next(paginate(chars, style)))
    atlas = cell_atlas(style, chars)
    assert atlas.shape == (len(chars), 14, 7)
    for index, cell in enumerate(atlas):
        row, column = divmod(index, 64)
        assert np.array_equal(page[14 * row : 14 * row + 14, 7 * column : 7 * column + 7], cell), (
            chars[index]
        )


def test_cell_atlas_refuses_what_has_no_single_cell() -> None:
    with pytest.raises(InvalidOption, match="2 cells"):
        cell_atlas(preset_style("nano"), "a中")
    with pytest.raises(InvalidOption, match="flow"):
        cell_atlas(preset_style("balanced"), "a")


@settings(deadline=None, max_examples=60)
@given(MIXED, st.integers(0, 400), st.integers(1, 60), st.sampled_from(styles()))
def test_map_leads_to_the_characters(text: str, start: int, size: int, style: Style) -> None:
    laid = list(paginate(text, style))
    whole = normalize(text).text
    end = min(start + size, len(whole))
    spans = locate(laid, start, end)
    assert "".join(whole[span.start : span.end] for span in spans) == whole[start:end]
    for span in spans:
        page = laid[span.page].page
        assert page.start <= span.start < span.end <= page.end
        assert span.left <= span.right
        assert span.top < span.bottom <= page.height + style.leading * style.scale


def test_spans_of_a_word_hold_its_ink() -> None:
    style = preset_style("nano")
    text = "alpha beta gamma\n" * 50
    laid = list(paginate(text, style))
    for start in (text.index("beta"), text.rindex("gamma")):
        (span,) = locate(laid, start, start + 4)
        pixels = draw(laid[span.page])
        box = pixels[int(span.top) : int(span.bottom), int(span.left) : int(span.right)]
        cells = cell_atlas(style, text[start : start + 4])
        assert np.array_equal(box, np.concatenate(list(cells), axis=1))


def test_line_spans_tile_the_page() -> None:
    for laid in paginate(SAMPLES[0] * 5, preset_style("balanced")):
        spans = list(line_spans(laid))
        assert spans[0].start == laid.page.start
        assert spans[-1].end == laid.page.end
        assert all(one.end == two.start for one, two in itertools.pairwise(spans))
        assert all(one.bottom <= two.bottom for one, two in itertools.pairwise(spans))


@pytest.mark.parametrize("name", ["nano", "balanced", "reference"])
def test_a_megabyte_without_a_space_takes_linear_time(name: str) -> None:
    style = preset_style(name)
    for text in ("x" * 1_000_000, " " * 1_000_000 + "x", "中" * 300_000, "\u0301" * 20_000):
        pages = paginate(text, style)
        last = None
        for laid in pages:
            last = laid
        assert last is not None
        assert last.page.end == len(pages.normalized.text)
