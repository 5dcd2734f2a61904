"""Which pages' exact text is laid beside a question, and how documents are named there."""

from __future__ import annotations

import numpy as np

from glyph_worker.document import PART_END, Document, Page
from glyph_worker.evidence.sources import MAX_TOLD_CHARS, longest_told, pages_told, spans_told
from glyph_worker.job_options import JobOptions
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style
from glyph_worker.segments.lens import MOST_PAGES, Lens, focus, looked_at

PASSAGES = [
    "the pump stands in the hall\n",
    "berth of Okafor: C17\n",
    f"{PART_END}valves and gates\n",
    "berth of nobody\n",
    " \n",
]


def lens(looked: list[int] | None = None, *, most: int = 1_000) -> Lens:
    return focus(PASSAGES, "What is the berth of Okafor?", looked, max_tokens=most, num_tokens=len)


def test_pages_are_taken_by_words_and_by_gaze_in_turn_and_told_in_their_order() -> None:
    assert lens().pages == (1, 3)
    assert lens([0, 2]).pages == (0, 1, 3)
    assert lens([4, 2]).pages == (1, 2, 3), "of an empty page there is no text"
    assert len(lens([0, 2, 4, 1, 3]).pages) == MOST_PAGES
    beside = lens([2, 0])
    assert beside.text == (
        "The exact text of page 2:\nberth of Okafor: C17\n\n"
        "The exact text of page 3:\nvalves and gates\n\n"
        "The exact text of page 4:\nberth of nobody\n\n"
    )
    assert beside.num_tokens == len(beside.text)


def test_text_that_does_not_fit_is_left_out_and_a_shorter_one_taken() -> None:
    one = len("The exact text of page 2:\nberth of Okafor: C17\n\n")
    assert lens([0], most=one).pages == (1,)
    assert lens([0], most=one - 1).pages == (3,)
    assert lens([0], most=3) == Lens()
    assert lens([0], most=-5) == Lens()


def test_gaze_is_summed_by_page() -> None:
    shares = np.array([0.1, 0.1, 0.5, 0.0, 0.3], dtype=np.float32)
    assert looked_at(shares, [2, 1, 2]) == [1, 2, 0]
    assert looked_at(shares, [2, 1]) is None, "tokens that lie otherwise"
    assert looked_at(None, [2, 1, 2]) is None


def test_lens_is_in_no_record_of_a_job_without_it() -> None:
    assert "lens" not in JobOptions().to_fields()
    assert JobOptions.of(JobOptions(lens=True).to_fields()).lens


NAMES = ("march.txt", "april.txt", "may.txt")
TEXTS = ["Invoice 1\n" * 60, "Shipment 2\n", "Order 3\n" * 30]


def joined() -> tuple[str, list[Page]]:
    rows = dict(zip(NAMES, TEXTS, strict=True))
    text = Document.of(rows, max_bytes=10_000).text
    return text, [laid.page for laid in paginate(text, preset_style("nano"))]


def test_pages_of_several_documents_are_told_by_name() -> None:
    text, pages = joined()
    told = pages_told(text, pages, NAMES)
    where = "pages 1 to 3 of 'march.txt'; page 4 of 'april.txt'; pages 5 to 6 of 'may.txt'"
    assert told == f"({where})\n"
    assert len(told) <= len(longest_told(NAMES))


def test_of_one_document_nothing_is_told() -> None:
    text, pages = joined()
    assert pages_told(text, pages, ()) == pages_told(text, pages, ("one",)) == ""
    assert spans_told(text, [(0, 5)], ("one",)) == longest_told(("one",)) == ""


def test_passages_of_several_documents_are_told_in_their_order() -> None:
    text, _ = joined()
    first, last = len(TEXTS[0]), text.rindex(PART_END)
    assert spans_told(text, [(0, 9)], NAMES) == "(pages of 'march.txt')\n"
    assert spans_told(text, [(0, first + 1)], NAMES) == "(pages of 'march.txt')\n"
    told = spans_told(text, [(0, 9), (first + 1, last + 2)], NAMES)
    assert told == "(pages of 'march.txt', then of 'april.txt', then of 'may.txt')\n"


def test_names_too_long_to_be_told_are_not_told() -> None:
    text, pages = joined()
    long = tuple(name * 400 for name in NAMES)
    assert pages_told(text, pages, long) == ""
    assert len(longest_told(long)) == MAX_TOLD_CHARS
