"""All that can be said of one answer beside its document: literals, places, whether it is found."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from glyph_worker.evidence.align import Aligned, align
from glyph_worker.evidence.found import is_found
from glyph_worker.evidence.index import DocumentIndex, Span
from glyph_worker.evidence.literals import FoundLiteral, literals
from glyph_worker.evidence.lookup import Finding, look_up
from glyph_worker.evidence.nearness import nearest
from glyph_worker.evidence.snap import complete, respell
from glyph_worker.proof import CheckedLiteral, CitationKind

Mode = Literal["check", "correct", "off"]
Choose = Callable[[Sequence[Span]], Span]
"""Of several places of one string the one that is meant."""

MAX_LITERALS = 200
"""Different literals of one answer that are looked up."""
MAX_THOROUGH = 8
"""Unsupported ones for which other spellings, and what eyes may have taken for them, are sought."""
MAX_PARTS = 64
"""Parts of one answer that are cited."""
MAX_WHOLE = 2_000
"""Characters of an answer that is looked for as a whole."""
MAX_CLOSE = 6
"""Parts for which something close is searched."""


class Place(NamedTuple):
    """A part of the answer and where it stands in the document."""

    answer: Span
    document: Span
    kind: CitationKind
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Guarded:
    """What the guard found."""

    text: str
    """The answer; with corrections where they were asked for."""
    literals: tuple[CheckedLiteral, ...]
    places: tuple[Place, ...]
    verified: bool | None
    """None: nothing to check, or not all of a very long answer was looked up."""
    found: bool | None
    num_unchecked: int
    """Literals that were not looked up, of an answer with more than MAX_LITERALS."""
    read_as: str = ""
    """What the model wrote, where the document's own text stands in its place; else ''."""


def guard(
    index: DocumentIndex,
    answer: str,
    question: str,
    *,
    mode: Mode = "check",
    cut: bool = False,
    phrases: Sequence[str] = (),
    choose: Choose | None = None,
    completed: bool = False,
) -> Guarded:
    """Look an answer up. Deterministic, bounded, raises nothing.

    `completed`: a copy that stops within a word or a bracket is given its end, in every mode but
    `off`; mode `correct` does so too, and takes the document's spelling of a whole copy.
    `cut`: the answer ended by length, so that its last literal may be half of one. `phrases` are
    the checkpoint's own for "it is not there". `choose` decides between equal places; without it
    the question's words do.
    """
    found = is_found(index, answer, phrases)
    if found is False:
        return Guarded(
            text=answer, literals=(), places=(), verified=None, found=False, num_unchecked=0
        )
    choose = choose or (lambda places: nearest(index, places, question))
    read = answer
    if mode == "correct" or (completed and mode != "off"):
        answer = complete(index, answer, choose) or answer
    if mode == "correct":
        answer = respell(index, answer) or answer
    read_as = read if answer != read else ""
    checked: list[CheckedLiteral] = []
    findings: dict[str, Finding] = {}
    num_unchecked = 0
    if mode != "off":
        checked, findings, num_unchecked = _check(index, answer, cut=cut and not read_as)
    if mode == "correct":
        answer, checked = _corrected(answer, checked)
        for one in checked:
            if one.status == "corrected" and one.text not in findings:
                fixed = FoundLiteral(one.text, one.kind, one.start, one.end)
                findings[one.text] = look_up(index, fixed, thorough=False)
    return Guarded(
        text=answer,
        literals=tuple(checked),
        places=tuple(_places(index, answer, checked, findings, choose)),
        verified=_verdict(checked, num_unchecked),
        found=found,
        num_unchecked=num_unchecked,
        read_as=read_as,
    )


def _verdict(checked: Sequence[CheckedLiteral], num_unchecked: int) -> bool | None:
    if any(one.status == "unsupported" for one in checked):
        return False
    return True if checked and not num_unchecked else None


def _check(
    index: DocumentIndex, answer: str, *, cut: bool
) -> tuple[list[CheckedLiteral], dict[str, Finding], int]:
    """Every literal with what was found, findings by text, and how many were not looked up."""
    checked: list[CheckedLiteral] = []
    findings: dict[str, Finding] = {}
    num_unchecked = num_thorough = 0
    last = len(answer.rstrip())
    shift = _quoted(index, answer)
    for one in literals(answer):
        found = findings.get(one.text)
        if found is None:
            if len(findings) >= MAX_LITERALS:
                num_unchecked += 1
                continue
            if shift is None:
                found = look_up(index, one, thorough=num_thorough < MAX_THOROUGH)
            else:
                found = Finding([(one.start + shift, one.end + shift)])
            findings[one.text] = found
            num_thorough += not found.places
        if cut and not found.places and one.end == last:
            continue
        if one.doubtful and (found.places or not found.suggested):
            continue
        checked.append(
            CheckedLiteral(
                text=one.text,
                kind=one.kind,
                status="verified" if found.places else "unsupported",
                start=one.start,
                end=one.end,
                suggested=found.suggested,
            )
        )
    return checked, findings, num_unchecked


