"""Which passages a question is about: BM25 over their words. Ranks, and judges no answer.

Robertson and Zaragoza, The Probabilistic Relevance Framework (2009), as `bm25s` computes it.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence

from glyph_worker.evidence.nearness import EMPTY_WORDS

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")
_WIDE = re.compile("[\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff]")
MAX_CHARS = 20_000_000
"""Of texts whose rankings are kept: some 60 MB."""
_DAMPING = 60
_ENDINGS = ("ies", "es", "s", "ing", "ed")


class Ranking:
    """One text's passages, ready for any number of questions. Not changed once made."""

    def __init__(self, passages: Sequence[str]) -> None:
        """Some 10 s and 1 GB for ten million characters at worst; mostly a third of both."""
        import bm25s  # slow to import, and only a long document needs it

        self._known: dict[str, int] = {}
        ids = [
            [self._known.setdefault(word, len(self._known)) for word in words(passage)]
            for passage in passages
        ]
        self._num = len(passages)
        self._index = None
        if self._known:
            self._index = bm25s.BM25(k1=1.2, b=0.75)
            self._index.index((ids, self._known), show_progress=False)

    def order(self, question: str) -> list[int]:
        """Passages that have a word of the question, the likeliest first, equals in their order."""
        asked = [
            self._known[word]
            for word in dict.fromkeys(words(question))
            if word in self._known and word not in EMPTY_WORDS
        ]
        if self._index is None or not asked:
            return []
        scores = self._index.get_scores_from_ids(asked)
        found = [at for at in range(self._num) if scores[at] > 0]
        return sorted(found, key=lambda at: (-float(scores[at]), at))


class Rankings:
    """The last texts' rankings of one process, by whatever names their passages. Not thread-safe:
    a render worker's child has one job at a time."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[int, Ranking]] = OrderedDict()

    def of(self, name: str, passages: Callable[[], Sequence[str]]) -> Ranking:
        """`passages` are asked for where nothing of that name is known."""
        if name in self._known:
            self._known.move_to_end(name)
            return self._known[name][1]
        texts = passages()
        made = Ranking(texts)
        self._known[name] = sum(map(len, texts)), made
        while len(self._known) > 1 and sum(size for size, _ in self._known.values()) > MAX_CHARS:
            self._known.popitem(last=False)
        return made


def fused(*orders: Sequence[int]) -> list[int]:
    """Several orders as one: what stands early in any of them, and in more than one of them.

    Reciprocal ranks, Cormack, Clarke and Büttcher, SIGIR 2009.
    """
    scores: dict[int, float] = {}
    for order in orders:
        for rank, at in enumerate(order):
            scores[at] = scores.get(at, 0.0) + 1 / (_DAMPING + rank)
    return sorted(scores, key=lambda at: (-scores[at], at))


def words(text: str) -> list[str]:
    """Folded words without common English endings, numbers, and pairs of neighbouring characters
    where words are not parted by spaces."""
    found: list[str] = []
    for word in _WORD.findall(text.casefold()):
        if _WIDE.search(word):
            found += [word[at : at + 2] for at in range(max(1, len(word) - 1))]
        else:
            found.append(_stem(word))
    return found


def _stem(word: str) -> str:
    if len(word) > 4 and word.isascii():
        for ending in _ENDINGS:
            if word.endswith(ending) and len(word) - len(ending) >= 3:
                stem = word[: -len(ending)]
                return stem + "y" if ending == "ies" else stem.removesuffix("e")
    return word.removesuffix("e") if len(word) > 4 else word
