"""Where the taught heads are told to look, read back from the pages' own characters."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
import torch
from train import vocabulary as v
from train.attention_targets import (
    AHEAD,
    ANCHORS,
    BACK,
    BEFORE,
    FIND,
    HERE,
    KEY,
    MOST,
    PAGES_TOLD,
    POINT,
    SLOTS,
    evidence,
    grams,
    meet,
    onward,
)
from train.corpus import samples
from train.geometry import TOKEN_COLUMNS
from train.ideal_tokens import Oracle
from train.packing import IGNORE, Batch, pack
from train.sample import Question, Sample

LENGTH = 384


@dataclass(frozen=True)
class Shown:
    """What one visual token shows: its page's cells, its first line and its first column."""

    cells: np.ndarray
    line: int
    column: int

    @property
    def page(self) -> int:
        return id(self.cells.base) + self.cells.__array_interface__["data"][0]

    def at(self, line: int, column: int) -> int:
        return int(self.cells[self.line + line, self.column + column])


@dataclass(frozen=True)
class Lesson:
    """A batch with its visual tokens looked up."""

    batch: Batch

    @cached_property
    def tokens(self) -> dict[tuple[int, int], Shown]:
        """(row, index) of every visual token."""
        where = {}
        for cells, places in zip(self.batch.cells, self.batch.places, strict=True):
            size = cells.shape[1] // 2 * TOKEN_COLUMNS
            for number, flat in enumerate(places.tolist()):
                page, token = divmod(number, size)
                line, column = token // TOKEN_COLUMNS * 2, token % TOKEN_COLUMNS * 4
                where[divmod(flat, self.batch.tokens.shape[1])] = Shown(cells[page], line, column)
        return where

    def taught(self, layer: int, head: int) -> Iterator[tuple[int, int, list[int]]]:
        """(row, position, goals) wherever a head is asked."""
        for row, at in np.argwhere(self.batch.due[layer][:, head] > 0):
            goals = self.batch.goals[layer][row, head, at]
            yield int(row), int(at), goals[goals >= 0].tolist()

    def sink(self, row: int, at: int) -> int:
        """The first token of the document at a position."""
        mine = self.batch.document[row] == self.batch.document[row, at]
        return int(np.argmax(mine))

    def written(self, row: int, first: int, last: int) -> str:
        return v.decode(self.batch.tokens[row, first : last + 1].tolist())


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    return Lesson(pack(samples("taught", low=3, high=10, asked=6), rows=12, length=LENGTH))


def test_every_goal_stands_in_the_same_document_and_is_seen_by_then(lesson: Lesson) -> None:
    batch = lesson.batch
    for layer, due in batch.due.items():
        assert (due > 0).sum() > 500
        for head in range(due.shape[1]):
            for row, at, goals in lesson.taught(layer, head):
                assert goals
                assert all(batch.document[row, goal] == batch.document[row, at] for goal in goals)
                assert all(goal <= at for goal in goals)
                assert {batch.segment[row, goal] for goal in goals} <= {0, batch.segment[row, at]}


def test_a_pointer_names_the_cell_of_the_next_character(lesson: Lesson) -> None:
    shown, num_pointed = lesson.tokens, 0
    for line, layer in enumerate(POINT):
        for slot in range(SLOTS):
            for row, at, (goal,) in lesson.taught(layer, slot):
                if goal != lesson.sink(row, at):
                    assert shown[row, goal].at(line, slot) == lesson.batch.target[row, at]
                    num_pointed += 1
    answers = (lesson.batch.target != IGNORE) & ~np.isin(lesson.batch.target, v.END)
    assert 200 < num_pointed <= answers.sum()


