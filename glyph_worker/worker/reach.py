"""How much of a document a reader takes at once, as its folder and the living workers say."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glyph_worker.document import Page
from glyph_worker.errors import ModelUnusable, TransientError
from glyph_worker.evidence.confidence import Calibration
from glyph_worker.job import MOST_ANSWERS
from glyph_worker.job_options import JobOptions
from glyph_worker.model.families.pages import PageShape, page_shape, page_tokens, stated_window
from glyph_worker.render.choose import checkpoint_folder
from glyph_worker.settings import Settings
from glyph_worker.store.workers import WorkerInfo, WorkerStore

LONG_FILE = "long_documents.json"
"""What a checkpoint's folder may say of itself: `whole_pages`, most pages of a document that it
reads well whole, `segment_pages`, most pages of a part of a longer one, and `weighs_evidence`,
false for one that cannot choose between passages."""
PAGE_MARKS = 8
"""Tokens beside the visual ones that a page costs, where no worker has said; families have 2–5."""
TEMPLATE_TOKENS = 64
"""Around pages and question."""
SPARE_PAGES = 2
"""A segment that is laid out alone begins a page of its own, and its breaks may fall elsewhere."""
KNOWN_S = 5.0
"""How long what workers said is believed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    max_tokens: int
    """Of one sequence, prompt and answer."""
    pool_tokens: int
    """Whose keys and values a worker holds at once; 0: not known."""
    page_marks: int
    whole_pages: int
    """Most pages of a document that is read whole; 0: as many as fit."""
    segment_pages: int
    """Most pages of a segment; 0: as many as fit."""
    max_pages: int
    weighs_evidence: bool
    says_not_found: bool
    """It has words of its own, which its folder names, for what a document does not have."""
    identity: str
    """Of the readers' checkpoint; '' where none lives, or several do."""
    shape: PageShape

    def page_costs(self, pages: Iterable[Page]) -> list[int]:
        """Tokens of each page, with what marks it."""
        return [
            page_tokens(self.shape, page.width, page.height) + self.page_marks for page in pages
        ]

    def room(self, question: str, options: JobOptions) -> int:
        """Tokens for pages beside a question and a usual answer; at least one.

        A token is a byte of the question at least: a document is rather cut than refused.
        """
        answer = min(options.max_new_tokens, MOST_ANSWERS)
        said = sum(len(text.encode()) for turn in options.history for text in turn)
        return max(1, self.max_tokens - len(question.encode()) - said - answer - TEMPLATE_TOKENS)

    def fits(self, costs: Sequence[int], question: str, options: JobOptions) -> bool:
        """Whether pages of these costs can be read at once."""
        return len(costs) <= self.max_pages and sum(costs) <= self.room(question, options)

    def reads_whole(self, costs: Sequence[int], question: str, options: JobOptions) -> bool:
        """Whether they fit, and are no more than the reader reads well; with `lens`, which lays
        their likeliest text beside the question, they need only fit."""
        well = options.lens or len(costs) <= (self.whole_pages or self.max_pages)
        return well and self.fits(costs, question, options)

    def segment_tokens(self, costs: Sequence[int], question: str, options: JobOptions) -> int:
        """Tokens of a segment: what the reader reads well, within window, half of the KV memory
        (so that two can be in it) and the limit of pages."""
        largest = max(costs, default=1)
        room = self.room(question, options)
        if self.pool_tokens:
            room = min(room, self.pool_tokens // 2)
        room -= SPARE_PAGES * largest
        pages = min(self.segment_pages or self.max_pages, self.max_pages)
        return max(largest, min(room, pages * largest))


class ReachFinder:
    """Of one process."""

    def __init__(self, settings: Settings, workers: WorkerStore) -> None:
        self._settings = settings
        self._workers = workers
        self._found: Reach | None = None
        self._until = 0.0

    def reach(self) -> Reach:
        """The least of what the living answer workers take. Raises ModelUnusable for a checkpoint
        whose folder says of itself what makes no sense."""
        if self._found is None or time.monotonic() > self._until:
            self._found = self._look()
            self._until = time.monotonic() + KNOWN_S
        return self._found

    def _look(self) -> Reach:
        try:
            living = [info for info in self._workers.living() if info.max_tokens]
        except TransientError:
            living = []
        return _reach(self._settings, living)


def _reach(settings: Settings, living: Sequence[WorkerInfo]) -> Reach:
    folder = checkpoint_folder(settings.model)
    said = stated(folder)
    identities = {info.identity for info in living}
    window = settings.engine.window_tokens or stated_window(folder)
    return Reach(
        max_tokens=min((info.max_tokens for info in living), default=window),
        pool_tokens=min((info.pool_tokens for info in living), default=0),
        page_marks=max((info.page_marks for info in living), default=PAGE_MARKS),
        whole_pages=said.get("whole_pages", 0),
        segment_pages=said.get("segment_pages", 0),
        max_pages=settings.limits.max_pages,
        weighs_evidence=said.get("weighs_evidence", True),
        says_not_found=bool(Calibration.of_folder(folder).not_found),
        identity=identities.pop() if len(identities) == 1 else "",
        shape=page_shape(folder),
    )


def stated(folder: Path) -> dict[str, Any]:
    """What a checkpoint's folder says of itself; {} for nothing. Raises ModelUnusable."""
    file = folder / LONG_FILE
    if not file.is_file():
        return {}
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        found = {name: said.get(name, 0) for name in ("whole_pages", "segment_pages")}
        if any(type(pages) is not int or pages < 0 for pages in found.values()):
            raise ValueError("whole_pages and segment_pages are numbers from 0 on")
        weighs = said.get("weighs_evidence", True)
        if type(weighs) is not bool:
            raise ValueError("weighs_evidence is true or false")
    except (ValueError, AttributeError, OSError) as exc:
        raise ModelUnusable(f"{file} says nothing of use: {exc}; mend or remove it") from exc
    return found | {"weighs_evidence": weighs}
