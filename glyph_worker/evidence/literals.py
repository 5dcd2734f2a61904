"""Which strings of an answer can be looked up in a document, and their kinds. By form alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from glyph_worker.proof import LiteralKind

_MONTH = (
    "(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|"
    "Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\\.?"
)
_TIME = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?"
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)*(?:,\d{1,2}(?![\d.,]))?)"
CURRENCIES = "€$£¥₹₽₩₺₴₦฿₫₪₱"
_ISO_CURRENCY = (
    "(?:EUR|USD|GBP|JPY|CHF|CNY|INR|AUD|CAD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|RON|BGN|TRY|RUB|UAH|BRL|"
    "MXN|ZAR|NGN|KES|KRW|HKD|SGD|THB|IDR|MYR|PHP|VND|ILS|AED|SAR|EGP)"
)
_CASED = "[0-9A-Za-z\u00c0-\u024f\u0370-\u052f]"
_LETTER = "[A-Za-z\u00aa-\u024f\u0370-\u052f\u0531-\u0587\u1e00-\u1fff]"
_PATTERNS: tuple[tuple[LiteralKind, str], ...] = (
    ("url", r"(?:[A-Za-z][A-Za-z0-9+.-]{1,15}://|www\.)[^\s<>\"'`]+"),
    ("address", r"(?<![\w.+%-])[\w.+%-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,8}"),
    ("address", r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?:[:/]\d{1,5})?(?![\w.]\w)"),
    ("date", rf"\d{{4}}-\d{{2}}-\d{{2}}(?:[T ]{_TIME}(?:Z|[+-]\d{{2}}:?\d{{2}})?)?(?!\w)"),
    ("date", rf"(?<!\w)\d{{1,2}}(?:st|nd|rd|th)?\.? {_MONTH},? \d{{4}}(?!\w)"),
    ("date", rf"(?<!\w){_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}(?!\w)"),
    ("date", r"(?<![\w./-])\d{1,2}(?P<joint>[./-])\d{1,2}(?P=joint)\d{2,4}(?![\w/-])"),
    ("date", r"\d{2,4}年\d{1,2}月(?:\d{1,2}日)?"),
    ("date", rf"(?<![\w:.]){_TIME}(?![\w:])"),
    ("amount", rf"[{CURRENCIES}] ?{_NUMBER}(?!\w)"),
    ("amount", rf"(?<![\w.]){_NUMBER} ?(?:[{CURRENCIES}]|{_ISO_CURRENCY}(?!\w))"),
    ("amount", rf"(?<!\w){_ISO_CURRENCY} ?{_NUMBER}(?!\w)"),
    # Read so, and nothing that anybody writes.
    ("code", r"[\w:.,-]*\d£[\w:.,-]*"),
    # Letters with digits, with joints inside, or in mixed case; what has none of it is a word.
    ("code", rf"(?<!{_CASED})[A-Za-z0-9_]+(?:[-/.:#\\@][A-Za-z0-9_]+)*(?!{_CASED})"),
    ("number", _NUMBER),
    ("name", rf"{_LETTER}+"),
)
_SCAN = re.compile("|".join(f"(?P<k{at}>{form})" for at, (_, form) in enumerate(_PATTERNS)))
_KINDS = {f"k{at}": kind for at, (kind, _) in enumerate(_PATTERNS)}
_NO_NAMES = frozenset(("yes", "no", "none", "true", "false", "nothing", "unknown", "not", "n/a"))
"""Answers in themselves: they stand for no string of the document."""
_REST_OF_NAME = re.compile(rf"(?:['’-]{_LETTER}+)+")
_REST_OF_CODE = re.compile(r"[A-Za-z0-9_]+(?:[-/.:#\\@][A-Za-z0-9_]+)*")
_TRAILING = ".,;:!?)]}>'\"`*|"
_NAME_GAP = re.compile(r"[ \t]+(?:(?:of|the|and|de|da|van|von|der|den|du|la|le|&)[ \t]+)?")
MAX_NAME_WORDS = 8


_BARE = re.compile(_NUMBER)


class FoundLiteral(NamedTuple):
    """One literal of an answer and its place in it."""

    text: str
    kind: LiteralKind
    start: int
    end: int
    doubtful: bool = False
    """A capitalised word that may only begin a sentence: no literal unless it is a misread one."""


def literals(answer: str) -> Iterator[FoundLiteral]:
    """In order; they do not overlap. Linear in the answer's length."""
    name: FoundLiteral | None = None
    words = 0
    for one in _tokens(answer):
        goes_on = one.kind == "name" and name is not None and words < MAX_NAME_WORDS
        if goes_on and name and _NAME_GAP.fullmatch(answer, name.end, one.start):
            name = FoundLiteral(answer[name.start : one.end], "name", name.start, one.end)
            words += 1
            continue
        if name is not None:
            yield from _named(answer, name, words)
        name, words = (one, 1) if one.kind == "name" else (None, 0)
        if one.kind != "name":
            yield one
    if name is not None:
        yield from _named(answer, name, words)


