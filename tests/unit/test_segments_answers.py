"""One answer of many: excerpts and their places, candidates, ranking, summaries."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glyph_worker.document import PART_END, Page
from glyph_worker.evidence.index import DocumentIndex
from glyph_worker.evidence.nearness import densest
from glyph_worker.evidence.sources import in_its_document
from glyph_worker.job import Answer, FinishReason
from glyph_worker.proof import Citation
from glyph_worker.segments.candidates import best, candidate
from glyph_worker.segments.excerpt import Excerpt, around, sentences
from glyph_worker.segments.likeliest import Likeliest, passages_of
from glyph_worker.segments.ranking import Ranking, Rankings, fused
from glyph_worker.segments.summaries import Summaries, Summary


def citation(start: int, end: int, text: str = "", **fields: Any) -> Citation:
    plain: dict[str, Any] = {
        "start": start, "end": end, "text": text, "page": 1, "boxes": (), "kind": "exact",
        "score": 1.0, "answer_start": 0, "answer_end": end - start,
    }  # fmt: skip
    return Citation(**plain | fields)


def said(text: str, source: str = "", **fields: Any) -> Answer:
    """An answer that cites its first place in `source`."""
    at = source.find(text)
    citations = (citation(at, at + len(text), text),) if at >= 0 and text else ()
    return Answer(text=text, finish_reason=FinishReason.STOP, citations=citations, **fields)


SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted), max_size=6)


@given(st.text(alphabet="abc\n", min_size=61, max_size=80), SPANS)
def test_every_character_of_an_excerpt_is_found_again_where_it_came_from(
    text: str, spans: list[list[int]]
) -> None:
    excerpt = Excerpt.of(text, [(start, end) for start, end in spans])
    for at, char in enumerate(excerpt.text):
        if char != PART_END:
            start, end = excerpt.back((at, at + 1))
            assert text[start:end] == char
    kept = {at for start, end in spans for at in range(start, end)}
    assert {at for start, end in excerpt.spans for at in range(start, end)} == kept
    assert list(excerpt.spans) == sorted(excerpt.spans)


@given(st.text(alphabet="ab\n" + PART_END, min_size=1, max_size=300), st.data())
def test_a_passage_holds_its_place_in_whole_lines_of_its_own_part(text: str, data: Any) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    part_end = text.find(PART_END, start)
    end = data.draw(st.integers(start, len(text) if part_end < 0 else part_end))
    low, high = around(text, (start, end), num_chars=60)
    assert low <= start <= end <= high
    assert PART_END not in text[low:start]
    assert PART_END not in text[end:high]
    assert low == 0 or text[low - 1] in "\n" + PART_END
    assert high == len(text) or text[high] in "\n" + PART_END


@given(st.text(alphabet="ab .\n" + PART_END, min_size=1, max_size=400), st.data())
def test_sentences_hold_their_place_and_no_more_than_was_asked_for(text: str, data: Any) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    low, high = sentences(text, (start, end), num_chars=60)
    assert 0 <= low <= start <= end <= high <= len(text)
    assert high - low <= 60


def test_the_sentence_where_a_question_s_words_stand_together_is_found_in_prose() -> None:
    prose = (
        "Gruber was seen in May. Dvorak sold the berth. " * 8
        + "The berth number of Dvorak Gruber is D153. "
        + "A number was painted by Gruber in 1962, and flint remained. " * 8
    )
    place = densest(DocumentIndex(prose), "What is the berth number of Dvorak Gruber?")
    assert place is not None
    low, high = sentences(prose, (place.start, place.end), num_chars=120)
    assert "The berth number of Dvorak Gruber is D153. " in prose[low:high]
    assert high - low <= 120
    assert densest(DocumentIndex(prose), "What is a zebra?") is None


def test_pages_where_the_words_stand_together_come_before_those_that_have_them_apart() -> None:
    apart = "the berth of Gruber\n" + "x y z\n" * 30 + "number of Dvorak\nDvorak berth number\n"
    across = "Office\n" * 40 + "The berth number of", " Dvorak Gruber is D153.\n" + "Office\n" * 40
    texts = [apart, apart, *across, "nothing\n"]
    pages, at = [], 0
    for index, one in enumerate(texts):
        pages.append(Page(index=index, digest="", width=1, height=1, start=at, end=at + len(one)))
        at += len(one)
    text, question = "".join(texts), "What is the berth number of Dvorak Gruber?"
    ranking = Ranking(passages_of(text, pages))
    likeliest = Likeliest(text, pages, question, ranking)
    assert set(likeliest.pages[:2]) == {2, 3}
    assert ranking.order(question)[0] < 2
    [(start, end), *others] = likeliest.passages(2)
    assert "The berth number of Dvorak Gruber is D153." in text[start:end], "over two pages"
    assert all(end <= low or high <= start for low, high in others)
    assert Likeliest(text, pages, "zebra?", ranking).pages == []
    mapped = Likeliest(text, pages, "zebra?", ranking, mapped=[4, 0])
    assert (mapped.pages, mapped.passages(2)) == ([4, 0], [])


def test_orders_are_fused_by_reciprocal_ranks() -> None:
    assert fused([3, 1], [1, 2]) == [1, 3, 2]
    assert fused([5, 4], []) == [5, 4]
    assert fused() == []


def test_the_answer_that_the_question_s_words_stand_around_wins_over_a_surer_one() -> None:
    question = "What is the vault code of Zephyr?"
    right = "notes\nvault code of Zephyr: 7741\nend\n"
    wrong = "serial of the pump: 9000\nowner: crane\n"
    found = [
        candidate(0, said("9000", wrong, confidence=0.97), wrong, question),
        candidate(1, said("7741", right, confidence=0.7), right, question),
        candidate(2, said("8888", right, confidence=0.97), right, question),  # stands nowhere
    ]
    kept = [one for one in found if one is not None]
    assert len(kept) == 3
    repeated = candidate(3, said("Zephyr", right, confidence=0.99), right, question)
    assert repeated is not None
    assert repeated.support < 0.1
    chosen = best(kept)
    assert chosen is not None
    assert chosen.number == 1
    assert chosen.place == (right.index("7741"), right.index("7741") + 4)
    assert max(one.support for one in kept if one.number != 1) < 0.3 < chosen.support


def test_a_segment_that_says_it_has_nothing_is_no_candidate() -> None:
    assert candidate(0, said("not found", found=False), "text", "What?") is None
    assert candidate(0, said("  "), "text", "What?") is None
    assert best([]) is None


def test_of_equals_the_answer_that_most_segments_give_wins_then_the_first() -> None:
    text = "no word of it\n"
    answers = ["red", "blue", "Blue", "green"]
    found = [candidate(n, said(one, confidence=0.5), text, "Why?") for n, one in enumerate(answers)]
    chosen = best([one for one in found if one is not None])
    assert chosen is not None
    assert chosen.number == 1


def test_ranking_finds_the_passage_of_rare_words_in_any_of_their_forms() -> None:
    passages = [f"the box {n} is on the shelf" for n in range(50)]
    passages[31] = "the spare keys of the archives lie in drawer K-17"
    passages[7] = "合同的总金额为九百元"
    ranking = Ranking(passages)
    assert ranking.order("Where does the spare key of the archive lie?")[0] == 31
    assert ranking.order("总金额是多少") == [7]
    assert ranking.order("Which box is 23?")[0] == 23
    assert ranking.order("zebra") == []
    assert Ranking(["", " "]).order("anything") == []


def test_a_ranking_is_made_once_for_a_text_and_the_oldest_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("glyph_worker.segments.ranking.MAX_CHARS", 40)
    rankings, made = Rankings(), []

    def of(name: str, text: str) -> Ranking:
        def passages() -> list[str]:
            made.append(name)
            return [text, "other"]

        return rankings.of(name, passages)

    assert of("a", "a pump" * 3) is of("a", "")
    of("b", "a crane")
    assert of("a", "").order("Which pump?") == [0]
    of("c", "a valve")
    assert made == ["a", "b", "c"], "a was used after b"
    of("b", "a crane")
    assert made[3:] == ["b"]


def test_a_summary_cites_what_the_summaries_it_stands_on_cite() -> None:
    first = Summary(text="Ada pays.", citations=(citation(10, 13, "Ada"),))
    second = Summary(text="Bob ships it.", citations=(citation(90, 93, "Bob"),))
    both = Summaries([first, second])
    assert both.text == "Ada pays.\n\nBob ships it."
    at = both.text.index("Bob")
    [traced] = both.traced([citation(at, at + 3, "Bob", answer_start=5, answer_end=8)], 0)
    assert (traced.start, traced.text, traced.answer_start) == (90, "Bob", 5)
    [shifted] = both.traced([citation(0, 3, "Bob")], at)
    assert shifted.start == 90
    assert len(both.traced([citation(4, at + 3)], 0)) == 2


def test_a_citation_of_several_documents_is_told_by_its_document() -> None:
    text = PART_END.join(["first", "second one", "third"])
    at = text.index("one")
    moved = in_its_document(citation(at, at + 3, "one"), text, ("a", "b", "c"))
    assert (moved.document, moved.start, moved.end) == ("b", 7, 10)
    alone = citation(at, at + 3, "one")
    assert in_its_document(alone, text, ()) == alone
