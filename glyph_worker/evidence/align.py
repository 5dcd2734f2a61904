"""A part of an answer beside the document: its places, cheapest way first. Chooses none of them.

Exact, then but for spacing, case, hyphens and letter forms, then close: pieces of the part
(q-grams) that the document has say where to look, and only there edits are counted.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import NamedTuple

from rapidfuzz import fuzz

from glyph_worker.evidence.fold import fold_text
from glyph_worker.evidence.index import DocumentIndex, Span, joined
from glyph_worker.evidence.lookup import MAX_PLACES
from glyph_worker.proof import CitationKind

MIN_CLOSE = 8
"""Folded characters; of shorter parts most strings are close to some other."""
MAX_CLOSE = 1_000
"""Folded characters that are aligned; of a longer part its beginning."""
MIN_SCORE = 0.8
SEED = 6
MAX_SEEDS = 16
MAX_PER_SEED = 32
"""A seed that stands in more places says nothing."""
MAX_WINDOWS = 3


class Aligned(NamedTuple):
    """Where a part stands; several places where they are equally good."""

    places: list[Span]
    kind: CitationKind
    score: float


def align(index: DocumentIndex, part: str, *, close: bool = True) -> Aligned | None:
    """None where nothing is alike."""
    if places := list(islice(index.exact(part), MAX_PLACES)):
        return Aligned(places, "exact", 1.0)
    folded = fold_text(part)
    if len(folded) > 1 and (places := list(islice(index.alike(folded), MAX_PLACES))):
        return Aligned(places, "normalized", 1.0)
    return _closest(index, folded[:MAX_CLOSE]) if close and len(folded) >= MIN_CLOSE else None


def _closest(index: DocumentIndex, part: str) -> Aligned | None:
    text = index.folded.text
    best: tuple[float, int, int] | None = None
    pad = max(8, len(part) // 8)
    for begin in _windows(text, part):
        low = max(0, begin - pad)
        window = text[low : begin + len(part) + pad]
        found = fuzz.partial_ratio_alignment(part, window, score_cutoff=100 * MIN_SCORE)
        # A window shorter than the part is what would be looked for in it.
        if found is None or len(window) < len(part):
            continue
        if best is None or found.score > best[0]:
            best = found.score, low + found.dest_start, found.dest_end - found.dest_start
    if best is None or best[2] < 1:
        return None
    span = _whole_words(index.text, index.folded.span(best[1], best[2]))
    return Aligned([span], "close", round(best[0] / 100, 3))


def _windows(text: str, part: str) -> list[int]:
    """Where the part may begin in the folded text, by how many of its seeds say so."""
    votes: Counter[int] = Counter()
    step = max(1, (len(part) - SEED) // MAX_SEEDS)
    for offset in range(0, len(part) - SEED + 1, step):
        seed = part[offset : offset + SEED]
        places: list[int] = []
        at = text.find(seed)
        while at >= 0 and len(places) <= MAX_PER_SEED:
            places.append(at)
            at = text.find(seed, at + 1)
        if len(places) <= MAX_PER_SEED:
            # Insertions shift the later seeds: neighbours vote together.
            votes.update({max(0, place - offset) // 16 for place in places})
    return [bucket * 16 for bucket, _ in votes.most_common(MAX_WINDOWS)]


def _whole_words(text: str, span: Span) -> Span:
    start, end = span
    for _ in range(24):
        start -= start > 0 and joined(text[start - 1], text[start])
        end += end < len(text) and joined(text[end - 1], text[end])
    return start, end
