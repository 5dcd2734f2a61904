"""What eyes may have read in place of what a document has. Of single characters and pairs.

One slip of these counts, of each kind that readers of pictures make: 0 and O; 1, l, I and |; 5 and
S; 8, B and £; upper and lower case; rn and m; a digit lost; a digit doubled.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

CLASSES = ("0oO", "1lI|", "5sS", "8bB£")

SKELETON = np.arange(256, dtype=np.uint32)
"""Of each folded character below 256 its class's representative, itself for most."""
for _chars, _code in (("0o", "o"), ("1li|", "l"), ("5s", "s"), ("8b£", "b")):
    for _char in _chars:
        SKELETON[ord(_char)] = ord(_code)

MAX_SWAPS = 2
_CLASS_OF = {char: number for number, chars in enumerate(CLASSES) for char in chars}


def look_alike(one: str, other: str) -> bool:
    """Whether two characters are the same, in another case, or of one class."""
    if one == other or one.casefold() == other.casefold():
        return True
    return one in _CLASS_OF and _CLASS_OF[one] == _CLASS_OF.get(other)


def confusable(read: str, real: str) -> bool:
    """Whether eyes may have read `read` where `real` stands. White space must be in both alike.

    At most MAX_SWAPS characters of one class, or, but for case, one of: rn for m or m for rn, a
    digit lost, a digit doubled.
    """
    if len(read) == len(real) and all(map(look_alike, read, real)):
        return sum(map(_swapped, read, real)) <= MAX_SWAPS
    small, large = read.casefold(), real.casefold()
    at = 0
    while at < min(len(small), len(large)) and small[at] == large[at]:
        at += 1
    # The slip is at the first difference, or before it where a repeat hides it.
    return any(
        left == right
        for start in range(max(0, at - 1), at + 1)
        for left, right in _slips(small[start:], large[start:])
    )


def _swapped(one: str, other: str) -> bool:
    return one.casefold() != other.casefold()


def _slips(read: str, real: str) -> Iterator[tuple[str, str]]:
    """What is left to compare after one slip at the beginning."""
    if read.startswith("m") and real.startswith("rn"):
        yield read[1:], real[2:]
    if read.startswith("rn") and real.startswith("m"):
        yield read[2:], real[1:]
    if real[:1].isdigit():
        yield read, real[1:]  # lost
    if len(read) > 1 and read[0].isdigit() and read[0] == read[1]:
        yield read[1:], real  # doubled


def respelled(read: str) -> Iterator[str]:
    """Strings that eyes may have read as this one with rn for m, m for rn, or a doubled digit."""
    for at, char in enumerate(read):
        if read.startswith("rn", at):
            yield f"{read[:at]}m{read[at + 2 :]}"
        if char == "m":
            yield f"{read[:at]}rn{read[at + 1 :]}"
        if char.isdigit() and read[at + 1 : at + 2] == char:
            yield read[:at] + read[at + 1 :]