def test_a_finder_sees_the_four_characters_just_written(lesson: Lesson) -> None:
    shown, num_found, num_many, num_nowhere = lesson.tokens, 0, 0, 0
    for head in range(6):
        line, column = divmod(head, 3)
        for row, at, goals in lesson.taught(FIND, head):
            if goals == [lesson.sink(row, at)]:
                num_nowhere += 1
                continue
            num_found += 1
            num_many += len(goals) > 1
            for goal in goals:
                token = shown[row, goal]
                end = token.column + column
                there = v.decode(token.cells[token.line + line, max(0, end - 3) : end + 1].tolist())
                mine = lesson.written(row, at - 3, at)
                first = int(np.argmax(lesson.batch.question[row] == lesson.batch.question[row, at]))
                mine = mine if at - 3 >= first else lesson.written(row, first, at).rjust(4)
                assert there.rjust(4).lower() == mine.lower()
    assert num_found > 500
    assert num_many > 50
    assert num_nowhere > 500


def test_keys_stand_in_the_answers_line_or_just_before_it(lesson: Lesson) -> None:
    shown = lesson.tokens
    found = {(row, at): [] for head in range(6) for row, at, _ in lesson.taught(FIND, head)}
    for head in range(6):
        for row, at, goals in lesson.taught(FIND, head):
            found[row, at] += [(goal, head) for goal in goals if goal != lesson.sink(row, at)]
    begins = {(row, at): goal for row, at, (goal,) in lesson.taught(ANCHORS[0], 0)}
    for head in (0, 2):
        asked = list(lesson.taught(KEY, head))
        assert len(asked) > 500
        for row, at, goals in asked:
            answer = shown[row, begins[row, at]]
            for goal in goals:
                # Where the answer stands in one of a token's two lines, so may the character.
                lines = [
                    shown[row, token].line + finder // 3
                    for token, finder in found[row, goal]
                    if shown[row, token].page == answer.page
                ]
                assert any(answer.line - 1 <= line <= answer.line + 1 for line in lines)
    titled = list(lesson.taught(KEY, 1))
    assert len(titled) > 50
    for row, at, goals in titled:
        answer = shown[row, begins[row, at]]
        for goal in goals:
            assert any(shown[row, token].line <= answer.line for token, _ in found[row, goal])


def evidence_in(page: str, question: str, answer: str, title: str = "") -> list[str]:
    """For each head of `KEY`, the question up to the last of the characters it looks at."""
    lines = page.splitlines()

    def cells(text: str) -> list[tuple[int, int, int]]:
        number = next(n for n, line in enumerate(lines) if text in line)
        return [(0, number, lines[number].index(text) + i) for i in range(len(text))]

    met = meet(question, grams([lines]))
    keys = evidence(met, cells(answer), cells(title) if title else [])
    return [question[: max(key) + 1].strip() if key else "" for key in keys]


def test_a_field_is_told_from_what_is_rarer_in_its_line() -> None:
    line = "quiplo has invoice gender plume-7 and no invoice limit"
    here, named, before = evidence_in(line, "invoice gender of quiplo?", "plume-7")
    assert here == "invoice gender of quiplo"
    assert named == ""
    assert before == "invoice gender"


def test_a_column_and_a_section_are_found_by_their_names() -> None:
    rows = "name   port   owner\ndb-39  5432   Ada\ndb-41  6379   Ben"
    assert evidence_in(rows, "port of db-41", "6379", "port") == [
        "port of db-41",
        "port",
        "port of db-41",
    ]
    blocks = "[server]\nport = 8443\n\n[database]\nport = 5432"
    _, named, _ = evidence_in(blocks, "port in the database section", "5432", "database")
    assert named == "port in the database"


def test_both_anchors_look_at_the_answers_beginning(lesson: Lesson) -> None:
    batch, shown, num_begun = lesson.batch, lesson.tokens, 0
    for layer in ANCHORS:
        for row, at, (goal,) in lesson.taught(layer, 0):
            if goal == lesson.sink(row, at):
                continue
            asked = (batch.question[row] == batch.question[row, at]) & (batch.target[row] != IGNORE)
            first = batch.target[row, np.argmax(asked)]
            token = shown[row, goal]
            assert first in token.cells[token.line : token.line + 2, token.column :][:, :SLOTS]
            num_begun += 1
    assert num_begun > 500


