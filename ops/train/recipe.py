"""The training recipe: which documents are seen when. Numbers only, all drawn from one seed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from random import Random

import numpy as np

from train import vocabulary as v
from train.attention_targets import Ints
from train.corpus import samples
from train.geometry import COLUMNS, PAGE_LINES
from train.packing import Batch, pack, page_cells


@dataclass(frozen=True, kw_only=True)
class Diet:
    """One kind of batch: rows of a length, filled with documents of `low` to `high` lines."""

    rows: int
    length: int
    low: int
    high: int
    asked: int
    max_pages: int = 1


SMOKE = Diet(rows=2, length=256, low=1, high=3, asked=3)
TINY = Diet(rows=24, length=256, low=1, high=4, asked=4)
SMALL = Diet(rows=16, length=384, low=2, high=12, asked=6)
HALF = Diet(rows=16, length=384, low=10, high=18, asked=4)
FULL = Diet(rows=6, length=1024, low=10, high=28, asked=18)
PAIR = Diet(rows=6, length=1024, low=10, high=24, asked=16, max_pages=2)
THREE = Diet(rows=5, length=1216, low=8, high=18, asked=18, max_pages=3)
FOUR = Diet(rows=3, length=2048, low=12, high=24, asked=32, max_pages=4)

# (until this share of the stage, diets with their weights)
READER = (
    (0.10, ((TINY, 6), (SMALL, 4))),
    (0.40, ((TINY, 2), (SMALL, 6), (FULL, 2))),
    (1.00, ((TINY, 1), (SMALL, 2), (FULL, 4), (PAIR, 2), (THREE, 1), (FOUR, 4))),
)
JOINT = ((1.00, READER[-1][1]),)
FEW = Diet(rows=6, length=448, low=3, high=14, asked=8)
MORE = Diet(rows=4, length=640, low=10, high=20, asked=10)
PAGE = Diet(rows=3, length=960, low=16, high=28, asked=18)
LONG = Diet(rows=1, length=2048, low=12, high=24, asked=32, max_pages=4)
# Of a reader that has all lengths already: smaller steps, all sizes to the end.
GROWN = ((1.00, ((FEW, 4), (MORE, 4), (PAGE, 4), (LONG, 3))),)
SHORT = ((1.00, ((TINY, 3), (SMALL, 5), (HALF, 3))),)  # what a CPU has time for
MIXES = {"reader": READER, "joint": JOINT}
EYES_LINES = 192  # of text in a step of the eyes, on pages of one height


def make_batch(
    stage: str,
    seed: str,
    step: int,
    steps: int,
    *,
    smoke: bool = False,
    short: bool = False,
    grown: bool = False,
) -> Batch:
    """The batch of one step; the same for the same arguments, whatever ran before.

    A reader that is `grown` begins with documents of all sizes.
    """
    rng = Random(f"{seed}/{stage}/{step}")
    mixes = SHORT if short else GROWN if grown else MIXES[stage]
    mix = next(mix for until, mix in mixes if step < until * steps or until == 1.0)
    diet = rng.choices([diet for diet, _ in mix], [weight for _, weight in mix])[0]
    diet = SMOKE if smoke else diet
    source = samples(
        f"{seed}/{stage}/{step}/text",
        low=diet.low,
        high=diet.high,
        asked=diet.asked,
        max_pages=diet.max_pages,
    )
    return pack(source, rows=diet.rows, length=diet.length)


def make_pages(seed: str, step: int) -> Ints:
    """Pages of one height for the eyes: int64 [pages, lines, 64], documents and noise by halves.

    The noise is random characters with random gaps, so that every character is met beside every
    other; documents alone would teach spelling, which a page of serial numbers does not have. Low
    pages are the rule: reading is local, and attention over a full page costs the most.
    """
    rng = np.random.default_rng([zlib.crc32(seed.encode()), step])
    lines = 2 * int(rng.integers(1, PAGE_LINES // 2 + 1) * rng.random() + 1)
    pages = EYES_LINES // lines
    first = v.ID[" "]
    rare = np.full(len(v.CHARACTERS), 0.3)
    rare[: len(v.ASCII)] = 1.0
    ids = rng.choice(len(rare), (pages, lines, COLUMNS), p=rare / rare.sum()) + first
    gaps = rng.random((pages, lines, COLUMNS)) < rng.random((pages, 1, 1)) * 0.7
    cells = np.where(gaps, v.SPACE, ids)
    source = samples(f"{seed}/eyes/{step}", low=max(1, lines - 2), high=lines, asked=1)
    for index in range(pages // 2):
        page = page_cells(next(source).pages[0])[:lines]
        cells[index] = v.SPACE
        cells[index, : len(page)] = page
    return cells.astype(np.int64)
