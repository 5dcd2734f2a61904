"""What exact text beside a question gives and costs: the same questions with `lens` and without."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from bench import long_choosing
from bench.answers_reader import Document
from bench.reader_exam import papers

if TYPE_CHECKING:
    from bench.long import House

PATIENCE_S = 3_600.0


def through_lens(house: House, num_long: int) -> dict[str, Any]:
    """Questions asked plainly and with `lens`, each side first in turn: right answers and what
    their prompts took. On strangers' documents of a page or two, and on records of eight pages."""
    records = []
    for number in range(num_long):
        planted = long_choosing.facts(8, f"lens {number}")
        text = long_choosing.long_text(6_000, planted, f"lens {number}")
        asked = tuple((fact.question, fact.answer) for fact in planted)
        records.append(Document(text=text, questions=asked, group="records"))
    return {
        name: _both_sides(house, documents)
        for name, documents in (("strangers", papers("choosing")), ("records", records))
    }


def _both_sides(house: House, documents: Sequence[Document]) -> dict[str, Any]:
    sides = {"plain": False, "lens": True}
    asked: dict[str, list[tuple[str, str]]] = {side: [] for side in sides}
    for number, document in enumerate(documents):
        for question, wanted in document.questions:
            for side in list(sides)[:: 1 if number % 2 else -1]:
                job = house.client.submit(
                    document.text, question, max_new_tokens=64, lens=sides[side]
                )
                asked[side].append((job.id, wanted))
    report: dict[str, Any] = {"questions": len(asked["plain"])}
    for side, rows in asked.items():
        answers = [(house.client.wait(job, timeout=PATIENCE_S), wanted) for job, wanted in rows]
        receipts = [answer.receipt for answer, _ in answers]
        report[side] = {
            "right": sum(answer.text.strip() == wanted for answer, wanted in answers),
            "prompt_tokens": round(fmean(one.prompt_tokens for one in receipts), 1),
            "visual_tokens": round(fmean(one.visual_tokens for one in receipts), 1),
            "lens_tokens": round(fmean(one.lens_tokens for one in receipts), 1),
            "lens_pages": round(fmean(len(one.lens_pages) for one in receipts), 2),
            "document_tokens": round(fmean(one.document_tokens for one in receipts), 1),
        }
    return report
