"""One form for strings that differ in spacing, case, hyphens or forms of the same letter only.

Every character is folded alone (NFKC, then case folding; white space, hyphens, dashes and invisible
characters vanish; curly quotes become straight ones): a fold of a part is a part of the fold.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint32]
Offsets = npt.NDArray[np.int64]

_QUOTES = dict.fromkeys("‘’‚‛′", "'") | dict.fromkeys("“”„«»", '"')
_UNKNOWN = 0xFFFFFFFF
_DROPPED = 0


class Folded:
    """A folded text and where each of its characters comes from."""

    def __init__(self, text: str, offsets: Callable[[], Offsets]) -> None:
        self.text = text
        self._make_offsets = offsets

    @cached_property
    def offsets(self) -> Offsets:
        """int64 [len(text)]: the character of the original that each one is made of. Made when a
        place is asked for: most strings that are looked for are not there."""
        return self._make_offsets()

    def span(self, at: int, length: int) -> tuple[int, int]:
        """The half-open range of the original that text[at : at + length] is made of."""
        return int(self.offsets[at]), int(self.offsets[at + length - 1]) + 1


def fold_char(char: str) -> str:
    """No, one or several characters."""
    char = _QUOTES.get(char, char)
    out = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", char).casefold())
    return "".join(
        one
        for one in out
        if not one.isspace() and unicodedata.category(one) not in ("Pd", "Cf", "Cc")
    )


def fold_text(text: str) -> str:
    """The fold alone, of a short string."""
    return "".join(map(fold_char, text))


def fold(text: str) -> Folded:
    """The fold with its offsets; a million characters take some milliseconds."""
    if text.isascii():
        ascii_table, kept = _ascii()
        raw = text.encode("ascii")
        folded = raw.translate(ascii_table, bytes(np.flatnonzero(~kept).tolist()))
        return Folded(
            folded.decode("ascii"), lambda: np.flatnonzero(kept.take(np.frombuffer(raw, np.uint8)))
        )
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    table = _table()
    table.learn(codes)
    out = table.codes[codes]
    offsets = np.flatnonzero(out)
    out = out[offsets]
    several = table.several
    if several:
        keys = np.fromiter(several, np.uint32)
        found = np.flatnonzero(np.isin(codes[offsets], keys))
        if len(found):
            counts = np.ones(len(out), np.int64)
            mores = [several[int(code)] for code in codes[offsets[found]]]
            counts[found] = [len(more) for more in mores]
            first = np.cumsum(counts) - counts
            out, offsets = np.repeat(out, counts), np.repeat(offsets, counts)
            for at, more in zip(first[found].tolist(), mores, strict=True):
                out[at : at + len(more)] = [ord(one) for one in more]
    return Folded(as_text(out), lambda: offsets)


def as_text(codes: Codes) -> str:
    """Code points uint32 [n] as a str of n characters."""
    if len(codes) and codes.max() < 256:
        return codes.astype(np.uint8).tobytes().decode("latin-1")
    return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


class _Table:
    """Folds of the characters met so far. Filling it twice with the same is harmless."""

    def __init__(self) -> None:
        self.codes = np.full(0x110000, _UNKNOWN, np.uint32)
        """The first character of each one's fold, 0 for none."""
        self.several: dict[int, str] = {}
        """Whole folds of more than one character."""

    def learn(self, codes: Codes) -> None:
        present = np.flatnonzero(np.bincount(codes))
        for code in present[self.codes[present] == _UNKNOWN].tolist():
            folded = fold_char(chr(code))
            if len(folded) > 1:
                self.several[code] = folded
            self.codes[code] = ord(folded[0]) if folded else _DROPPED


@cache
def _table() -> _Table:
    return _Table()


@cache
def _ascii() -> tuple[bytes, npt.NDArray[np.bool_]]:
    """Of each byte its fold, and whether it has one."""
    folds = [fold_char(chr(code)) for code in range(128)]
    table = bytes(ord(one) if one else 0 for one in folds) + bytes(128)
    return table, np.array([bool(one) for one in folds] + [False] * 128)
