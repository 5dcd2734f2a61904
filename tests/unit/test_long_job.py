"""How one answer is made of the parts' answers: what is asked, in which order, which one wins."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from glyph_worker import codec
from glyph_worker.document import PART_END, digest
from glyph_worker.errors import JobFailed, ModelUnusable
from glyph_worker.evidence.original import Original
from glyph_worker.job import Answer, FinishReason, JobStatus, Priority
from glyph_worker.job_options import JobOptions
from glyph_worker.model.families.pages import PageShape
from glyph_worker.proof import Citation
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style
from glyph_worker.segments.excerpt import Span
from glyph_worker.segments.ranking import Rankings
from glyph_worker.store.job_record import ClaimedJob
from glyph_worker.worker import long_pages
from glyph_worker.worker.long_asks import LongText
from glyph_worker.worker.long_job import LongJob
from glyph_worker.worker.long_pages import MIN_SELECTED, NUM_CLOSEST
from glyph_worker.worker.parts import Ask, Reply
from glyph_worker.worker.reach import LONG_FILE, Reach, stated

STYLE = preset_style("nano")
Says = Callable[[Ask], str]


class Told:
    """Parts whose answers are made up at once, and cited where they stand in the part."""

    def __init__(self, says: Says, known: Sequence[tuple[Span, Answer]] = ()) -> None:
        self._says = says
        self._known = list(known)
        self.asked: list[list[Ask]] = []
        self.kept: list[Ask] = []

    def answers(self, asks: Sequence[Ask], *, num_more: int = 0) -> list[Reply]:
        self.asked.append(list(asks))
        return [
            Reply(
                ask=ask,
                status=JobStatus.SUCCEEDED,
                answer=said(self._says(ask), ask.excerpt.text),
                job_id=f"{len(self.asked)}.{at}",
            )
            for at, ask in enumerate(asks)
        ]

    def keep_map(self, asks: Sequence[Ask]) -> None:
        self.kept = list(asks)

    def known_map(self) -> list[tuple[Span, Answer]]:
        return self._known


def said(text: str, source: str, confidence: float = 0.9) -> Answer:
    at = source.find(text)
    cited = Citation(
        start=at, end=at + len(text), text=text, page=1, boxes=(), kind="exact", score=1.0,
        answer_start=0, answer_end=len(text),
    )  # fmt: skip
    return Answer(
        text=text,
        finish_reason=FinishReason.STOP,
        citations=(cited,) if at >= 0 else (),
        confidence=confidence,
        found=text != "not found",
    )


def job(
    text: str,
    question: str,
    parts: Told,
    *,
    weighs: bool,
    names: tuple[str, ...] = (),
    **options: object,
) -> LongJob:
    reach = Reach(
        max_tokens=2_000, pool_tokens=0, page_marks=2, whole_pages=0, segment_pages=2,
        max_pages=100, weighs_evidence=weighs, says_not_found=True, identity="reader",
        shape=PageShape(),
    )  # fmt: skip
    claimed = ClaimedJob(
        job_id="whole", attempt=1, owner="", tenant="", document_digest=digest("test", text),
        question=question, packed_options=codec.pack("options", JobOptions.of(options).to_fields()),
        created_at=0.0, priority=Priority.INTERACTIVE, deadline_at=None, ahead_s=0.0, strikes=0,
        notes={}, document_names=names,
    )  # fmt: skip
    pages = tuple(laid.page for laid in paginate(text, STYLE))
    whole = LongText(given=Original(text), pages=pages, costs=tuple(reach.page_costs(pages)))
    return LongJob(
        claimed, whole, parts, style=STYLE, reach=reach, rankings=Rankings()  # type: ignore[arg-type]
    )  # fmt: skip


LINES = [f"shelf {n} of hall {n % 7}: box {n * 37 % 997}\n" for n in range(600)]
FACT = "archive key of Zephyr: 4471-K\n"
TEXT = "".join([*LINES[:350], FACT, *LINES[350:]])
QUESTION = "What is the archive key of Zephyr?"


def first_value(ask: Ask) -> str:
    """A reader that takes the first value it sees, but the fact where that is nearly all it has."""
    text = ask.excerpt.text
    if FACT in text and len(text) < 500:
        return "4471-K"
    return text[text.index("box ") :].split("\n")[0]


def test_a_reader_that_cannot_weigh_has_the_likeliest_pages_and_sentences_alone() -> None:
    parts = Told(first_value)
    answer = job(TEXT, QUESTION, parts, weighs=False).answer()
    assert answer.text == "4471-K"
    assert answer.citations[0].start == TEXT.index("4471-K")
    [asks] = parts.asked
    alone = asks[-MIN_SELECTED:]
    closest = [one for one in asks if len(one.excerpt.text) < 500 and one not in alone]
    assert 1 <= len(closest) <= NUM_CLOSEST
    assert FACT in closest[0].excerpt.text
    assert any(FACT in one.excerpt.text for one in alone)
    assert {one.question for one in asks} == {QUESTION}


def test_select_stops_at_a_supported_answer_and_else_goes_on_to_a_tenth() -> None:
    parts = Told(first_value)
    answer = job(TEXT, QUESTION, parts, weighs=False, overflow="select").answer()
    assert answer.text == "4471-K"
    assert len(parts.asked) == 1
    blind = Told(lambda ask: "not found")
    nothing = job(TEXT * 6, QUESTION, blind, weighs=False, overflow="select").answer()
    assert nothing.found is False
    num_pages = sum(1 for _ in paginate(TEXT * 6, STYLE))
    read = sum(map(len, blind.asked))
    assert len(blind.asked) > 1
    assert MIN_SELECTED < read <= 0.1 * num_pages


def test_select_asks_few_pages_of_many_first_and_twice_as_many_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(long_pages, "MAX_FIRST", 4)
    blind = Told(lambda ask: "not found")
    job(TEXT * 12, QUESTION, blind, weighs=False, overflow="select").answer()
    rounds = [len(asks) for asks in blind.asked]
    assert 1 <= rounds[0] - 4 <= NUM_CLOSEST
    assert rounds[1:-1] == [8 << at for at in range(len(rounds) - 2)]
    assert rounds[-1] <= 8 << (len(rounds) - 2)
    assert sum(rounds) <= 0.1 * sum(1 for _ in paginate(TEXT * 12, STYLE))


def test_a_document_of_few_pages_is_asked_each_of_them_once() -> None:
    text = "".join(LINES[:40])
    for weighs in (False, True):
        parts = Told(lambda ask: "not found")
        job(text, QUESTION, parts, weighs=weighs, overflow="select").answer()
        pages = [ask.excerpt.spans for asks in parts.asked for ask in asks]
        assert sum(end - start for spans in pages for start, end in spans) <= len(text) + 700
        assert len(parts.asked) == 1


def test_a_reader_that_weighs_has_the_likeliest_pages_together() -> None:
    parts = Told(lambda ask: "4471-K" if FACT in ask.excerpt.text else "not found")
    answer = job(TEXT, QUESTION, parts, weighs=True, overflow="select").answer()
    assert answer.text == "4471-K"
    [[ask]] = parts.asked
    assert list(ask.excerpt.spans) == sorted(ask.excerpt.spans)
    assert FACT in ask.excerpt.text


def halves(text: str) -> list[tuple[Span, Answer]]:
    middle = text.index("shelf 300 ")
    first = said("Boxes of the lower halls.", "", 0.9)
    second = said("The archive of an airship, Zephyr.", "", 0.9)
    return [((0, middle), first), ((middle, len(text)), second)]


def test_kept_summaries_lead_to_pages_whose_own_words_do_not() -> None:
    parts = Told(lambda ask: "not found", known=halves(TEXT))
    job(TEXT, "Where is the airship?", parts, weighs=True, overflow="select").answer()
    asked = [start for [ask] in parts.asked for start, _ in ask.excerpt.spans]
    assert min(asked) >= TEXT.index("shelf 280 ")
    plain = Told(lambda ask: "not found")
    job(TEXT, "Where is the airship?", plain, weighs=True, overflow="select").answer()
    assert plain.asked[0][0].excerpt.spans[0][0] == 0


def test_a_question_about_the_whole_is_asked_of_the_kept_summaries() -> None:
    def vague(ask: Ask) -> str:
        if "airship" in ask.excerpt.text:
            return "an airship"
        return f"something of {len(ask.excerpt.text)}"  # stands nowhere

    parts = Told(vague, known=halves(TEXT))
    answer = job(TEXT, "What is it about?", parts, weighs=True).answer()
    assert answer.text == "an airship"
    assert "summaries" in answer.receipt.reduced_by
    assert parts.asked[-1][0].excerpt.text.startswith("Boxes of the lower halls.")
    without = job(TEXT, "What is it about?", Told(vague), weighs=True).answer()
    assert without.text.startswith("something")


def test_a_summary_remembers_its_parts() -> None:
    parts = Told(lambda ask: "boxes")
    job(TEXT, "Sum it up.", parts, weighs=True, task="summarize").answer()
    assert parts.kept == parts.asked[0]


def test_parts_of_several_documents_are_told_by_name_to_a_reader_that_weighs() -> None:
    text = PART_END.join("".join(LINES[at : at + 200]) for at in (0, 200, 400))
    names = ("low.txt", "middle.txt", "high.txt")
    parts = Told(lambda ask: "not found")
    job(text, QUESTION, parts, weighs=True, names=names).answer()
    told = [ask.question for ask in parts.asked[0]]
    assert told[0] == f"(pages of 'low.txt')\n{QUESTION}"
    assert told[-1] == f"(pages of 'high.txt')\n{QUESTION}"
    bare = Told(first_value)
    job(text, QUESTION, bare, weighs=False, names=names).answer()
    assert {ask.question for ask in bare.asked[0]} == {QUESTION}


def test_no_part_read_is_the_first_one_s_error() -> None:
    class Lost(Told):
        def answers(self, asks: Sequence[Ask], *, num_more: int = 0) -> list[Reply]:
            error = JobFailed("it killed three workers", code="poison", job_id="x")
            return [
                Reply(ask=ask, status=JobStatus.FAILED, answer=None, error=error) for ask in asks
            ]

    with pytest.raises(JobFailed, match="three workers"):
        job(TEXT, QUESTION, Lost(first_value), weighs=False).answer()


def test_a_folder_says_what_its_reader_reads_well(tmp_path: Path) -> None:
    assert stated(tmp_path) == {}
    (tmp_path / LONG_FILE).write_text("{}")
    usual = {"whole_pages": 0, "segment_pages": 0, "weighs_evidence": True}
    assert stated(tmp_path) == usual
    (tmp_path / LONG_FILE).write_text(json.dumps({"whole_pages": 3}))
    assert stated(tmp_path) == usual | {"whole_pages": 3}


@pytest.mark.parametrize(
    "said",
    [
        {"whole_pages": -1},
        {"whole_pages": "3"},
        {"segment_pages": True},
        {"weighs_evidence": 1},
        [],
    ],
)
def test_a_folder_that_says_what_makes_no_sense_is_refused(tmp_path: Path, said: Any) -> None:
    (tmp_path / LONG_FILE).write_text(json.dumps(said))
    with pytest.raises(ModelUnusable, match="mend or remove it"):
        stated(tmp_path)
