"""Directions by Unicode's bidirectional algorithm (UAX #9): levels of characters. No glyphs.

The rules bear the names that the annex gives them. All of BidiCharacterTest.txt passes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

REMOVED = -1
"""Level of what rule X9 removes: explicit embeddings and boundary neutrals, such as joiners."""

_MAX_DEPTH = 125
_MAX_OPEN = 63
"""Brackets open at a time, after which BD16 gives up."""
_ISOLATES = ("LRI", "RLI", "FSI")
_GONE = frozenset(("LRE", "RLE", "LRO", "RLO", "PDF", "BN"))
_NEUTRAL = frozenset(("B", "S", "WS", "ON", "LRI", "RLI", "FSI", "PDI"))
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


def first_strong_level(text: str) -> int:
    """Level of a paragraph: 1 if its first strong character runs right to left (P2, P3)."""
    return _first_strong([bidi_class(char) for char in text], 0, len(text))


def _first_strong(kinds: list[str], begin: int, end: int) -> int:
    depth = 0
    for kind in kinds[begin:end]:
        if kind in _ISOLATES:
            depth += 1
        elif kind == "PDI":
            depth = max(0, depth - 1)
        elif not depth and kind in ("L", "R", "AL"):
            return int(kind != "L")
    return 0


def levels_of(text: str, base: int) -> list[int]:
    """Embedding level of every character of a paragraph of level `base`, taken as one line.

    Odd levels run right to left. Linear in the text.
    """
    original = [bidi_class(char) for char in text]
    kinds, explicit, matching = _explicit(original, base)
    levels = list(explicit)
    for run in _isolating_runs(original, explicit, matching):
        _resolve(text, original, kinds, (explicit, levels), run, base, matching)
    _reset_white_space(original, levels, base)
    return levels


def _matches(kinds: list[str]) -> dict[int, int]:
    """Where every isolate initiator's PDI is, and back (BD9)."""
    found: dict[int, int] = {}
    held: list[int] = []
    for index, kind in enumerate(kinds):
        if kind in _ISOLATES:
            held.append(index)
        elif kind == "PDI" and held:
            begin = held.pop()
            found[begin], found[index] = index, begin
    return found


def _explicit(original: list[str], base: int) -> tuple[list[str], list[int], dict[int, int]]:
    """Classes after overrides, levels of embeddings and matching isolates (X1 to X9)."""
    kinds, levels = list(original), [base] * len(original)
    matching = _matches(original)
    stack: list[tuple[int, str, bool]] = [(base, "", False)]  # level, override, isolate
    isolates_over = embeddings_over = isolates = 0
    for index, kind in enumerate(original):
        level, override, _ = stack[-1]
        if kind in ("LRE", "RLE", "LRO", "RLO") or kind in _ISOLATES:
            isolate = kind in _ISOLATES
            if isolate:
                levels[index] = level
                kinds[index] = override or kind
            to_right = kind in ("LRE", "LRO", "LRI")
            if kind == "FSI":
                end = matching.get(index, len(original))
                to_right = not _first_strong(original, index + 1, end)
            wanted = (level + 2) & ~1 if to_right else (level + 1) | 1
            if wanted <= _MAX_DEPTH and not isolates_over and not embeddings_over:
                forced = {"LRO": "L", "RLO": "R"}.get(kind, "")
                stack.append((wanted, forced, isolate))
                isolates += isolate
            elif isolate:
                isolates_over += 1
            elif not isolates_over:
                embeddings_over += 1
        elif kind == "PDI":
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
        elif kind == "PDF":
            if not isolates_over:
                if embeddings_over:
                    embeddings_over -= 1
                elif not stack[-1][2] and len(stack) > 1:
                    stack.pop()
        elif kind == "B":
            levels[index] = base
        elif kind != "BN":
            levels[index] = level
            kinds[index] = override or kind
        if kind in _GONE:
            levels[index] = REMOVED
    return kinds, levels, matching


def _isolating_runs(
    original: list[str], levels: list[int], matching: dict[int, int]
) -> Iterator[list[int]]:
    """Isolating run sequences (BD13): indexes of characters, in order."""
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
        if original[run[0]] == "PDI" and run[0] in matching:
            continue
        whole = list(run)
        while original[whole[-1]] in _ISOLATES and whole[-1] in matching:
            whole += runs[run_of[matching[whole[-1]]]]
        yield whole


