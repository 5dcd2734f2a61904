"""Pages brought as pictures keep their place among drawn ones, for models that read pictures; and
citations lie on them, as on a PDF's pages."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.made_pdfs import pdf_of, prose
from PIL import Image

from glyph_worker.document import Document, Sheet, WordPlace
from glyph_worker.errors import UnreadableDocument
from glyph_worker.evidence.sheets import SheetMap
from glyph_worker.intake.pdf import sheets_of_pdf
from glyph_worker.model.embedded import checkpoint_path
from glyph_worker.model.families.pages import PageShape, page_shape
from glyph_worker.proof import Citation
from glyph_worker.render.out.raster import draw
from glyph_worker.render.paginate import paginate
from glyph_worker.render.pictured import lay_out, picture_digest, picture_size, shows
from glyph_worker.render.style.presets import preset_style
from glyph_worker.worker.prover import Prover

STYLE = preset_style("nano")
SEES, OWN_ONLY = PageShape(), page_shape(checkpoint_path())


def png(pixels: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def scan(seed: int) -> bytes:
    return png(np.random.default_rng(seed).integers(0, 255, (280, 140), dtype=np.uint8))


def made(*parts: tuple[str, bytes], always: bool = False) -> Document:
    text, sheets = "", []
    for number, (own, picture) in enumerate(parts, start=1):
        sheets.append(
            Sheet(
                number=number, width=140, height=280, start=len(text), end=len(text) + len(own),
                picture=picture, always=always, by_ocr=bool(picture and own),
            )
        )  # fmt: skip
        text += own
    return Document.of_sheets(text, sheets, max_bytes=10**6, max_picture_bytes=10**6)


BEFORE = "".join(f"before, line {n}\n" for n in range(40))
AFTER = "after\n"


def test_a_picture_stands_where_it_was_among_drawn_pages() -> None:
    document = made((BEFORE, b""), ("read off\n", scan(1)), ("", scan(2)), (AFTER, b""))
    laid = list(lay_out(document, STYLE, SEES))
    pictures = [one for one in laid if not one.lines]
    assert [one.page.index for one in laid] == list(range(len(laid)))
    assert len(pictures) == 2
    assert laid[-1].lines, "what came after is after it"
    assert [one.page for one in laid[:-3]] == [one.page for one in paginate(BEFORE, STYLE)]
    assert laid[-1].page.digest == next(paginate(AFTER, STYLE)).page.digest
    spans = [(one.page.start, one.page.end) for one in laid]
    assert all(one[1] == two[0] for one, two in pairwise(spans))
    assert spans[-1][1] == len(document.text)
    first = pictures[0]
    assert document.text[first.page.start : first.page.end] == "read off\n"
    with Image.open(io.BytesIO(document.sheets[1].picture)) as shown:
        assert np.array_equal(draw(first), np.asarray(shown))


def test_a_reader_of_our_own_pages_is_drawn_the_text_instead() -> None:
    assert not OWN_ONLY.reads_pictures
    document = made((BEFORE, b""), ("read off\n", scan(1)))
    drawn = [one.page for one in lay_out(document, STYLE, OWN_ONLY)]
    assert drawn == [one.page for one in paginate(document.text, STYLE)]
    asked = made((BEFORE, b""), ("read off\n", scan(1)), always=True)
    assert not list(lay_out(asked, STYLE, OWN_ONLY))[-1].lines
    with pytest.raises(
        UnreadableDocument, match="pictures without text, and this model reads none"
    ):
        lay_out(made(("", scan(1))), STYLE, OWN_ONLY)


def test_a_picture_in_colour_keeps_it_for_a_family_that_sees_it() -> None:
    shades = np.random.default_rng(5).integers(0, 255, (280, 140, 3), dtype=np.uint8)
    document = made(("", png(shades)), ("", scan(2)))
    gray = list(lay_out(document, STYLE, SEES))
    colored = list(lay_out(document, STYLE, PageShape(sees_color=True)))
    assert np.array_equal(draw(colored[0]), shades)
    assert draw(gray[0]).shape == (280, 140)
    assert colored[0].page.digest != gray[0].page.digest
    assert colored[1].page == gray[1].page, "a gray picture is named and drawn as before"
    assert np.array_equal(draw(colored[1]), draw(gray[1]))
    assert shows(colored[0].page, document.sheets[0])
    assert shows(gray[0].page, document.sheets[0])
    assert not shows(gray[0].page, document.sheets[1])


def test_the_digest_of_a_gray_picture_is_that_of_every_release() -> None:
    sheet = Sheet(number=1, width=2, height=2, start=0, end=0, picture=b"picture")
    assert picture_digest(sheet, 28, 56) == (
        "0554dd67b13e00cff126d83482e9bfaca097c29645a580804024704e65775db0"
    )


def test_a_page_of_ours_brought_as_a_picture_has_the_same_pixels() -> None:
    (laid,) = paginate("port: 8443\n", STYLE)
    (same,) = lay_out(made(("", png(draw(laid))), always=True), STYLE, OWN_ONLY)
    assert np.array_equal(draw(same), draw(laid))


@pytest.mark.parametrize("size", [(140, 280), (2_200, 1_700), (10, 10), (2_000, 60)])
def test_pictures_are_whole_visual_tokens_and_not_too_many(size: tuple[int, int]) -> None:
    wide, tall = picture_size(*size, PageShape(token=32))
    assert wide % 32 == tall % 32 == 0
    assert wide * tall <= 1_350_000
    assert picture_size(*size, PageShape(square=224)) == (224, 224)


def test_a_citation_lies_on_the_pdfs_page(tmp_path: Path) -> None:
    raw = pdf_of(
        prose("The gateway listens on nothing here."),
        prose("Orders go to Ada Robotics GmbH in Bristol.", left=100, top=700),
    )
    text, sheets, _ = sheets_of_pdf(raw, max_bytes=10**6, mode="text")
    document = Document.of_sheets(text, sheets, max_bytes=10**6, max_picture_bytes=0)
    citation = proved(tmp_path, document, "Ada Robotics GmbH")
    (box,) = citation.sheet_boxes
    assert box.page == 2
    assert 100 < box.left < box.right < 300
    assert 842 - 700 <= box.top < box.bottom < 842 - 680
    assert citation.boxes, "and on the page image that was drawn"
    assert not citation.by_ocr


def test_a_citation_lies_on_a_picture_and_says_that_ocr_read_it(tmp_path: Path) -> None:
    document = made((BEFORE, b""), ("port 8443\n", scan(1)))
    at = len(BEFORE)
    places = [
        WordPlace(at, at + 4, 0.1, 0.2, 0.3, 0.25),
        WordPlace(at + 5, at + 9, 0.4, 0.2, 0.5, 0.25),
    ]
    sheets = (document.sheets[0], document.sheets[1].place_words(places))
    document = Document.of_sheets(document.text, sheets, max_bytes=10**6, max_picture_bytes=10**6)
    citation = proved(tmp_path, document, "8443")
    assert citation.by_ocr
    (shown,), (brought,) = citation.boxes, citation.sheet_boxes
    assert shown.page == citation.page == len(list(lay_out(document, STYLE, SEES)))
    assert brought.page == 2
    for box in (shown, brought):  # the page image is as large as the picture
        assert (box.left, box.top, box.right, box.bottom) == pytest.approx(
            (56, 56, 70, 70), abs=0.1
        )


def proved(folder: Path, document: Document, answer: str) -> Citation:
    pages = [one.page for one in lay_out(document, STYLE, SEES)]
    proof = Prover(folder).prove(
        answer, "What is it?", document_digest=document.digest, read=lambda: document,
        style=STYLE, pages=pages, mode="check", cut=False,
    )  # fmt: skip
    (citation,) = proof.citations
    return citation


def test_words_of_a_line_share_a_box_and_lines_do_not() -> None:
    words = [WordPlace(0, 3, 0.1, 0.1, 0.2, 0.12), WordPlace(4, 7, 0.25, 0.1, 0.3, 0.12),
             WordPlace(8, 12, 0.1, 0.13, 0.3, 0.15)]  # fmt: skip
    sheet = Sheet(number=3, width=1_000, height=1_000, start=0, end=13).place_words(words)
    boxes = SheetMap([sheet]).boxes(0, 10)
    assert [(b.left, b.right, b.top) for b in boxes] == [
        pytest.approx((100, 300, 100), abs=0.1), pytest.approx((100, 200, 130), abs=0.1)
    ]  # fmt: skip
    assert SheetMap([sheet]).boxes(20, 30) == ()