def _quoted(index: DocumentIndex, answer: str) -> int | None:
    """How far the answer's offsets are from the document's, where it is one quote of it: then all
    of its literals are the document's, however they are parted."""
    quote = answer.strip()
    first = next(index.exact(quote), None) if 0 < len(quote) <= MAX_WHOLE else None
    return None if first is None else first[0] - (len(answer) - len(answer.lstrip()))


def _corrected(answer: str, checked: Sequence[CheckedLiteral]) -> tuple[str, list[CheckedLiteral]]:
    """The answer with what was suggested in place of what was read."""
    pieces, out, at, shift = [], [], 0, 0
    for one in checked:
        if not one.suggested:
            out.append(replace(one, start=one.start + shift, end=one.end + shift))
            continue
        pieces += [answer[at : one.start], one.suggested]
        at = one.end
        start = one.start + shift
        shift += len(one.suggested) - len(one.text)
        out.append(
            replace(
                one, text=one.suggested, status="corrected", start=start, end=one.end + shift,
                read_as=one.text, suggested="",
            )
        )  # fmt: skip
    return "".join([*pieces, answer[at:]]), out


def _places(
    index: DocumentIndex,
    answer: str,
    checked: Sequence[CheckedLiteral],
    findings: dict[str, Finding],
    choose: Choose,
) -> Iterator[Place]:
    """The whole answer where it stands as it is; else its sentences; else its literals."""
    if len(answer) <= MAX_WHOLE:
        for whole in _trimmed(answer, 0, len(answer)):
            if (as_one := align(index, whole.text, close=False)) is not None:
                yield _place(whole, as_one, choose)
                return
    num_parts = num_close = 0
    for part in _parts(answer):
        if num_parts >= MAX_PARTS:
            return
        aligned = align(index, part.text, close=num_close < MAX_CLOSE)
        num_close += aligned is None or aligned.kind == "close"
        inside = [one for one in checked if part.start <= one.start and one.end <= part.end]
        doubtful = any(one.status == "unsupported" for one in inside)
        if aligned is not None and (aligned.kind != "close" or not inside or doubtful):
            num_parts += 1
            yield _place(part, aligned, choose)
            continue
        standing = [one for one in inside if findings[one.text].places]
        if aligned is not None and _holds(index, aligned.places[0], standing, findings):
            num_parts += 1
            yield _place(part, aligned, choose)
            continue
        for one in standing[: MAX_PARTS - num_parts]:
            num_parts += 1
            span = choose(findings[one.text].places)
            exact = index.text[slice(*span)] == one.text
            kind: CitationKind = "exact" if exact else "normalized"
            yield Place((one.start, one.end), span, kind, 1.0)


def _holds(
    index: DocumentIndex,
    span: Span,
    standing: Sequence[CheckedLiteral],
    findings: dict[str, Finding],
) -> bool:
    """Whether a close place has all of the part's literals: else it is about something else."""
    return all(
        any(span[0] <= start and end <= span[1] for start, end in findings[one.text].places)
        for one in standing
    )


class _Part(NamedTuple):
    text: str
    start: int
    end: int


def _place(part: _Part, aligned: Aligned, choose: Choose) -> Place:
    return Place((part.start, part.end), choose(aligned.places), aligned.kind, aligned.score)


_SENTENCE = re.compile(r"[^\n]*?(?:[.!?](?=\s)|[。！？]|(?=\n)|\Z)")
_SPACE = " \t\r\n"
_AROUND = _SPACE + "\"'“”‘’`*-•"


def _parts(answer: str) -> Iterator[_Part]:
    """Sentences, one for each line at least, without what stands around them."""
    for match in _SENTENCE.finditer(answer):
        if trimmed := _trimmed(answer, match.start(), match.end()):
            yield trimmed[-1]


def _trimmed(answer: str, start: int, end: int) -> list[_Part]:
    """A range without white space around it, and without marks either: none, or one or both."""
    out: list[_Part] = []
    for before, after in ((_SPACE, _SPACE), (_AROUND, _AROUND + ".,;:!?。")):
        while start < end and answer[start] in before:
            start += 1
        while start < end and answer[end - 1] in after:
            end -= 1
        if start < end and (not out or out[-1][1:] != (start, end)):
            out.append(_Part(answer[start:end], start, end))
    return out
