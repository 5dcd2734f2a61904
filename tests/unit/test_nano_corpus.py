"""The made documents: answers stand where they are said to stand, and tests hold unseen words."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from random import Random

from train import vocabulary as v
from train.attention_targets import evidence, grams, meet
from train.clauses import MENTIONS
from train.corpus import samples, write
from train.questions import NOT_FOUND
from train.sample import Sample
from train.words import NOUNS, Words, held_out

from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style


def some(seed: str, count: int, **options: int) -> list[Sample]:
    return list(itertools.islice(samples(seed, low=3, high=28, asked=8, **options), count))


def test_the_same_seed_makes_the_same_documents() -> None:
    assert some("a", 5) == some("a", 5)
    assert some("a", 5) != some("b", 5)


def test_every_answer_stands_in_the_cells_that_it_names() -> None:
    for sample in [*some("cells", 60), *some("pages", 6, max_pages=4)]:
        for question in sample.questions:
            if question.task == "absent":
                assert question.answer == NOT_FOUND
                continue
            shown = ""
            for cell in question.where:
                page, line, column = cell or (0, -1, 0)
                shown += sample.pages[page][line].ljust(64)[column] if cell else " "
            assert shown == question.answer


def test_a_looked_up_value_stands_in_the_layout_that_it_names() -> None:
    seen: dict[str, int] = {}
    for sample in some("layouts", 150):
        for question in sample.questions:
            assert bool(question.layout) == (question.task == "lookup")
            if question.layout:
                page, line, _ = question.where[0] or (0, 0, 0)
                text = sample.pages[page][line]
                assert question.layout != "table with commas" or re.search("[,;|]", text)
                seen[question.layout] = seen.get(question.layout, 0) + 1
    makers = {"fields", "sections", "table", "sentences", "log", "items", "card", "code"}
    assert set(seen) == {*makers, "table with commas"}
    assert min(seen.values()) > 5


def test_a_title_stands_above_its_answer_and_is_what_the_question_says() -> None:
    num_titled = num_named = 0
    for sample in [*some("titles", 120), *some("titles on pages", 12, max_pages=4)]:
        known = grams(sample.pages)
        for question in sample.questions:
            if not question.title:
                continue
            first, last = question.title[0], question.title[-1]
            assert first is not None
            assert last is not None
            assert first[:2] < question.where[0][:2]
            if first[:2] != last[:2]:
                continue  # a head that was wrapped
            line = sample.pages[first[0]][first[1]]
            around = line[: first[2]][-1:] + line[last[2] + 1 :][:1]
            assert not re.search(r"[A-Za-z0-9]", around), line  # whole words
            num_titled += 1
            num_named += bool(
                evidence(meet(question.text, known), question.where, question.title)[1]
            )
    assert num_titled > 200
    # Some ask by the key alone, and what stands in too many places teaches nothing.
    assert num_named > 0.9 * num_titled


def test_lessons_dwell_on_what_is_hard_and_exams_do_not() -> None:
    share = {}
    for test in (False, True):
        made = itertools.islice(samples("dwell", low=3, high=28, asked=8, test=test), 250)
        layouts = Counter(question.layout for sample in made for question in sample.questions)
        lookups = layouts.total() - layouts[""]
        assert lookups > 500
        hard = layouts["sentences"] + layouts["table with commas"]
        share[test] = (lookups / layouts.total(), hard / lookups)
    assert share[False][0] > share[True][0] + 0.05  # more lookups, and more of them hard
    assert share[False][1] > 1.5 * share[True][1]


def test_pages_hold_the_lines_that_the_renderer_lays_out() -> None:
    for sample in some("layout", 10, max_pages=4):
        laid = list(paginate(sample.text, preset_style("nano")))
        assert [[line.shown.rstrip() for line in page.lines] for page in laid] == sample.pages


def test_absent_fields_are_not_in_the_document() -> None:
    for sample in some("absent", 60):
        text = sample.text.lower()
        for question in sample.questions:
            if question.task == "absent":
                asked = question.text.lower().rstrip("?.:")
                assert asked not in text


def test_a_sentence_may_name_a_field_whose_value_stands_elsewhere() -> None:
    forms = [re.compile(re.escape(form).replace(r"\{n\}", "(.+)")) for form in MENTIONS]
    num_mentions = 0
    for seed in range(60):
        draft = write(Words(Random(seed)), 16)
        facts = {name: fact for fact in draft.facts for name in fact.names}
        for number, line in enumerate(draft.lines):
            for found in filter(None, (form.fullmatch(line) for form in forms)):
                fact = facts[found[1]]
                assert fact.spot[0] != number
                there = draft.lines[fact.spot[0]][fact.spot[1] :]
                assert there.startswith(fact.answer) or fact.answer == NOT_FOUND
                num_mentions += 1
    assert num_mentions > 30


def test_test_words_never_meet_training() -> None:
    train, test = Words(Random(1)), Words(Random(1), test=True)
    known = {word.lower() for word in NOUNS}
    for _ in range(500):
        assert not held_out(train.pseudo())
        assert held_out(test.pseudo())
    for sample in some("train words", 20):
        for question in sample.questions:
            for word in re.findall(r"[a-z]{7,}", question.answer):
                if held_out(word) and word not in known:
                    # Only real English of the filler, parts of a longer word, or cut words remain.
                    assert word in sample.text.lower()


def test_all_text_is_in_the_readers_alphabet() -> None:
    for sample in some("alphabet", 60):
        for question in sample.questions:
            assert v.UNKNOWN not in v.encode(question.text + question.answer)
