"""Misreadings planted into strings of real files, one slip each, and the guard's word on them.

Strings are chosen by white space alone, not by the guard's own patterns: words that have a digit or
a capital, alone or with the words around them, as an answer quotes them.
"""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from bench.density_corpus import File, corpus
from glyph_worker.evidence.guard import guard
from glyph_worker.evidence.index import DocumentIndex, joined
from glyph_worker.render.lines.normalize import normalize

EDGES = ".,;:!?()[]{}<>\"'`*|#=$~^&"
_URL = re.compile(r"(?:https?://|www\.)[^\s<>\"'`)\]}]+")


def swap(char: str) -> Callable[[Random, str], str | None]:
    """Replace one character of a class by another of it."""

    def slip(rng: Random, word: str) -> str | None:
        places = [at for at, found in enumerate(word) if found in char]
        if not places:
            return None
        at = rng.choice(places)
        return word[:at] + rng.choice([one for one in char if one != word[at]]) + word[at + 1 :]

    return slip


def rn_for_m(rng: Random, word: str) -> str | None:
    if "rn" in word:
        return word.replace("rn", "m", 1)
    return word.replace("m", "rn", 1) if "m" in word else None


def lose(rng: Random, word: str) -> str | None:
    places = [at for at, char in enumerate(word) if char.isdigit()]
    if not places or len(word) < 2:
        return None
    at = rng.choice(places)
    return word[:at] + word[at + 1 :]


def double(rng: Random, word: str) -> str | None:
    places = [at for at, char in enumerate(word) if char.isdigit()]
    if not places:
        return None
    at = rng.choice(places)
    return word[:at] + word[at] + word[at:]


def recase(rng: Random, word: str) -> str | None:
    """Letters whose two cases differ by size alone, behind the first of a word: that a name begins
    small is no misread literal but none at all."""
    places = [at for at, char in enumerate(word) if at and char in "cCoOsSvVwWxXzZkKpPuU"]
    if not places:
        return None
    at = rng.choice(places)
    return word[:at] + word[at].swapcase() + word[at + 1 :]


SLIPS: dict[str, Callable[[Random, str], str | None]] = {
    "0/O": swap("0O"), "1/l/I": swap("1lI"), "5/S": swap("5S"), "8/B": swap("8B"),
    "£/8": swap("£8"), "rn/m": rn_for_m, "lost digit": lose, "doubled digit": double,
    "case": recase,
}  # fmt: skip


@dataclass
class Tally:
    """Counts of one kind of slip."""

    planted: int = 0
    flagged: int = 0
    corrected: int = 0
    wrongly_corrected: int = 0
    missed: list[tuple[str, str, str]] = field(default_factory=list)
    wrong: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass
class Planted:
    """What came of all of it."""

    kinds: dict[str, Tally]
    excluded: Counter[str]
    right: int
    right_flagged: list[tuple[str, str, str]]
    right_changed: int
    guard_s: float

    def share(self, name: str) -> float:
        """Of all planted ones, per cent."""
        total = sum(tally.planted for tally in self.kinds.values())
        found: int = sum(getattr(tally, name) for tally in self.kinds.values())
        return round(100 * found / total, 3)

    @property
    def caught(self) -> float:
        """Flagged, or in the mode `correct` put right, per cent."""
        return self.share("flagged")


def quotes(rng: Random, text: str, number: int) -> Iterator[tuple[str, str, int]]:
    """Answers as quotes of a text: the answer, the word in it to be misread, and its place."""
    words = [match for match in re.finditer(r"\S+", text) if _literal(_bare(match[0]))]
    for match in rng.choices(words, k=number) if words else ():
        word = _bare(match[0])
        start = match.start() + match[0].index(word)
        end = start + len(word)
        pick = rng.random()
        if pick < 0.5:
            yield word, word, 0
            continue
        line_start = text.rfind("\n", 0, start) + 1
        line_end = text.find("\n", end)
        line_end = len(text) if line_end < 0 else line_end
        low = max(line_start, start - rng.randint(0, 40))
        high = min(line_end, end + rng.randint(0, 40))
        # Whole words only: an answer quotes no half ones.
        while low > line_start and not text[low - 1].isspace():
            low -= 1
        while high < line_end and not text[high].isspace():
            high += 1
        answer = text[low:high].strip()
        shift = text.index(answer, low)
        yield answer, word, start - shift