def test_heads_look_at_the_character_just_written_and_four_tokens_to_the_right(
    lesson: Lesson,
) -> None:
    shown, num_here, num_ahead = lesson.tokens, 0, 0
    base = {}
    for column in range(SLOTS):
        for row, at, (goal,) in lesson.taught(HERE, column):
            if goal != lesson.sink(row, at):
                token = shown[row, goal]
                last = lesson.batch.tokens[row, at]
                assert last in (token.at(0, column), token.at(1, column))
                base[row, at] = goal
                num_here += 1
    for layer, head, tokens in AHEAD:
        for row, at, (goal,) in lesson.taught(layer, head):
            if (row, at) in base and goal != lesson.sink(row, at):
                assert goal == base[row, at] + tokens
                assert shown[row, goal].line == shown[row, base[row, at]].line
                num_ahead += 1
    assert num_here > 500
    assert num_ahead > 500


def test_the_name_of_a_column_or_section_is_seen_where_it_stands(lesson: Lesson) -> None:
    shown = lesson.tokens
    begins = {(row, at): goal for row, at, (goal,) in lesson.taught(ANCHORS[0], 0)}
    named = list(lesson.taught(ANCHORS[0], 1))
    assert len(named) > 50
    for row, at, goals in named:
        answer = shown[row, begins[row, at]]
        tokens = [shown[row, goal] for goal in goals]
        assert len({token.line for token in tokens}) == 1
        assert tokens[0].line <= answer.line
        columns = [token.column for token in tokens]
        assert columns == list(range(columns[0], columns[0] + SLOTS * len(columns), SLOTS))


def test_a_line_goes_on_at_its_next_word_and_below() -> None:
    pages = [["ab  cd", "", "  last"], ["next"]]
    assert onward(pages, (0, 0, 0)) == ((0, 0, 4), None)  # over the gap; an empty line below
    assert onward(pages, (0, 0, 5)) == (None, None)
    assert onward(pages, (0, 1, 0)) == (None, (0, 2, 2))
    assert onward(pages, (0, 2, 3)) == (None, (1, 0, 0))  # the next page's first line
    assert onward(pages, (1, 0, 1)) == (None, None)


def test_heads_look_at_the_next_word_and_at_the_next_line(lesson: Lesson) -> None:
    shown, num_words, num_ends, num_below = lesson.tokens, 0, 0, 0
    base = {
        (row, at): (goal, column)
        for column in range(SLOTS)
        for row, at, (goal,) in lesson.taught(HERE, column)
        if goal != lesson.sink(row, at)
    }
    below = {(row, at): goal for row, at, (goal,) in lesson.taught(POINT[1], SLOTS + 1)}
    for row, at, (goal,) in lesson.taught(POINT[1], SLOTS):
        index, column = base[row, at]
        token, sink = shown[row, index], lesson.sink(row, at)
        left = index - token.column // SLOTS  # the first token of its row
        expected = []
        for line in (0, 1):
            if token.at(line, column) == lesson.batch.tokens[row, at]:
                text = v.decode(token.cells[token.line + line].tolist()).rstrip()
                word = re.compile(r" +\S").search(text, token.column + column)
                there = v.decode(token.cells[token.line + line + 1 :][:1].flatten().tolist())
                next_line = (
                    left + line * TOKEN_COLUMNS + (len(there) - len(there.lstrip())) // SLOTS
                )
                expected.append(
                    (
                        left + (word.end() - 1) // SLOTS if word else sink,
                        next_line if there.strip() else sink,
                    )
                )
        assert (goal, below[row, at]) in expected
        num_words += goal != sink
        num_ends += goal == sink
        num_below += below[row, at] != sink
    assert min(num_words, num_ends, num_below) > 200


def test_tokens_look_back_in_their_line_and_their_question_only(lesson: Lesson) -> None:
    shown, batch = lesson.tokens, lesson.batch
    seen = {True: 0, False: 0}
    for head in range(BACK):
        for row, at, (goal,) in lesson.taught(BEFORE, head):
            if (row, at) in shown:
                near = shown[row, at].column > SLOTS * head
            else:
                near = at > head and batch.question[row, at - head - 1] == batch.question[row, at]
            assert goal == (at - head - 1 if near else lesson.sink(row, at))
            seen[near] += 1
    assert min(seen.values()) > 500


