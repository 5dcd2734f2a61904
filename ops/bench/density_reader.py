"""What the embedded reader itself reads wrong on the density bench's files, in its own style.

It cannot write out a page, so it is asked for lines by a word in them, as it was trained to.
"""

from __future__ import annotations

from random import Random
from typing import Any

from train.answer import answer
from train.document_draft import place
from train.questions import transcribe_with

from bench.density_corpus import File
from bench.density_ocr import distance
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.embedded import checkpoint_path
from glyph_worker.render.out.raster import draw
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style

LINES, QUESTIONS = 24, 8
"""Of each file: so many source lines, less where they do not fit on a page, and questions."""


def read_by_reader(files: list[File]) -> dict[str, dict[str, Any]]:
    """By file: lines asked for, those given to the letter, edits and characters. English files
    only: the reader knows no other letters."""
    reader = load_reader(checkpoint_path(), dtype="float32")
    out = {}
    for file in files:
        lines = _first_page(file.text)
        placed = place(lines)
        rng = Random(file.name)
        made = [transcribe_with(rng, placed) for _ in range(10 * QUESTIONS)]
        asked = [one for one in dict.fromkeys(made) if one is not None][:QUESTIONS]
        if not asked:
            continue
        pages = [draw(laid) for laid in paginate("\n".join(lines), preset_style("nano"))]
        columns = reader.processor.visual_grid(pages[0].shape[1], pages[0].shape[0])[1]
        features = reader.encode_pages(pages)
        got = answer(reader.model, features, [one.text for one in asked], columns=columns)
        pairs = [(one.answer, said) for one, said in zip(asked, got, strict=True)]
        out[file.name] = {
            "asked": len(pairs),
            "right": sum(wanted == said for wanted, said in pairs),
            # A line that it takes for another is no worse than one not read at all.
            "edits": sum(min(distance(wanted, said), len(wanted)) for wanted, said in pairs),
            "chars": sum(len(wanted) for wanted, _ in pairs),
        }
    return out


def _first_page(text: str) -> list[str]:
    """As many of a text's first lines as stand on one page."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()][:LINES]
    while len(lines) > 1 and len(list(paginate("\n".join(lines), preset_style("nano")))) > 1:
        lines.pop()
    return lines
