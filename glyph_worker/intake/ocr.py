"""Words of a picture by OCR, with their places. Runs in a bounded child of its own.

rapidocr (extra `ocr`) brings its models in its wheel and runs them on the CPU.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from glyph_worker.intake.reflow import Word

MIN_SCORE = 0.5
"""A line that it is less sure of is no text."""


class OcrReader:
    """Loads the models once."""

    def __init__(self) -> None:
        from rapidocr import RapidOCR

        one = {"intra_op_num_threads": 1, "inter_op_num_threads": 1}
        self._read: Any = RapidOCR(
            params={"Global.log_level": "critical", "Global.text_score": MIN_SCORE}
            | {f"EngineConfig.onnxruntime.{name}": value for name, value in one.items()}
        )

    def read(self, picture: bytes) -> tuple[int, int, list[Word]]:
        """Its width and height in pixels, and its words, y upwards from the bottom."""
        with Image.open(io.BytesIO(picture)) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        found = self._read(pixels, return_word_box=True)
        height, width = pixels.shape[:2]
        if found.txts is None or found.boxes is None:
            return width, height, []
        words: list[Word] = []
        for text, corners, parts in zip(found.txts, found.boxes, found.word_results, strict=False):
            # A line whose words it could not tell apart has its own box only.
            boxes = [(part[0], part[2]) for part in parts if len(part) == 3] or [(text, corners)]
            words += [word for said, box in boxes for word in _words(said, box, height)]
        return width, height, words


def _words(text: str, corners: Any, height: int) -> Iterator[Word]:
    """A box may hold several words, whose places are in proportion to their characters."""
    xs, ys = [float(x) for x, _ in corners], [float(y) for _, y in corners]
    left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
    size = bottom - top
    at = 0
    for part in text.split():
        at = text.index(part, at)
        begin, end = at / len(text), (at + len(part)) / len(text)
        at += len(part)
        yield Word(
            text=part,
            left=left + begin * (right - left),
            right=left + end * (right - left),
            baseline=height - bottom + 0.22 * size,
            size=size,
        )