def _tokens(answer: str) -> Iterator[FoundLiteral]:
    at = 0
    while match := _SCAN.search(answer, at):
        kind = _KINDS[str(match.lastgroup)]
        text, start = match[0], match.start()
        if kind == "url":
            text = text.rstrip(_TRAILING)
        at = start + max(1, len(text))
        made = _refined(text, kind)
        if made is None:
            continue
        if made == "name" and (rest := _REST_OF_NAME.match(answer, at)):
            text, at = text + rest[0], rest.end()
        if made == "number":
            # A bare number may go on as one with separators: let its own pattern take it.
            number = _BARE.match(answer, start)
            assert number is not None
            text, at = number[0], number.end()
            if rest := _REST_OF_CODE.match(answer, at):
                text, at, made = text + rest[0], rest.end(), "code"
        yield FoundLiteral(text, made, start, start + len(text))


def _refined(text: str, kind: LiteralKind) -> LiteralKind | None:
    """The kind of a token; None for a plain word."""
    if kind == "name":
        return "name" if text[0].isupper() else None
    if kind != "code":
        return kind
    if _is_no_name(text):
        return None
    has_digit = any(map(str.isdigit, text))
    has_letter = any(map(str.isalpha, text))
    if has_digit and not has_letter and not set(text) - set("0123456789.,"):
        return "number"
    if has_digit or "_" in text.strip("_") or "\\" in text or "@" in text or "/" in text:
        return "code"
    letters = [part for part in re.split(r"[-/.:#]", text) if part]
    if any(map(_camel, letters)):
        return "code"
    if (
        "." in text
        and max(map(len, letters)) > 1
        and not (text[0].islower() and not text.islower())
    ):
        return "code"  # a file's or an attribute's name, and no full stop without a space after it
    if all(part[0].isupper() for part in letters):
        return "code" if len(letters) > 1 and text.isupper() else "name"
    return None


def _camel(word: str) -> bool:
    """Whether upper case follows lower case inside: camelCase, HeIen."""
    return any(a.islower() and b.isupper() for a, b in pairwise(word)) or (
        len(word) > 2 and word[:2].isupper() and word[2:].islower()
    )


def _is_no_name(text: str) -> bool:
    styled = text.islower() or text.isupper() or text.istitle()
    return styled and text.lower() in _NO_NAMES


def _named(answer: str, name: FoundLiteral, words: int) -> Iterator[FoundLiteral]:
    """The name, if it is one: single letters and yes and no are none."""
    if len(name.text) < 2 or (words == 1 and _is_no_name(name.text)):
        return
    before = answer[max(0, name.start - 16) : name.start].rstrip(" \t\"'“‘(*-•")
    begins = not before or (before[-1] in ".!?:\n" and answer[name.start - 1] != before[-1])
    goes_on = re.compile(r"(?:-[a-z]| [a-z])").match(answer, name.end) is not None
    yield name._replace(doubtful=words == 1 and begins and goes_on and not name.text.isupper())
