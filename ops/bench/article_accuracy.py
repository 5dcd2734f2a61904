"""What a smaller image costs in answers: the embedded reader on pages that lost pixels.

The reader knows one size of letters. A strip of eight lines is drawn as it knows them, brought to
the article's size and back: larger sizes lose nothing, smaller ones lose what they cannot hold.
"""

from __future__ import annotations

from itertools import islice

import numpy as np
from PIL import Image
from train.answer import answer, edit_distance
from train.corpus import samples
from train.sample import Question

from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.embedded import checkpoint_path
from glyph_worker.render.out import raster
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style

SIZES = {"1024x256": (1_024, 256), "512x128": (512, 128), "384x96": (384, 96)}
NATIVE = (448, 112)


def accuracy(num_strips: int) -> dict[str, dict[str, float]]:
    """By size: questions asked, and the shares of characters and of answers that are right."""
    reader = load_reader(checkpoint_path(), dtype="float32")
    columns = reader.processor.visual_grid(*NATIVE)[1]
    made = samples("article strips", low=8, high=8, asked=4, test=True)
    strips = list(islice((s for s in made if len(s.pages[0]) == 8), num_strips))
    found = {}
    for name, size in SIZES.items():
        edits = length = right = asked = 0
        for strip in strips:
            drawn = raster.draw(next(iter(paginate(strip.text, preset_style("nano")))))
            image = Image.fromarray(drawn)
            image = image.resize(size, Image.Resampling.LANCZOS)
            page = np.asarray(image.resize(NATIVE, Image.Resampling.LANCZOS))
            lines = [line.strip() for line in strip.pages[0]]
            questions = [
                Question(text=f"Transcribe line {n}.", answer=line, task="line")
                for n, line in enumerate(lines, 1)
                if line
            ] + list(strip.questions)
            features = reader.encode_pages([page])
            got = answer(reader.model, features, [q.text for q in questions], columns=columns)
            for question, text in zip(questions, got, strict=True):
                asked += 1
                right += text.strip() == question.answer.strip()
                if question.task == "line":
                    wrong = edit_distance(text, question.answer)
                    edits += min(wrong, len(question.answer))
                    length += len(question.answer)
        found[name] = {
            "asked": asked,
            "answers_right": right / asked,
            "characters_right": 1 - edits / length,
        }
    return found
