"""Directions by Unicode's bidirectional algorithm (UAX #9): levels of characters. No glyphs.

The rules bear the names that the annex gives them. All of BidiCharacterTest.txt passes. Classes of
a text are bytes, a letter each, so that most rules are a search and a replacement.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice

import numpy as np

REMOVED = -1
"""Level of what rule X9 removes: explicit embeddings and boundary neutrals, such as joiners."""

_MAX_DEPTH = 125
_MAX_OPEN = 63
"""Brackets open at a time, after which BD16 gives up."""
_CODES = {
    "L": "L", "R": "R", "AL": "A", "EN": "E", "AN": "N", "ES": "S", "CS": "C", "ET": "T",
    "NSM": "M", "BN": "b", "B": "P", "S": "G", "WS": "W", "ON": "O", "LRE": "l", "RLE": "r",
    "LRO": "(", "RLO": ")", "PDF": "p", "LRI": "<", "RLI": ">", "FSI": "?", "PDI": "!",
}  # fmt: skip
"""Bidi_Class to its letter here."""
_ISOLATES = b"<>?"
_EMBEDDINGS = b"lr()"
_GONE = b"lr()pb"
_PDI, _PDF, _FSI, _BN, _SEPARATOR, _MARK = b"!p?bPM"
_CONTROLS = re.compile(rb"[lr()p<>?!]")
_BLANK = re.compile(rb"[WPG<>?!lr()pb]+")
_NEUTRALS = re.compile(rb"[OWPG<>?!]+")
_MARKED = re.compile(rb"(.)(M+)")
_AFTER_AL = re.compile(rb"A[^LRA]*")
_AFTER_L = re.compile(rb"L[^LRE]*E[^LR]*")
_BETWEEN_EN = re.compile(rb"(?<=E)[SC](?=E)")
_BETWEEN_AN = re.compile(rb"(?<=N)C(?=N)")
_TERMINATORS = re.compile(rb"T+")
_WAYS = bytes.maketrans(b"ENASCTMOWPG<>?!", b"RR.............")
"""Direction that rules N0 to N2 take a class for; a point is none."""
_RISES = (
    bytes.maketrans(b"LREN", bytes([0, 1, 2, 2])),  # I1
    bytes.maketrans(b"LREN", bytes([1, 0, 1, 1])),  # I2
)
_OPENING = (
    "([{\u0f3a\u0f3c\u169b\u2045\u207d\u208d\u2308\u230a\u2329\u2768\u276a\u276c\u276e\u2770"
    "\u2772\u2774\u27c5\u27e6\u27e8\u27ea\u27ec\u27ee\u2983\u2985\u2987\u2989\u298b\u298d\u298f"
    "\u2991\u2993\u2995\u2997\u29d8\u29da\u29fc\u2e22\u2e24\u2e26\u2e28\u2e55\u2e57\u2e59\u2e5b"
    "\u3008\u300a\u300c\u300e\u3010\u3014\u3016\u3018\u301a\ufe59\ufe5b\ufe5d\uff08\uff3b\uff5b"
    "\uff5f\uff62"
)
_APART = {"[": "]", "{": "}", "\u298d": "\u2990", "\u298f": "\u298e"}
_APART |= {"\uff3b": "\uff3d", "\uff5b": "\uff5d"}
"""Closing brackets that are not the next code point."""
_SAME = {"\u232a": "\u3009"}
_CLOSING_OF = {char: _APART.get(char, chr(ord(char) + 1)) for char in _OPENING}
_CLOSING = {_SAME.get(char, char) for char in _CLOSING_OF.values()}
_BRACKETS = re.compile(f"[{re.escape(''.join((*_CLOSING_OF, *_CLOSING, *_SAME)))}]")


def bidi_class(char: str) -> str:
    """Bidi_Class of a character; of one not yet assigned, that of its block."""
    known = unicodedata.bidirectional(char)
    if known:
        return known
    code = ord(char)
    if code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF or 0xE0000 <= code <= 0xE0FFF:
        return "BN"
    if 0x600 <= code <= 0x7BF or 0x860 <= code <= 0x8FF or 0xFB50 <= code <= 0xFDFF:
        return "AL"
    if 0xFE70 <= code <= 0xFEFF or 0x1EC70 <= code <= 0x1ECBF or 0x1ED00 <= code <= 0x1EEFF:
        return "AL"
    if 0x590 <= code <= 0x85F or 0xFB1D <= code <= 0xFB4F:
        return "R"
    if 0x10800 <= code <= 0x10FFF or 0x1E800 <= code <= 0x1EFFF:
        return "R"
    return "ET" if 0x20A0 <= code <= 0x20CF else "L"


@lru_cache(maxsize=1 << 16)
def _code(char: str) -> int:
    return ord(_CODES[bidi_class(char)])


def first_strong_level(text: str) -> int:
    """Level of a paragraph: 1 if its first strong character runs right to left (P2, P3)."""
    return _first_strong(map(_code, text))


def _first_strong(kinds: Iterable[int]) -> int:
    depth = 0
    for kind in kinds:
        if kind in _ISOLATES:
            depth += 1
        elif kind == _PDI:
            depth = max(0, depth - 1)
        elif not depth and kind in b"LRA":
            return int(kind != ord("L"))
    return 0


def levels_of(text: str, base: int) -> list[int]:
    """Embedding level of every character of a paragraph of level `base`, taken as one line.

    Odd levels run right to left. Linear in the text.
    """
    original = bytes(map(_code, text))
    kinds, explicit, matching = _explicit(original, base)
    levels = list(explicit)
    for run in _isolating_runs(original, explicit, matching):
        _resolve(text, original, kinds, (explicit, levels), run, base, matching)
    _reset_white_space(original, levels, base)
    return levels


def _matches(kinds: bytes) -> dict[int, int]:
    """Where every isolate initiator's PDI is, and back (BD9)."""
    found: dict[int, int] = {}
    held: list[int] = []
    for index, kind in enumerate(kinds):
        if kind in _ISOLATES:
            held.append(index)
        elif kind == _PDI and held:
            begin = held.pop()
            found[begin], found[index] = index, begin
        elif kind == _SEPARATOR:
            held.clear()
    return found


