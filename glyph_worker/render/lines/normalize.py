"""One normal form for every text; what is dropped or replaced is counted. Knows no style."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np

_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_STRING = "[\t -~\xa0-\U0010ffff]"
# Control functions of ECMA-48, whole: control sequences (CSI), control strings (DCS, OSC, SOS, PM,
# APC) that end on their line, other escape sequences; what was cut short loses its opening only.
# The one-character openings (C1) are often letters of a wrongly decoded Windows page: they count
# where parameters or an end prove them. No part can match across an opening, so this is linear.
_TERMINAL = re.compile(
    f"\x1b[\\]PX^_]{_STRING}*(?:\x07|\x1b\\\\|\x9c)"
    "|\x1b\\[[0-?]*[ -/]{0,2}[@-~]?"
    "|\x1b[\\]PX^_]"
    "|\x1b(?: [FGLMN]|[!-/]{1,2}[0-~]|[0-?DEHMNOVWZ\\\\cno|}~])"
    f"|[\x90\x98\x9d-\x9f]{_STRING}*(?:\x07|\x1b\\\\|\x9c)"
    "|\x9b(?:[0-?]+[ -/]{0,2}[@-~]|[HJKm])"
)
# A letter struck twice is bold on a line printer, one on an underscore underlined.
_OVERSTRUCK = re.compile("_\x08(?=[^\n\x08])|([^\n\x08])\x08(?=\\1)|(?<=[^_\n\x08])\x08_")
_SURROGATES = re.compile("[\ud800-\udfff]")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1b\x1d-\x1f\x7f-\x84\x86-\x9f]+")
# Cf and other invisible code points (Unicode's Default_Ignorable). The visible ones of Cf, such as
# U+06DD, stay. A (non-)joiner stays after a letter of a script whose shaping it steers.
_INVISIBLE = re.compile(
    "["
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "]|(?<![\u0600-\u08ff\u0900-\u0dff])[\u200c\u200d]"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Normalized:
    """A text in normal form. Page offsets count its characters."""

    text: str
    counts: Mapping[str, int]
    """What was changed, by kind; kinds that did not occur are absent: `line_ends` unified to
    U+000A, `terminal` (characters of terminal control sequences and of overstriking) dropped,
    `composed` (characters saved by NFC, at least 1 if any changed), `controls` and
    `invisible` dropped, `surrogates` replaced by U+FFFD."""


def normalize(text: str) -> Normalized:
    """Line ends to U+000A, lone surrogates to U+FFFD, no control or invisible characters and no
    terminal control sequences, NFC.

    Tabs, document.PART_END and all visible characters stay. Idempotent. Never raises.
    """
    counts: dict[str, int] = {}
    if _is_clean(text):
        return Normalized(text=text, counts=MappingProxyType(counts))

    def replaced(pattern: re.Pattern[str], by: str, kind: str) -> None:
        nonlocal text
        before = len(text)
        text, hits = pattern.subn(by, text)
        if hits:
            counts[kind] = counts.get(kind, 0) + (hits if by else before - len(text))

    replaced(_TERMINAL, "", "terminal")
    replaced(_OVERSTRUCK, "", "terminal")
    replaced(_LINE_ENDS, "\n", "line_ends")
    replaced(_CONTROLS, "", "controls")
    if not text.isascii():
        replaced(_SURROGATES, "\ufffd", "surrogates")
        replaced(_INVISIBLE, "", "invisible")
        if not unicodedata.is_normalized("NFC", text):
            composed = unicodedata.normalize("NFC", text)
            counts["composed"] = max(1, len(text) - len(composed))
            text = composed
    return Normalized(text=text, counts=MappingProxyType(counts))


def _is_clean(text: str) -> bool:
    """Whether `normalize` would change nothing; a quick look at every character."""
    if text.isascii():
        raw = text.encode("ascii")
        return len(raw.translate(None, _ODD_ASCII)) == len(raw)
    odd = _odd_table()
    for begin in range(0, len(text), _CHUNK):
        codes = np.frombuffer(
            text[begin : begin + _CHUNK].encode("utf-32-le", "surrogatepass"), np.uint32
        )
        if odd[codes].any():
            return False
    return unicodedata.is_normalized("NFC", text)


_CHUNK = 1 << 18
_ODD_ASCII = bytes(
    code for code in range(128) if (code < 32 and code not in (9, 10, 28)) or code == 127
)


@cache
def _odd_table() -> np.ndarray:
    """What any of the patterns could match, bool[0x110000]."""
    table = np.zeros(0x110000, np.bool_)
    for low, high in _ODD_RANGES:
        table[low : high + 1] = True
    return table


_ODD_RANGES = (
    *(
        (0x00, 0x08),
        (0x0B, 0x1B),
        (0x1D, 0x1F),
        (0x7F, 0x9F),
        (0xAD, 0xAD),
        (0x34F, 0x34F),
        (0x61C, 0x61C),
    ),
    *((0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200F), (0x2028, 0x202E)),
    *((0x2060, 0x206F), (0x3164, 0x3164), (0xD800, 0xDFFF), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF)),
    *((0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A)),
    (0xE0000, 0xE0FFF),
)
