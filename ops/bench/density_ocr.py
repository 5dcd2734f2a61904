"""tesseract over a page's pixels, and how far what it reads is from what was drawn."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile

import numpy as np
from PIL import Image

UNSPACED = ("chi_sim", "jpn")


def distance(one: str, two: str) -> int:
    """Levenshtein distance, row by row."""
    codes = np.frombuffer(two.encode("utf-32-le"), np.uint32)
    places = np.arange(len(two) + 1)
    row = places
    for count, char in enumerate(one, 1):
        best = np.minimum(row[1:] + 1, row[:-1] + (codes != ord(char)))
        row = np.concatenate([[count], best])
        row = np.minimum.accumulate(row - places) + places  # insertions, all at once
    return int(row[-1])


def read(pixels: np.ndarray, language: str) -> str:
    image = Image.fromarray(pixels)
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        image.resize((image.width * 3, image.height * 3), Image.Resampling.BICUBIC).save(file.name)
        done = subprocess.run(
            ["tesseract", file.name, "-", "-l", language, "--psm", "6", "--dpi", "216"],
            capture_output=True, text=True, check=True, env=os.environ | {"OMP_THREAD_LIMIT": "1"},
        )  # fmt: skip
    return done.stdout


def plain(text: str, language: str) -> str:
    """White space once, without what tesseract has no letters for: drawings and drawn rules."""
    text = re.sub(r"[\u2500-\u259f]|[-=_~*+#|]{4,}", " ", text)
    return re.sub(r"\s+", "" if language in UNSPACED else " ", text).strip()