def _resolve(
    text: str,
    original: list[str],
    kinds: list[str],
    both: tuple[list[int], list[int]],
    run: list[int],
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
    sos, eos = ("R" if max(level, other) % 2 else "L" for other in (before, after))
    own = [kinds[index] for index in run]
    _weak(own, sos)
    embedding = "R" if level % 2 else "L"
    _brackets(text, original, run, own, sos, embedding)
    _neutral(own, sos, eos, embedding)
    for index, kind in zip(run, own, strict=True):
        if level % 2:
            levels[index] = level + (kind in ("L", "AN", "EN"))  # I2
        else:
            levels[index] = level + {"L": 0, "R": 1}.get(kind, 2)  # I1


def _weak(own: list[str], sos: str) -> None:
    """W1 to W7, in place."""
    before = strong = sos
    for at, kind in enumerate(own):
        if kind == "NSM":
            own[at] = kind = "ON" if before in (*_ISOLATES, "PDI") else before  # W1
        before = kind
        if kind in ("L", "R", "AL"):
            strong = kind
        elif kind == "EN" and strong == "AL":
            own[at] = "AN"  # W2
    for at, kind in enumerate(own):
        if kind == "AL":
            own[at] = "R"  # W3
    for at in range(1, len(own) - 1):
        left, right = own[at - 1], own[at + 1]
        if left == right and (
            (own[at] in ("ES", "CS") and left == "EN") or (own[at] == "CS" and left == "AN")
        ):
            own[at] = left  # W4
    at = 0
    while at < len(own):
        if own[at] != "ET":
            at += 1
            continue
        end = at
        while end < len(own) and own[end] == "ET":
            end += 1
        beside = (at and own[at - 1] == "EN") or (end < len(own) and own[end] == "EN")
        own[at:end] = ["EN" if beside else "ON"] * (end - at)  # W5
        at = end
    strong = sos
    for at, kind in enumerate(own):
        if kind in ("ES", "CS"):
            own[at] = "ON"  # W6
        elif kind in ("L", "R"):
            strong = kind
        elif kind == "EN" and strong == "L":
            own[at] = "L"  # W7


def _brackets(
    text: str, original: list[str], run: list[int], own: list[str], sos: str, embedding: str
) -> None:
    """N0: both brackets of a pair take one direction, in place."""
    held: list[tuple[str, int]] = []
    pairs: list[tuple[int, int]] = []
    for at, index in enumerate(run):
        if own[at] != "ON":
            continue
        char = text[index]
        if char in _CLOSING_OF:
            if len(held) == _MAX_OPEN:
                return
            closing = _CLOSING_OF[char]
            held.append((_SAME.get(closing, closing), at))
        elif _SAME.get(char, char) in _CLOSING:
            wanted = _SAME.get(char, char)
            for depth in range(len(held) - 1, -1, -1):
                if held[depth][0] == wanted:
                    pairs.append((held[depth][1], at))
                    del held[depth:]
                    break
    if not pairs:
        return
    strong = ["R" if kind in ("R", "EN", "AN") else kind if kind == "L" else "" for kind in own]
    # How many strong characters of either direction lie before each place, as resolved so far;
    # pairs come in the order of their opening, so what precedes one is settled when it is met.
    counts = {way: _sums(strong, way) for way in ("L", "R")}
    last, seen = sos, 0
    opposite = "R" if embedding == "L" else "L"
    for begin, end in sorted(pairs):
        while seen < begin:
            last = strong[seen] or last
            seen += 1
        inside = {way: counts[way][end] - counts[way][begin + 1] for way in ("L", "R")}
        if inside[embedding]:
            chosen = embedding
        elif inside[opposite]:
            chosen = opposite if last == opposite else embedding
        else:
            continue
        for at in (begin, end):
            own[at] = strong[at] = chosen
            # W1's marks after a bracket follow it, over what X9 removed.
            for later in range(at + 1, len(run)):
                if original[run[later]] != "NSM":
                    break
                own[later] = chosen


def _sums(strong: list[str], way: str) -> list[int]:
    sums = [0]
    for one in strong:
        sums.append(sums[-1] + (one == way))
    return sums


def _neutral(own: list[str], sos: str, eos: str, embedding: str) -> None:
    """N1 and N2, in place."""
    at = 0
    while at < len(own):
        if own[at] not in _NEUTRAL:
            at += 1
            continue
        end = at
        while end < len(own) and own[end] in _NEUTRAL:
            end += 1
        left = _way(own[at - 1]) if at else sos
        right = _way(own[end]) if end < len(own) else eos
        own[at:end] = [left if left == right else embedding] * (end - at)
        at = end


def _way(kind: str) -> str:
    return "R" if kind in ("EN", "AN") else kind


def _reset_white_space(original: list[str], levels: list[int], base: int) -> None:
    """L1: separators, and white space before them or at the end, have the paragraph's level."""
    trailing = True
    for index in range(len(levels) - 1, -1, -1):
        kind = original[index]
        if kind in ("B", "S"):
            trailing = True
        elif kind not in ("WS", "PDI", *_ISOLATES, *_GONE):
            trailing = False
        if trailing and levels[index] != REMOVED:
            levels[index] = base
