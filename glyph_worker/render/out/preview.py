"""Pages as PNG files for people, and what a document would cost. Never on a job's way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from glyph_worker.document import Document
from glyph_worker.model.families.pages import PageShape
from glyph_worker.render.lines.normalize import normalize
from glyph_worker.render.out.raster import draw
from glyph_worker.render.pages.page import LaidPage
from glyph_worker.render.pages.pagemap import line_spans
from glyph_worker.render.pictured import lay_out
from glyph_worker.render.style.style import Style

TOKEN_SIDE = 28
"""Pixels of a visual token's side: patches of 14, merged two by two."""
_OFFSETS_WIDTH = 56
"""Pixels beside a page with its map."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What `render_file` wrote."""

    files: tuple[Path, ...]
    num_pages: int
    num_lines: int
    num_chars: int
    """Characters of the normalised text, those that only pictures show among them."""
    num_visual_tokens: int
    num_text_tokens: int
    """Estimated: what a text-only model would have to read."""
    chars_per_token: float
    """Characters per visual token."""
    compression_ratio: float
    """Text tokens ÷ visual tokens."""
    missing_glyphs: dict[str, int]
    """Characters drawn as escapes, by code point such as U+13000."""
    normalized: dict[str, int]


def render_file(
    document: Document, style: Style, shape: PageShape, out_dir: Path, *, show_map: bool = False
) -> Summary:
    """Write page_0001.png, … into `out_dir`, made if need be; of a longer document drawn there
    before, the pages that follow are removed. `shape` says whether pictures are shown as such.
    Raises FontUnusable, UnreadableDocument, OSError.
    """
    pages = lay_out(document, style, shape)
    out_dir.mkdir(parents=True, exist_ok=True)
    files, num_tokens = [], 0
    for laid in pages:
        num_tokens += num_visual_tokens(laid.page.width, laid.page.height)
        image = _mapped(laid) if show_map else Image.fromarray(draw(laid))
        files.append(_file(out_dir, laid.page.index))
        image.save(files[-1])
    number = len(files)
    while _file(out_dir, number).exists():
        _file(out_dir, number).unlink()
        number += 1
    report = pages.report
    text = normalize(document.text).text
    num_text = estimated_text_tokens(text)
    return Summary(
        files=tuple(files),
        num_pages=report.num_pages,
        num_lines=report.num_lines,
        num_chars=len(text),
        num_visual_tokens=num_tokens,
        num_text_tokens=num_text,
        chars_per_token=len(text) / max(1, num_tokens),
        compression_ratio=num_text / max(1, num_tokens),
        missing_glyphs={f"U+{ord(c):04X}": n for c, n in report.missing_glyphs.most_common()},
        normalized=report.normalized,
    )


def _file(folder: Path, index: int) -> Path:
    return folder / f"page_{index + 1:04d}.png"


def num_visual_tokens(width: int, height: int) -> int:
    """Visual tokens of a page, rounded to whole tokens as the model's processor rounds it."""
    return max(1, round(width / TOKEN_SIDE)) * max(1, round(height / TOKEN_SIDE))


def estimated_text_tokens(text: str) -> int:
    """Roughly what a subword tokenizer makes of a text: 4.3 ASCII characters to a token, 1.4
    ideographs, 2.2 of anything else."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    num_ascii = int((codes < 0x80).sum())
    num_wide = int(((codes >= 0x2E80) & (codes < 0xFFF0)).sum())
    return round(num_ascii / 4.3 + num_wide / 1.4 + (len(codes) - num_ascii - num_wide) / 2.2)


def _mapped(laid: LaidPage) -> Image.Image:
    """The page with a frame around every line and, beside it, the offset of its first character."""
    page = Image.fromarray(draw(laid))
    image = Image.new("RGB", (page.width + _OFFSETS_WIDTH, page.height), "#EEEEEE")
    image.paste(page.convert("RGB"))
    pen = ImageDraw.Draw(image)
    for number, span in enumerate(line_spans(laid)):
        color = ("#D04040", "#4060D0")[number % 2]
        if span.left < span.right:
            pen.rectangle((span.left, span.top, span.right, span.bottom - 1), outline=color)
        pen.text((image.width - 2, span.top), str(span.start), fill=color, anchor="ra")
    return image