def _explicit(original: bytes, base: int) -> tuple[bytearray, list[int], dict[int, int]]:
    """Classes after overrides, levels of embeddings and matching isolates (X1 to X9)."""
    kinds, levels = bytearray(original), [base] * len(original)
    if not _CONTROLS.search(original):
        if _BN in original:
            levels = [REMOVED if kind == _BN else base for kind in original]
        return kinds, levels, {}
    matching = _matches(original)
    stack: list[tuple[int, int, bool]] = [(base, 0, False)]  # level, override, isolate
    isolates_over = embeddings_over = isolates = 0
    for index, kind in enumerate(original):
        level, override, _ = stack[-1]
        if kind in _EMBEDDINGS or kind in _ISOLATES:
            isolate = kind in _ISOLATES
            if isolate:
                levels[index] = level
                kinds[index] = override or kind
            to_right = kind in b"l(<"
            if kind == _FSI:
                end = matching.get(index, len(original))
                to_right = not _first_strong(islice(original, index + 1, end))
            wanted = (level + 2) & ~1 if to_right else (level + 1) | 1
            if wanted <= _MAX_DEPTH and not isolates_over and not embeddings_over:
                forced = {ord("("): ord("L"), ord(")"): ord("R")}.get(kind, 0)
                stack.append((wanted, forced, isolate))
                isolates += isolate
            elif isolate:
                isolates_over += 1
            elif not isolates_over:
                embeddings_over += 1
        elif kind == _PDI:
            if isolates_over:
                isolates_over -= 1
            elif isolates:
                embeddings_over = 0
                while not stack[-1][2]:
                    stack.pop()
                stack.pop()
                isolates -= 1
            level, override, _ = stack[-1]
            levels[index] = level
            kinds[index] = override or kind
        elif kind == _PDF:
            if not isolates_over:
                if embeddings_over:
                    embeddings_over -= 1
                elif not stack[-1][2] and len(stack) > 1:
                    stack.pop()
        elif kind == _SEPARATOR:  # X8
            levels[index] = base
            del stack[1:]
            isolates_over = embeddings_over = isolates = 0
        elif kind != _BN:
            levels[index] = level
            kinds[index] = override or kind
        if kind in _GONE:
            levels[index] = REMOVED
    return kinds, levels, matching


def _isolating_runs(
    original: bytes, levels: list[int], matching: dict[int, int]
) -> Iterator[Sequence[int]]:
    """Isolating run sequences (BD13): indexes of characters, in order."""
    if levels and levels.count(levels[0]) == len(levels):
        yield from [range(len(levels))] if levels[0] != REMOVED else []
        return
    runs: list[list[int]] = []
    run_of: dict[int, int] = {}  # by first character
    for index, level in enumerate(levels):
        if level == REMOVED:
            continue
        if runs and levels[runs[-1][-1]] == level:
            runs[-1].append(index)
        else:
            run_of[index] = len(runs)
            runs.append([index])
    for run in runs:
        if original[run[0]] == _PDI and run[0] in matching:
            continue
        whole = list(run)
        while original[whole[-1]] in _ISOLATES and whole[-1] in matching:
            whole += runs[run_of[matching[whole[-1]]]]
        yield whole


