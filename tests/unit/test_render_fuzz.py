"""No text crashes the renderer. A short run here; GLYPH_TEST_FUZZ_DOCUMENTS makes it longer.

The long run: 2026-11-22, seeds 101 to 110, 20,000 documents each, no failure.
"""

from __future__ import annotations

import os
import random

import pytest

from glyph_worker.render.out.raster import draw
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import PRESETS
from glyph_worker.render.style.style import Style

NUM_DOCUMENTS = int(os.environ.get("GLYPH_TEST_FUZZ_DOCUMENTS", "600"))
BLOCKS = (
    *((0x20, 0x7F), (0, 0x20), (0x7F, 0x250), (0x250, 0x370), (0x370, 0x590), (0x590, 0x900)),
    *((0x900, 0xE00), (0xE00, 0x1200), (0x1200, 0x2000), (0x2000, 0x2100), (0x2100, 0x2C00)),
    *((0x2E80, 0x3400), (0x4E00, 0xA000), (0xA000, 0xAC00), (0xAC00, 0xD800), (0xD800, 0xE000)),
    *((0xE000, 0xFB00), (0xFB00, 0x10000), (0x10000, 0x12000), (0x1D000, 0x1FB00)),
    *((0x20000, 0x20100), (0xE0000, 0xE0200), (0x10FF00, 0x110000)),
)
NAMES = sorted(PRESETS)
DOCUMENTS_PER_STYLE = min(400, NUM_DOCUMENTS // 40 + 1)
"""A new style's glyphs cost more than a document."""


def document(rng: random.Random) -> str:
    """A short text of a few scripts, with runs, breaks and repeats at random."""
    parts = []
    for _ in range(rng.randint(0, 5)):
        low, high = rng.choice(BLOCKS)
        kind = rng.random()
        if kind < 0.6:
            parts.append("".join(chr(rng.randrange(low, high)) for _ in range(rng.randint(1, 20))))
        elif kind < 0.75:
            parts.append(chr(rng.randrange(low, high)) * rng.randint(1, 100))
        else:
            parts.append(rng.choice((" ", "\n", "\n\n\n", "  ", "\t", "\r\n", "\u200d", " \n ")))
            parts.append(
                rng.choice(("", "", "a\tb\nc\td\n", "| e | f |\n|---|---|\n", "│g│\n└─┘\n"))
            )
    return "".join(parts)


def style(rng: random.Random) -> Style:
    base = PRESETS[rng.choice(NAMES)]
    if base.layout == "grid" or rng.random() < 0.7:
        return base
    alignment = rng.choice(("LEFT", "LEFT", "CENTER", "RIGHT", "JUSTIFY"))
    indent = rng.choice((0, 0, 15))
    runs_on = base.layout == "flow" and alignment == "LEFT" and not indent
    return base.with_(
        form=rng.choice(("lines", "marks", "auto")) if runs_on else "lines",
        alignment=alignment,
        page_size=rng.choice(((300, 200), (90, 120), (588, 840))),
        margin_x=rng.choice((0, 10)),
        margin_y=0,
        first_line_indent=indent,
    )


@pytest.mark.slow
@pytest.mark.timeout(36_000)
def test_random_documents_render() -> None:
    seed = int(os.environ.get("GLYPH_TEST_FUZZ_SEED", "0"))
    rng = random.Random(seed)
    for number in range(NUM_DOCUMENTS):
        if number % DOCUMENTS_PER_STYLE == 0:
            chosen = style(rng)
        text = document(rng)
        try:
            pages = paginate(text, chosen)
            laid = list(pages)
            if number % 4 == 0:
                for page in laid[:2]:
                    assert draw(page).shape == (page.page.height, page.page.width)
            ends = [page.page.end for page in laid]
            assert (ends[-1] if ends else 0) == len(pages.normalized.text)
        except Exception as exc:
            raise AssertionError(
                f"document {number}, seed {seed}, {chosen.name}: {text!r}"
            ) from exc
