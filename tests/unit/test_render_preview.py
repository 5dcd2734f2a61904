"""Pages as pictures for people."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from glyph_worker.document import Document, Sheet
from glyph_worker.model.families.pages import PageShape
from glyph_worker.render.out.preview import estimated_text_tokens, num_visual_tokens, render_file
from glyph_worker.render.style.presets import preset_style

SEES, OWN_ONLY = PageShape(), PageShape(reads_pictures=False)


def document(text: str) -> Document:
    return Document.of(text, max_bytes=10**6)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_summary_counts_what_was_written(tmp_path: Path) -> None:
    text = "The quick brown fox \U00013000 jumps.\n" * 400
    summary = render_file(document(text), preset_style("balanced"), SEES, tmp_path / "out")
    assert summary.num_pages == len(summary.files) > 1
    sizes = [pixels(path).shape for path in summary.files]
    assert summary.num_visual_tokens == sum(height * width // 784 for height, width, _ in sizes)
    assert summary.missing_glyphs == {"U+13000": 400}
    assert summary.num_chars == len(text)
    assert summary.chars_per_token == len(text) / summary.num_visual_tokens
    assert summary.num_lines > 100


def test_a_shorter_document_leaves_no_page_of_a_longer_one_behind(tmp_path: Path) -> None:
    style = preset_style("nano")
    (tmp_path / "page_notes.txt").write_text("mine")
    assert len(render_file(document("line\n" * 100), style, SEES, tmp_path).files) == 4
    short = render_file(document("line\n" * 30), style, SEES, tmp_path)
    assert sorted(tmp_path.iterdir()) == [*short.files, tmp_path / "page_notes.txt"]


def test_a_picture_is_written_as_the_model_sees_it_or_as_its_text(tmp_path: Path) -> None:
    style = preset_style("nano")
    shown = np.random.default_rng(3).integers(0, 255, (280, 140), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(shown).save(out, "PNG")
    text = "a page of text\n" + "read off\n"
    sheets = [
        Sheet(number=1, width=10, height=10, start=0, end=15),
        Sheet(number=2, width=140, height=280, start=15, end=24, picture=out.getvalue()),
    ]
    mixed = Document.of_sheets(text, sheets, max_bytes=100, max_picture_bytes=10**6)
    summary = render_file(mixed, style, SEES, tmp_path / "seen", show_map=True)
    assert (summary.num_pages, len(summary.files)) == (2, 2)
    assert np.array_equal(pixels(summary.files[1])[:, :140, 0], shown)
    assert summary.num_visual_tokens > 50
    drawn = render_file(mixed, style, OWN_ONLY, tmp_path / "drawn")
    assert drawn.num_pages == 1
    assert summary.num_chars == drawn.num_chars == len(text)


def test_map_is_drawn_over_the_page(tmp_path: Path) -> None:
    style = preset_style("nano")
    text = document("Some text\nשלום\n")
    plain = render_file(text, style, SEES, tmp_path / "plain")
    mapped = render_file(text, style, SEES, tmp_path / "mapped", show_map=True)
    one, two = pixels(plain.files[0]), pixels(mapped.files[0])
    assert one.shape[0] == two.shape[0]
    assert one.shape[1] < two.shape[1]
    assert not np.array_equal(one, two[:, : one.shape[1]])


def test_tokens_are_rounded_as_the_processor_rounds() -> None:
    assert num_visual_tokens(448, 392) == 16 * 14
    assert num_visual_tokens(589, 842) == 21 * 30
    assert num_visual_tokens(384, 96) == 14 * 3
    assert num_visual_tokens(1, 1) == 1


def test_text_tokens_are_estimated_by_script() -> None:
    assert 200 < estimated_text_tokens("word " * 200) < 300
    assert 600 < estimated_text_tokens("中" * 1000) < 800
