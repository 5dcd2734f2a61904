"""tesseract over a page's pixels, and how far what it reads is from what was drawn."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from glyph_worker.document import digest

_ENLARGED = 3
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


class Ocr:
    """Reads pages with tesseract and keeps what it read: the same pixels are read once, ever."""

    def __init__(self, folder: Path, *, fresh: bool = False) -> None:
        """folder: where readings are kept; fresh: read all pages anew."""
        self.folder = folder
        self.fresh = fresh
        self.num_kept = self.num_read = 0
        version = subprocess.run(
            ["tesseract", "--version"], capture_output=True, text=True, check=True
        )
        self._version = version.stdout.partition("\n")[0]
        folder.mkdir(parents=True, exist_ok=True)

    def read(self, pixels: np.ndarray, language: str) -> str:
        """The text of a page, uint8[height, width]. Threads may call it."""
        arguments = ["-l", language, "--psm", "6", "--dpi", str(72 * _ENLARGED)]
        name = digest(self._version, *arguments, *map(str, pixels.shape), pixels.tobytes())
        kept = self.folder / f"{name}.txt"
        if not self.fresh and kept.exists():
            self.num_kept += 1
            return kept.read_text()
        image, one_thread = Image.fromarray(pixels), os.environ | {"OMP_THREAD_LIMIT": "1"}
        size = (image.width * _ENLARGED, image.height * _ENLARGED)
        with tempfile.NamedTemporaryFile(suffix=".png") as file:
            image.resize(size, Image.Resampling.BICUBIC).save(file.name, compress_level=1)
            done = subprocess.run(
                ["tesseract", file.name, "-", *arguments],
                capture_output=True, text=True, check=True, env=one_thread,
            )  # fmt: skip
        self.num_read += 1
        with tempfile.NamedTemporaryFile("w", dir=self.folder, delete=False) as written:
            written.write(done.stdout)
        Path(written.name).replace(kept)  # whole or not at all
        return done.stdout


def plain(text: str, language: str) -> str:
    """White space once, without what tesseract has no letters for: drawings and drawn rules."""
    text = re.sub(r"[\u2500-\u259f]|[-=_~*+#|]{4,}", " ", text)
    return re.sub(r"\s+", "" if language in UNSPACED else " ", text).strip()
