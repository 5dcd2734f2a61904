"""Where over-long texts are cut."""

from __future__ import annotations

import itertools
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glyph_worker.document import PART_END, Page
from glyph_worker.segments.cut import Segment, TokenScale, cut

PER_PAGE, TOKENS = 600, 100


def scale_of(text: str) -> TokenScale:
    """Pages of some hundred characters each, 100 tokens a page."""
    ends = [*range(PER_PAGE, len(text), PER_PAGE), len(text)]
    pages = [
        Page(index=n, digest="", width=1, height=1, start=start, end=end)
        for n, (start, end) in enumerate(zip([0, *ends], ends, strict=False))
    ]
    return TokenScale(pages, [TOKENS * (page.end - page.start) // PER_PAGE for page in pages])


def segments_of(text: str, max_tokens: int = 400) -> list[Segment]:
    return cut(text, scale_of(text), max_tokens=max_tokens)


def prose(seed: str, num_lines: int) -> str:
    rng = Random(seed)
    lines = []
    for _ in range(num_lines):
        words = ["".join(rng.choices("abcdefgh", k=rng.randint(2, 9))) for _ in range(9)]
        lines.append(" ".join(words) + ("\n" if rng.random() < 0.2 else ""))
    return "\n".join(lines) + "\n"


@given(st.text(alphabet="ab \n#1." + PART_END, min_size=1, max_size=9_000), st.integers(60, 900))
def test_cores_tile_the_text_and_every_segment_keeps_its_budget(text: str, budget: int) -> None:
    scale = scale_of(text)
    segments = cut(text, scale, max_tokens=budget)
    assert [one.core for one in segments] == [0, *(one.end for one in segments[:-1])]
    assert segments[-1].end == len(text)
    for one in segments:
        assert one.start <= one.core < one.end
        assert scale.tokens(one.end) - scale.tokens(one.start) <= budget + 1
    for before, after in itertools.pairwise(segments):
        assert before.core < after.start <= after.core  # it repeats of its neighbour alone


def test_a_text_within_the_budget_is_one_segment() -> None:
    text = prose("short", 20)
    assert segments_of(text, 10_000) == [Segment(start=0, core=0, end=len(text))]


class Copied(str):
    """A text that counts the characters that are taken out of it."""

    num_copied = 0

    def __getitem__(self, key: Any) -> str:
        part = super().__getitem__(key)
        self.num_copied += len(part)
        return part


def test_what_is_copied_grows_as_the_text_does() -> None:
    short, long = Copied(prose("copied", 400)), Copied(prose("copied", 3_200))
    shares = [len(segments_of(text)) and text.num_copied / len(text) for text in (short, long)]
    assert shares[1] < 1.2 * shares[0]


@pytest.mark.parametrize("number", range(8))
def test_an_edit_changes_the_segments_it_touches_and_few_others(number: int) -> None:
    text = prose("stable", 1_500)
    before = {text[one.start : one.end] for one in segments_of(text)}
    rng = Random(f"edit {number}")
    at = text.index("\n", rng.randrange(len(text) * 3 // 4)) + 1
    edited = text[:at] + "one new line that nobody has seen\n" * rng.randint(1, 3) + text[at:]
    after = [edited[one.start : one.end] for one in segments_of(edited)]
    assert len(after) > 40
    assert sum(part not in before for part in after) <= 8


def test_a_heading_is_the_first_choice_then_a_paragraph_then_a_line() -> None:
    line = "words that go on and on without an end to them, one line\n"
    for joint in ("# Costs\n", "12.3 Termination\n", "Results\n=======\n", "Chapter 4\n"):
        text = line * 30 + "\n" + line * 10 + "\n" + joint + line * 40
        assert segments_of(text)[0].end == text.index(joint), joint
    text = line * 35 + "\n" + "paragraph begins\n" + line * 40
    assert segments_of(text)[0].end == text.index("paragraph begins")
    assert (segments_of(line * 80)[0].end) % len(line) == 0


def test_the_end_of_a_part_is_better_than_a_heading() -> None:
    line = "words that go on and on without an end to them, one line\n"
    text = line * 30 + PART_END + line * 4 + "\n# Heading\n" + line * 40
    first, second = segments_of(text)[:2]
    assert first.end == text.index(PART_END) + 1
    assert second.start == second.core  # nothing goes on over the end of a part


def test_what_stands_across_a_cut_is_whole_in_one_segment() -> None:
    text = prose("overlap", 800)
    segments = segments_of(text)
    repeated = [one for one in segments[1:] if one.start < one.core]
    assert len(repeated) == len(segments) - 1
    for one in repeated:
        assert text[one.start - 1] == "\n"
