"""Text for pages that are pictures: OCR's, in a bounded child, or a note why there is none."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

from glyph_worker.document import Sheet, SheetMode
from glyph_worker.errors import UnreadableDocument
from glyph_worker.intake.children import run_child
from glyph_worker.intake.pdf_layout import blocks_of
from glyph_worker.intake.places import Frame, numbered, placed
from glyph_worker.intake.reflow import Word, join_pages
from glyph_worker.setting_sections import IntakeSettings

_INSTALL = "pip install 'glyph_worker[ocr]'"


def can_read() -> bool:
    """Whether OCR is installed here."""
    return find_spec("rapidocr") is not None and find_spec("onnxruntime") is not None


def with_ocr(
    text: str,
    sheets: Sequence[Sheet],
    limits: IntakeSettings,
    *,
    is_pdf: bool,
    mode: SheetMode,
) -> tuple[str, list[Sheet], list[str]]:
    """(The text, sheets and notes) where pictures without text have OCR's, in its place.

    In mode `text` no sheet is left a picture. Raises UnreadableDocument where nothing could be
    read and nothing is to be shown.
    """
    wanted = [sheet for sheet in sheets if sheet.picture and sheet.start == sheet.end]
    missing = [sheet.number for sheet in sheets if not sheet.picture and sheet.start == sheet.end]
    found, reason = _read(wanted, limits)
    out: list[Sheet] = []
    parts: list[str] = []
    at = 0
    for sheet in sheets:
        own = text[sheet.start : sheet.end]
        if sheet.number in found:
            read = _laid(replace(sheet, start=at), *found[sheet.number])
            own = read[0]
            placed_sheet = replace(read[1], by_ocr=bool(own))
        else:
            placed_sheet = replace(sheet, start=at, end=at + len(own))
        if mode == "text":
            placed_sheet = replace(placed_sheet, picture=b"")
        out.append(placed_sheet)
        parts.append(own)
        at += len(own)
    joined = "".join(parts)
    unread = [sheet.number for sheet in wanted if sheet.number not in found]
    blank = [
        sheet.number for sheet in wanted if sheet.number in found and not found[sheet.number][1]
    ]
    if blank and not unread:
        unread, reason = blank, "OCR found none"
    if not joined.strip() and not any(sheet.picture for sheet in out):
        pages = unread or missing or [sheet.number for sheet in sheets]
        raise UnreadableDocument(
            f"the {'PDF' if is_pdf else 'picture'} has no text that could be read on its "
            f"{len(sheets)} pages{f' ({reason})' if reason else ''}; send its text",
            pages=pages,
        )
    return joined, out, _notes(out, unread, reason, is_pdf=is_pdf, mode=mode)


def _notes(
    sheets: Sequence[Sheet], unread: list[int], reason: str, *, is_pdf: bool, mode: SheetMode
) -> list[str]:
    by_ocr = [sheet.number for sheet in sheets if sheet.by_ocr]
    of = f"of the {'PDF' if is_pdf else 'picture'}'s {len(sheets)} pages"
    notes = []
    if by_ocr:
        notes.append(f"{len(by_ocr)} {of} were read by OCR, which misreads: {numbered(by_ocr)}")
    if unread:
        shown = (
            "a model that reads pictures is shown them, without citations"
            if mode != "text"
            else "they were not read"
        )
        notes.append(
            f"{len(unread)} {of} hold no text, only pictures, and {reason}; {shown}: "
            f"{numbered(unread)}"
        )
    return notes


def _laid(sheet: Sheet, frame: Frame, words: Sequence[Word]) -> tuple[str, Sheet]:
    """The text of one page, and the page with its words' places."""
    blocks = blocks_of(words)
    (text,) = join_pages([blocks])
    sheet = replace(sheet, end=sheet.start + len(text))
    return text, sheet.place_words(placed(text, blocks, frame, start=sheet.start))


def _read(
    sheets: Sequence[Sheet], limits: IntakeSettings
) -> tuple[dict[int, tuple[Frame, list[Word]]], str]:
    """(Size and words of the sheets that were read; why not of the others)."""
    if not sheets:
        return {}, ""
    if not can_read():
        return {}, f"OCR is not installed here ({_INSTALL})"
    given = [[sheet.number, base64.b64encode(sheet.picture).decode()] for sheet in sheets]
    words = ("ocr", "", max(1, int(limits.ocr_s)), limits.ocr_memory_bytes, 0, "", 0)
    try:
        code, said = run_child(words, json.dumps(given).encode(), timeout_s=limits.ocr_s)
        reason = f"OCR took over {limits.ocr_s:g} s" if code == -24 else "OCR failed"
    except subprocess.TimeoutExpired as exc:
        said, reason = exc.output or b"", f"OCR took over {limits.ocr_s:g} s"
    found: dict[int, tuple[Frame, list[Word]]] = {}
    for line in said.splitlines():
        with contextlib.suppress(ValueError, TypeError):  # the last may be cut
            number, width, height, rows = json.loads(line)
            frame = Frame(left=0, bottom=0, width=width, height=height)
            found[number] = frame, [Word(**row) for row in rows]
    return found, reason
