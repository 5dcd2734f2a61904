"""Whether a document has a literal: as it is, broken over lines, or in another usual spelling."""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from glyph_worker.evidence.confusions import confusable, respelled
from glyph_worker.evidence.fold import fold_text
from glyph_worker.evidence.index import DocumentIndex, Span, skeleton
from glyph_worker.evidence.literals import CURRENCIES, FoundLiteral

MAX_PLACES = 64
"""Places of one string that are told apart; more are not looked at."""
MAX_TRIED = 400
"""Places that are tried for a string that is not there as it is."""


class Finding(NamedTuple):
    """What a document has of a literal."""

    places: list[Span]
    """Where it stands, at most MAX_PLACES; none: the document does not have it."""
    suggested: str = ""
    """Of one that it does not have: the only string there that eyes take for it, or ''."""


def look_up(index: DocumentIndex, literal: FoundLiteral, *, thorough: bool = True) -> Finding:
    """Some milliseconds at most, in a document of a million characters; not
    `thorough`, without other spellings and suggestions, a fraction of it."""
    text = literal.text
    places = places_of(index, text, name=literal.kind == "name")
    if not places and thorough:
        for spelling in _spellings(literal):
            if places := list(islice(index.exact(spelling), MAX_PLACES)):
                break
    if not places and literal.kind == "amount":
        places = _amount(index, text)
    if places:
        return Finding(places)
    if literal.kind == "name":
        return _name(index, text, thorough=thorough)
    return Finding([], suggestion(index, text) if thorough else "")


def places_of(index: DocumentIndex, text: str, *, name: bool = False) -> list[Span]:
    """Places of a string as it is, else of one that differs in spacing, line ends or forms only."""
    places = list(islice(index.exact(text), MAX_PLACES))
    if places or (folded := fold_text(text)) == "":
        return places
    if len(text) > 1:
        tried = islice(index.alike(folded), MAX_TRIED)
        alike = (span for span in tried if same(text, index.text[slice(*span)], name=name))
        places = list(islice(alike, MAX_PLACES))
    return places


def same(text: str, raw: str, *, name: bool = False) -> bool:
    """Whether a piece of a document is this string but for spacing, line ends and letter forms;
    of a name of longer words, also in capitals or in small letters throughout."""
    wanted = _plain(text)
    for piece in (raw, _HYPHENATED.sub("", raw), _BROKEN.sub("", raw)):
        found = _plain(piece)
        if found == wanted:
            return True
        if name and found.casefold() == wanted.casefold():
            words = *found.split(), *wanted.split()
            return all(map(_is_styled, words)) and min(map(len, words)) > 2
    return False


_HYPHENATED = re.compile(r"[-\u00ad\u2010]\s*\n\s*")
_BROKEN = re.compile(r"(?<=[-/_.])\s*\n\s*")
_DASHES = re.compile("[\u2010-\u2015\u2212]")


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFKC", text.replace("\u00ad", ""))
    text = text.translate(_QUOTES)
    return " ".join(_DASHES.sub("-", text).split())


_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "„": '"'})


def _is_styled(word: str) -> bool:
    return word.islower() or word.isupper() or word.istitle() or not any(map(str.isalpha, word))


_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,3}(?:\.\d{3})+(?:,\d+)?")
_PLAIN_NUMBER = re.compile(r"(\d{4,15})(\.\d+)?")


def _spellings(literal: FoundLiteral) -> Iterator[str]:
    """Other usual ways to write the same value."""
    text = literal.text
    if literal.kind == "number":
        if _GROUPED.fullmatch(text):
            yield text.replace(",", "") if "," in text.partition(".")[0] else text.replace(".", "")
            yield text.replace(",", "\u00a0").replace(",", " ")
            yield text.replace(",", " ")
        elif match := _PLAIN_NUMBER.fullmatch(text):
            yield f"{int(match[1]):,}{match[2] or ''}" if match[1][0] != "0" else text
    elif literal.kind == "date" and (day := _day(text)) is not None:
        month = day.strftime("%B")
        for name in dict.fromkeys((month, month[:3], f"{month[:3]}.")):
            for number in dict.fromkeys((str(day.day), f"{day.day:02d}")):
                yield f"{number} {name} {day.year}"
                yield f"{number}. {name} {day.year}"
                yield f"{name} {number}, {day.year}"
                yield f"{number}-{name}-{day.year}"
        yield day.isoformat()
        yield f"{day.day:02d}.{day.month:02d}.{day.year}"
        yield f"{day.year}年{day.month}月{day.day}日"
        if day.day > 12:  # else nobody knows which is the month
            yield f"{day.day:02d}/{day.month:02d}/{day.year}"
            yield f"{day.month:02d}/{day.day:02d}/{day.year}"