def _bare(word: str) -> str:
    return word.strip(EDGES)


def _literal(word: str) -> bool:
    """Digits, a capital that begins it, or an address: not single letters or signs."""
    return len(word) > 1 and (
        any(map(str.isdigit, word)) or word[0].isupper() or bool(_URL.match(word)) or "@" in word
    )


def plant(number: int, seed: str) -> Planted:
    """`number` misreadings over the density corpus, of every kind equally often as it goes."""
    rng = Random(f"misread {seed}")
    files = [(file, DocumentIndex(normalize(file.text).text)) for file in corpus() if _usable(file)]
    out = Planted(defaultdict(Tally), Counter(), 0, [], 0, 0.0)
    kinds = list(SLIPS)
    done = 0
    while done < number:
        file, index = rng.choice(files)
        for answer, word, at in quotes(rng, index.text, 8):
            kind = kinds[(done + rng.randrange(len(kinds))) % len(kinds)]
            misread = SLIPS[kind](rng, word)
            if misread is None or misread == word:
                continue
            real, run = _runs(word, misread)
            if not _telling(real, word):
                out.excluded["in a plain word"] += 1
                continue
            if not _telling(run, misread) or (len(run) < 2 and not run.isdigit()):
                out.excluded["no literal any more"] += 1
                continue
            if kind == "case" and run[0] != real[0]:
                out.excluded["first letter of a name"] += 1
                continue
            if _stands(index, run):
                out.excluded["stands elsewhere"] += 1
                continue
            wrong = answer[:at] + misread + answer[at + len(word) :]
            _judge(out, index, file, kind, answer, wrong)
            done += 1
    return out


def _usable(file: File) -> bool:
    return bool(file.text.strip())


def _runs(word: str, misread: str) -> tuple[str, str]:
    """The letters and digits around the slip, as they are and as they are read."""
    alike = (at for at, (a, b) in enumerate(zip(word, misread, strict=False)) if a != b)
    first = next(alike, min(len(word), len(misread)))
    return _run(word, first), _run(misread, first)


def _run(word: str, at: int) -> str:
    start = end = at
    while start > 0 and _inner(word[start - 1]):
        start -= 1
    while end < len(word) and _inner(word[end]):
        end += 1
    return word[start:end]


def _inner(char: str) -> bool:
    return char in "_£" or char.isdigit() or char.lower() != char.upper()


def _telling(run: str, word: str) -> bool:
    """Whether this is part of a literal: digits, capitals, or within an address or a path."""
    return any(map(str.isdigit, run)) or any(map(str.isupper, run)) or bool(
        run and (_URL.match(word) or "@" in word or "_" in run)
    )  # fmt: skip


def _stands(index: DocumentIndex, run: str) -> bool:
    """Whether the document has what was read, alone, elsewhere: nobody can tell it then."""
    at = index.text.find(run)
    while at >= 0:
        end = at + len(run)
        open_left = at == 0 or not joined(index.text[at - 1], index.text[at])
        open_right = end == len(index.text) or not joined(index.text[end - 1], index.text[end])
        if open_left and open_right:
            return True
        at = index.text.find(run, at + 1)
    return False


def _judge(
    out: Planted, index: DocumentIndex, file: File, kind: str, answer: str, wrong: str
) -> None:
    began = time.perf_counter()
    checked = guard(index, wrong, "", mode="correct")
    right = guard(index, answer, "", mode="correct")
    out.guard_s += time.perf_counter() - began
    tally = out.kinds[kind]
    tally.planted += 1
    corrected = any(one.status == "corrected" for one in checked.literals)
    if checked.text == answer:
        tally.flagged += 1
        tally.corrected += 1
    elif checked.verified is False or (corrected and checked.text != answer):
        tally.flagged += checked.verified is False
        if corrected:
            tally.wrongly_corrected += 1
            tally.wrong.append((file.name, answer, checked.text))
    else:
        tally.missed.append((file.name, answer, wrong))
    out.right += 1
    if right.verified is False:
        literal = next(one.text for one in right.literals if one.status == "unsupported")
        out.right_flagged.append((file.name, answer, literal))
    out.right_changed += right.text != answer