def _resolve(
    text: str,
    original: bytes,
    kinds: bytearray,
    both: tuple[list[int], list[int]],
    run: Sequence[int],
    base: int,
    matching: dict[int, int],
) -> None:
    """Weak and neutral classes of one isolating run sequence, then its levels: from the explicit
    ones in `both`, into the other."""
    explicit, levels = both
    level = explicit[run[0]]
    before = next((explicit[i] for i in range(run[0] - 1, -1, -1) if explicit[i] >= 0), base)
    after = base
    if not (original[run[-1]] in _ISOLATES and run[-1] not in matching):
        following = range(run[-1] + 1, len(explicit))
        after = next((explicit[i] for i in following if explicit[i] >= 0), base)
    sos, eos = (b"R" if max(level, other) % 2 else b"L" for other in (before, after))
    whole = len(run) == len(original)
    own = _weak(bytes(kinds if whole else [kinds[index] for index in run]), sos)
    embedding = b"R" if level % 2 else b"L"
    chars = text if whole else "".join([text[index] for index in run])
    own = _brackets(chars, original, run, own, sos, embedding)
    own = _neutral(own, sos, eos, embedding)
    for index, rise in zip(run, own.translate(_RISES[level % 2]), strict=True):
        levels[index] = level + rise


def _weak(own: bytes, sos: bytes) -> bytes:
    """W1 to W7."""
    if b"M" in own:  # W1
        own = _MARKED.sub(
            lambda found: found[1] + (b"O" if found[1] in b"<>?!" else found[1]) * len(found[2]),
            sos + own,
        )[1:]
    if b"A" in own:  # W2, W3
        own = _AFTER_AL.sub(lambda found: found[0].replace(b"E", b"N"), own).replace(b"A", b"R")
    own = _BETWEEN_AN.sub(b"N", _BETWEEN_EN.sub(b"E", own))  # W4
    if b"T" in own:  # W5
        own = _TERMINATORS.sub(
            lambda found: (
                (b"E" if b"E" in own[max(0, found.start() - 1) : found.end() + 1] else b"O")
                * len(found[0])
            ),
            own,
        )
    own = own.replace(b"S", b"O").replace(b"C", b"O")  # W6
    if b"E" in own:  # W7
        own = _AFTER_L.sub(lambda found: found[0].replace(b"E", b"L"), sos + own)[1:]
    return own


def _brackets(
    chars: str, original: bytes, run: Sequence[int], own: bytes, sos: bytes, embedding: bytes
) -> bytes:
    """N0: both brackets of a pair take one direction. `chars` are those of the run."""
    held: list[tuple[str, int]] = []
    num_held: Counter[str] = Counter()
    pairs: list[tuple[int, int]] = []
    for found in _BRACKETS.finditer(chars):
        at, char = found.start(), found[0]
        if own[at] != ord("O"):
            continue
        if char in _CLOSING_OF:
            if len(held) == _MAX_OPEN:
                return own
            closing = _CLOSING_OF[char]
            wanted = _SAME.get(closing, closing)
            held.append((wanted, at))
            num_held[wanted] += 1
        else:
            wanted = _SAME.get(char, char)
            while num_held[wanted]:  # it closes its own, and what was opened since is none
                kind, begin = held.pop()
                num_held[kind] -= 1
                if kind == wanted:
                    pairs.append((begin, at))
                    break
    if not pairs:
        return own
    changed, strong = bytearray(own), bytearray(own.translate(_WAYS))
    # How many strong characters of either direction lie up to each place, as resolved so far;
    # pairs come in the order of their opening, so what precedes one is settled when it is met.
    codes = np.frombuffer(bytes(strong), np.uint8)
    counts = {way: np.cumsum(codes == way[0], dtype=np.int32) for way in (b"L", b"R")}
    last, seen, size = sos, 0, len(run)
    opposite = b"R" if embedding == b"L" else b"L"
    for begin, end in sorted(pairs):
        lefts, rights = (strong.rfind(way, seen, begin) for way in (b"L", b"R"))
        if max(lefts, rights) >= 0:
            last = b"L" if lefts > rights else b"R"
        seen = begin
        inside = {way: counts[way][end - 1] - counts[way][begin] for way in (b"L", b"R")}
        if inside[embedding]:
            chosen = embedding
        elif inside[opposite]:
            chosen = opposite if last == opposite else embedding
        else:
            continue
        for at in (begin, end):
            changed[at : at + 1] = strong[at : at + 1] = chosen
            # W1's marks after a bracket follow it, over what X9 removed.
            later = at + 1
            while later < size and original[run[later]] == _MARK:
                changed[later : later + 1] = chosen
                later += 1
    return bytes(changed)


def _neutral(own: bytes, sos: bytes, eos: bytes, embedding: bytes) -> bytes:
    """N1 and N2."""
    ways = (sos + own + eos).translate(_WAYS)

    def resolved(found: re.Match[bytes]) -> bytes:
        left, right = ways[found.start()], ways[found.end() + 1]
        return (bytes([left]) if left == right else embedding) * len(found[0])

    return _NEUTRALS.sub(resolved, own)


def _reset_white_space(original: bytes, levels: list[int], base: int) -> None:
    """L1: separators, and white space before them or at the end, have the paragraph's level."""
    for found in _BLANK.finditer(original):
        end = found.end()
        if end < len(original):
            end = max(original.rfind(way, found.start(), end) for way in (b"P", b"G")) + 1
        for index in range(found.start(), end):
            if levels[index] != REMOVED:
                levels[index] = base