_WORDS_OF_DATE = re.compile(
    r"(?P<d>\d{1,2})(?:st|nd|rd|th)?\.? (?P<m>[A-Z][a-z]{2})[a-z]*\.?,? (?P<y>\d{4})"
    r"|(?P<m2>[A-Z][a-z]{2})[a-z]*\.? (?P<d2>\d{1,2})(?:st|nd|rd|th)?,? (?P<y2>\d{4})"
    r"|(?P<y3>\d{4})-(?P<m3>\d{2})-(?P<d3>\d{2})"
)
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def _day(text: str) -> datetime.date | None:
    """A date whose parts leave no doubt."""
    match = _WORDS_OF_DATE.fullmatch(text)
    if match is None:
        return None
    year = int(match["y"] or match["y2"] or match["y3"])
    name = match["m"] or match["m2"]
    try:
        month = _MONTHS.index(name) + 1 if name else int(match["m3"])
        return datetime.date(year, month, int(match["d"] or match["d2"] or match["d3"]))
    except ValueError:
        return None


_NUMBER = re.compile(r"\d[\d.,]*\d|\d")


def _amount(index: DocumentIndex, text: str) -> list[Span]:
    """The number where it stands alone, if the document speaks of that currency at all: a table has
    it in its head."""
    match = _NUMBER.search(text)
    assert match is not None
    currency = (text[: match.start()] + text[match.end() :]).strip()
    if not any(True for _ in index.exact(currency)) and not (
        currency in CURRENCIES and currency in index.text
    ):
        return []
    number = FoundLiteral(match[0], "number", match.start(), match.end())
    for spelling in (number.text, *_spellings(number)):
        if places := list(islice(index.exact(spelling), MAX_PLACES)):
            return places
    return []


def _name(index: DocumentIndex, text: str, *, thorough: bool) -> Finding:
    """A name of several words may be put together from places: each word is looked up."""
    out, suggested = text, False
    words = list(re.finditer(r"\S+", text))
    places: list[Span] = []
    for match in reversed(words):
        word = match[0].strip("&")
        if not word or not word[0].isupper():
            continue
        found = places_of(index, word, name=True) if len(words) > 1 else []
        if found:
            places = found
            continue
        better = suggestion(index, word) if thorough else ""
        if not better:
            return Finding([])
        out, suggested = out[: match.start()] + better + out[match.end() :], True
    return Finding([], out) if suggested else Finding(places)


def suggestion(index: DocumentIndex, read: str) -> str:
    """The only string of the document that eyes may have read as this one; '' for none, several."""
    folded = fold_text(read)
    if len(folded) <= 2:
        return ""  # too many strings are like it: those that are found are not all
    found: set[str] = set()
    wanted = _plain(read)
    for part in dict.fromkeys((folded, *respelled(folded))):
        if not _collect(index, wanted, index.confusable(skeleton(part)), found):
            return ""
    if not _collect(index, wanted, _one_longer(index, skeleton(folded)), found):
        return ""
    return found.pop() if len(found) == 1 else ""


def _collect(index: DocumentIndex, wanted: str, spans: Iterable[Span], found: set[str]) -> bool:
    """Add what may be read so; False when there is more than one, or too much to try."""
    for number, (start, end) in enumerate(spans):
        real = _plain(index.text[start:end])
        if real != wanted and confusable(wanted, real):
            found.add(real)
        if len(found) > 1 or number >= MAX_TRIED:
            return False
    return True


def _one_longer(index: DocumentIndex, part: str) -> Iterator[Span]:
    """Places that have one character more than this skeleton. One of its halves is there whole."""
    text, folded = index.skeleton, index.folded
    middle = (len(part) + 1) // 2
    for half, before in ((part[:middle], 0), (part[middle:], middle + 1)):
        at = text.find(half)
        while at >= 0:
            start = at - before
            window = text[start : start + len(part) + 1] if start >= 0 else ""
            if len(window) == len(part) + 1 and _has_one_more(window, part):
                span = folded.span(start, len(window))
                if index.alone(*span):
                    yield span
            at = text.find(half, at + 1)


def _has_one_more(longer: str, part: str) -> bool:
    at = 0
    while at < len(part) and longer[at] == part[at]:
        at += 1
    return longer[at + 1 :] == part[at:]
