"""Brings an answer and its document together: text, pages and probabilities → its proof."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog

from glyph_worker.document import Document, Page
from glyph_worker.errors import GlyphError
from glyph_worker.evidence.boxes import PageMap
from glyph_worker.evidence.confidence import Calibration, stands
from glyph_worker.evidence.gaze import Gaze
from glyph_worker.evidence.guard import Guarded, Mode, guard
from glyph_worker.evidence.index import DocumentIndex, Span
from glyph_worker.evidence.nearness import nearest
from glyph_worker.evidence.original import Original
from glyph_worker.evidence.sheets import SheetMap
from glyph_worker.evidence.sources import in_its_document
from glyph_worker.proof import CheckedLiteral, Citation
from glyph_worker.render.pictured import shows
from glyph_worker.render.style.style import Style

GridOf = Callable[[int, int], tuple[int, int]]
"""Rows and columns of the visual tokens of a page given in pixels, width and height."""

log = structlog.get_logger(__name__)

MAX_CHARS, MAX_DOCUMENTS = 4_000_000, 64
"""Of documents kept ready for their next question, with up to some 16 bytes for each character: 64
MB of a worker. Their pages' layouts are not kept, which would be some 100 KB a page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """What an Answer carries beside its text."""

    text: str
    citations: tuple[Citation, ...] = ()
    literals: tuple[CheckedLiteral, ...] = ()
    verified: bool | None = None
    found: bool | None = None
    confidence: float | None = None
    num_unchecked: int = 0
    read_as: str = ""


class _Known:
    """One document's forms."""

    def __init__(self, read: str | Document) -> None:
        self.original = Original(read if isinstance(read, str) else read.text)
        self.sheets = () if isinstance(read, str) else read.sheets
        self.index = DocumentIndex(self.original.normal)


class Prover:
    """One per answer worker; thread-safe. Keeps recent documents ready for their next question."""

    def __init__(self, folder: Path) -> None:
        """`folder` is the checkpoint's. Raises ModelUnusable for a broken calibration."""
        self._calibration = Calibration.of_folder(folder)
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._lock = threading.Lock()

    def prove(
        self,
        text: str,
        question: str,
        *,
        document_digest: str,
        read: Callable[[], str | Document],
        style: Style,
        pages: Sequence[Page],
        mode: Mode,
        cut: bool,
        mean_log_prob: float | None = None,
        min_log_prob: float | None = None,
        page_attention: npt.NDArray[np.float32] | None = None,
        grid_of: GridOf | None = None,
        completed: bool = True,
        document_names: Sequence[str] = (),
    ) -> Proof:
        """The answer with its proof; without citations where the document can no longer be read.

        `read` brings the document, or its text alone, where it is not known. `cut`: the answer
        ended by length. `page_attention` is SequenceResult's, `grid_of` lays a page's visual tokens
        out. Not `completed`: the answer ends where it must, by its form or a stop string.
        """
        try:
            known = self._document(document_digest, read)
        except GlyphError as exc:
            # The pages were there, the text is not: better an answer without proof than none.
            log.warning("answer.not_proved", error=exc.code)
            return Proof(text=text)
        page_map = PageMap(known.index.text, style, pages)
        gaze = None
        if page_attention is not None and grid_of is not None:
            grids = [grid_of(page.width, page.height) for page in pages]
            gaze = Gaze(page_attention, pages, grids, page_map)

        def choose(places: Sequence[Span]) -> Span:
            looked_at = gaze.looked_at(places) if gaze is not None else None
            return looked_at or nearest(known.index, places, question)

        found = guard(
            known.index,
            text,
            question,
            mode=mode,
            cut=cut,
            phrases=self._calibration.not_found,
            choose=choose,
            completed=completed and self._calibration.copies,
        )
        confidence = None
        if self._calibration.knots:
            standing = stands(known.index, found, question)
            confidence = self._calibration.confidence(mean_log_prob, min_log_prob, standing)
        if mode == "correct" and found.found and self._calibration.doubts(confidence):
            return Proof(
                text=self._calibration.not_found[0], found=False, confidence=confidence,
                read_as=found.read_as or text,
            )  # fmt: skip
        return Proof(
            text=found.text,
            citations=_cited(known, page_map, found, pages, document_names),
            literals=found.literals,
            verified=found.verified,
            found=found.found,
            confidence=confidence,
            num_unchecked=found.num_unchecked,
            read_as=found.read_as,
        )

    def _document(self, digest: str, read: Callable[[], str | Document]) -> _Known:
        with self._lock:
            if digest in self._known:
                self._known.move_to_end(digest)
                return self._known[digest]
        known = _Known(read())
        with self._lock:
            self._known[digest] = known
            while len(self._known) > 1 and (
                len(self._known) > MAX_DOCUMENTS or self._num_chars() > MAX_CHARS
            ):
                self._known.popitem(last=False)
        return known

    def _num_chars(self) -> int:
        return sum(known.index.num_chars for known in self._known.values())


def _cited(
    known: _Known,
    page_map: PageMap,
    found: Guarded,
    pages: Sequence[Page],
    names: Sequence[str],
) -> tuple[Citation, ...]:
    sheets, out = SheetMap(known.sheets), []
    for place in found.places:
        start, end = known.original.span(place.document)
        number = page_map.page_of(place.document)
        boxes = None
        if number is not None and (sheet := sheets.picture_at(start)) is not None:
            page = pages[number - 1]
            if shows(page, sheet):
                boxes = sheets.on_page(
                    sheet, start, end, page=number, width=page.width, height=page.height
                )
        out.append(
            Citation(
                start=start,
                end=end,
                text=known.original.text[start:end],
                page=number,
                boxes=page_map.boxes(place.document) if boxes is None else boxes,
                kind=place.kind,
                score=place.score,
                answer_start=place.answer[0],
                answer_end=place.answer[1],
                sheet_boxes=sheets.boxes(start, end),
                by_ocr=sheets.by_ocr(start, end),
            )
        )
    return tuple(in_its_document(one, known.original.text, names) for one in out)
