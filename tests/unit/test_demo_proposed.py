"""Questions that a stranger's file suggests to the demo."""

from __future__ import annotations

from glyph_worker.document import Document
from glyph_worker.local.demo import _rounds
from glyph_worker.local.proposed import MAX_QUESTIONS, proposed


def test_questions_name_the_fields_that_a_document_has_once() -> None:
    text = "Ship to: Ada\n[a]\nport = 1\n[b]\nport = 2\nhost = db-3\nnote: http://x.example/y\n"
    assert proposed(text) == ["What is the Ship to?", "What is the host?", "What is the note?"]


def test_columns_are_taken_for_fields_where_no_others_are() -> None:
    assert proposed("Where       Whinfell\nCost        £14.50\n") == [
        "What is the Where?",
        "What is the Cost?",
    ]


def test_many_fields_are_drawn_from_the_whole_document() -> None:
    asked = proposed("".join(f"field {chr(97 + at)}: {at}\n" for at in range(20)))
    assert len(asked) == MAX_QUESTIONS
    assert asked[0] == "What is the field a?"
    assert asked[-1] == "What is the field q?"


def test_prose_is_asked_for_its_lines_and_code_is_no_field() -> None:
    assert proposed("\nDear all,\nsee http: we met. If so: go\n") == [
        "What does line 2 say?",
        "What does line 3 say?",
    ]
    assert proposed("if x == 1: y\n") == ["What does line 1 say?"]


def test_ones_own_questions_are_asked_as_they_are() -> None:
    mine = Document.of("colour: teal\n", max_bytes=100)
    ((title, document, asked),) = _rounds((mine, ["Which colour?"]))
    assert (title, document, asked) == ("your document", mine, [("Which colour?", None)])
    ((_, _, suggested),) = _rounds((mine, []))
    assert suggested == [("What is the colour?", None)]
