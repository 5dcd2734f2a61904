"""Pages whose exact text is laid beside a question: those that the model looked at, and those that
the question's words lead to. Chooses and writes; asks nobody.

After LensVLM (arXiv 2605.07019), without its training: what it learns to unfold we find by the
model's own attention and by BM25.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

import numpy as np
import numpy.typing as npt

from glyph_worker.document import PART_END
from glyph_worker.segments.ranking import Ranking

MOST_PAGES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Lens:
    pages: tuple[int, ...] = ()
    """From 0, in document order."""
    text: str = ""
    """Goes before the question; '' without pages."""
    num_tokens: int = 0


def looked_at(
    shares: npt.NDArray[np.float32] | None, tokens_of_pages: Sequence[int]
) -> list[int] | None:
    """Pages by how much of the attention went to their visual tokens, most first.

    `shares` float32 [num_visual_tokens] as SequenceResult has it. None where nobody knows.
    """
    if shares is None or len(shares) != sum(tokens_of_pages):
        return None
    starts = np.cumsum([0, *tokens_of_pages])
    of_pages = [float(shares[a:b].sum()) for a, b in pairwise(starts)]
    return sorted(range(len(of_pages)), key=lambda at: (-of_pages[at], at))


def focus(
    passages: Sequence[str],
    question: str,
    looked: Sequence[int] | None,
    *,
    max_tokens: int,
    num_tokens: Callable[[str], int],
) -> Lens:
    """The exact text of the likeliest of a document's `passages`, one for each page.

    By turns the page that the question's words lead to and the one that was looked at (`looked`),
    as far as they take `max_tokens` together.
    """
    chosen = Lens()
    for at in _by_turns(Ranking(passages).order(question), looked or ()):
        if at in chosen.pages or not passages[at].strip():
            continue
        pages = tuple(sorted((*chosen.pages, at)))
        text = "".join(f"The exact text of page {n + 1}:\n{_plain(passages[n])}\n" for n in pages)
        cost = num_tokens(text)
        if cost <= max_tokens:
            chosen = Lens(pages=pages, text=text, num_tokens=cost)
        if len(chosen.pages) == MOST_PAGES:
            break
    return chosen


def _by_turns(found: Sequence[int], looked: Sequence[int]) -> Iterator[int]:
    for pair in zip_longest(found[:MOST_PAGES], looked[:MOST_PAGES]):
        yield from (at for at in pair if at is not None)


def _plain(text: str) -> str:
    return text.replace(PART_END, "\n").strip("\n") + "\n"