def test_a_visual_token_is_told_its_page_by_a_share_of_looks() -> None:
    long = samples("told", low=10, high=14, asked=2, max_pages=3)
    looks: dict[int, list[bool]] = {}
    for _ in range(8):
        lesson = Lesson(pack(long, rows=4, length=768))
        goals = lesson.batch.goals[BEFORE][:, BACK, :, 0]
        opening, page = 0, 0
        for row, index in np.ndindex(lesson.batch.tokens.shape):
            token, sink = lesson.batch.tokens[row, index], lesson.sink(row, index)
            if index == sink:
                page = -1
            if token == v.PAGE_OPEN:
                opening, page = index, page + 1
            elif token == v.IMAGE:
                assert goals[row, index] in (opening, sink)
                looks.setdefault(page, []).append(goals[row, index] == opening)
    assert set(looks) == {0, 1, 2}
    for page, at_opening in looks.items():
        assert len(at_opening) > 500
        assert abs(np.mean(at_opening) - page / PAGES_TOLD) < 0.05


def test_a_visual_token_is_told_the_commas_left_of_it_by_a_share_of_looks() -> None:
    # Given pages with one to six commas in a line, in one or both lines of a row of tokens
    lines = [
        "name,port,owner",
        "db-3,5432,Ada,,x",
        "no comma here",
        "one,two,three,four,five,six,seven",
        "a,b",
    ]
    pages = [[line.center(60, " ") for line in lines]]
    sample = Sample(pages=pages, text="", questions=[Question(text="a?", answer="b", task="x")])
    looks: dict[int, list[bool]] = {}
    num_untaught = 0
    lesson = Lesson(pack(itertools.repeat(sample), rows=40, length=640))
    shown, goals, due = lesson.tokens, lesson.batch.goals[BEFORE], lesson.batch.due[BEFORE]
    # When each visual token is asked how many stand left of it in either of its lines
    for (row, at), token in shown.items():
        first = at - token.column // SLOTS
        for line in (0, 1):
            before = token.cells[token.line + line, : token.column] == v.ID[","]
            holders = sorted({int(first + column // SLOTS) for column in np.flatnonzero(before)})
            asked = goals[row, BACK + 1 + line, at]
            mine = asked[asked >= 0].tolist()
            if len(holders) > MOST:
                assert due[row, BACK + 1 + line, at] == 0
                num_untaught += 1
                continue
            # Then it looks at all that hold some, or at the document's first token
            assert due[row, BACK + 1 + line, at] > 0
            assert mine in (holders, [lesson.sink(row, at)])
            looks.setdefault(int(before.sum()), []).append(mine == holders)
    # And of n commas and the first token each has an equal share
    assert set(looks) >= {0, 1, 2, 3, 4}
    for count, at_commas in looks.items():
        assert len(at_commas) > 200
        assert abs(np.mean(at_commas) - count / (count + 1)) < 0.08
    assert num_untaught > 0


def test_what_stands_in_too_many_places_teaches_nothing() -> None:
    # Given a word in three lines, once in a last column, one in many, and one in no line
    pages = [["my port", "so port", "the port"] + ["as many of us"] * (2 * MOST + 1)]
    known = grams(pages)
    # When a question holds all three
    met = meet("port many none", known)
    # Then the first is found everywhere it stands, the second is left out, the third is nowhere
    assert met[3] == [(0, 0, 6), (0, 1, 6)]
    assert 8 not in met
    assert met[13] == []
    # And a line begins after spaces, as a question does
    assert meet("so it", known)[1] == [(0, 1, 1)]


def test_ideal_tokens_tell_their_place() -> None:
    oracle = Oracle(384)
    places = oracle.places(5).view(5, TOKEN_COLUMNS, -1)
    row = (places @ oracle.rows.T).argmax(-1)
    column = (places @ oracle.columns.T).argmax(-1)
    assert (row == torch.arange(5)[:, None]).all()
    assert (column == torch.arange(TOKEN_COLUMNS)).all()
    ideal = oracle(torch.full((1, 10, 64), v.SPACE))
    assert oracle.misplaced(ideal, ideal) == 0
    assert oracle.misplaced(ideal.roll(1, 0), ideal) > 0.1
