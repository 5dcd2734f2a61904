"""Pages as pictures for people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from glyph_worker.render.out.preview import estimated_text_tokens, num_visual_tokens, render_file
from glyph_worker.render.style.presets import preset_style


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_summary_counts_what_was_written(tmp_path: Path) -> None:
    text = "The quick brown fox \U00013000 jumps.\n" * 400
    summary = render_file(text, preset_style("balanced"), tmp_path / "out")
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
    assert len(render_file("line\n" * 100, style, tmp_path).files) == 4
    short = render_file("line\n" * 30, style, tmp_path)
    assert sorted(tmp_path.iterdir()) == [*short.files, tmp_path / "page_notes.txt"]


def test_map_is_drawn_over_the_page(tmp_path: Path) -> None:
    style = preset_style("nano")
    plain = render_file("Some text\nשלום\n", style, tmp_path / "plain")
    mapped = render_file("Some text\nשלום\n", style, tmp_path / "mapped", show_map=True)
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
