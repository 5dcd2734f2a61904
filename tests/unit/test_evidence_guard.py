"""An answer beside its document: what is looked up, what is put right, where it stands."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glyph_worker.evidence.confusions import confusable
from glyph_worker.evidence.found import is_found
from glyph_worker.evidence.guard import MAX_LITERALS, MAX_PARTS, Guarded, guard
from glyph_worker.evidence.index import DocumentIndex
from glyph_worker.evidence.literals import literals
from glyph_worker.proof import LiteralKind

INVOICE = DocumentIndex(
    """Brightwater Office Supplies Ltd
Invoice number: BW-20417  Invoice date: 3 March 2025
Due date: 2 April 2025    Customer number: 88213
Meridian Dental Practice, Attn: HELEN Okafor, inter-
national Modern Northern £318.36 and 1,204.50
Total EUR                                  318.99
see http://a.example/x?y=1 or ana@example.org, 1.25,470.42,900.5
"""
)


def one(answer: str, mode: str = "check", question: str = "") -> Guarded:
    return guard(INVOICE, answer, question, mode=mode)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("318.36", "number"), ("1,204.50", "number"), ("3 March 2025", "date"),
        ("2025-03-03", "date"), ("10:30", "date"), ("£318.36", "amount"), ("318.36 EUR", "amount"),
        ("BW-20417", "code"), ("max_new_tokens", "code"), ("HeIen", "code"),
        ("http://a.example/x?y=1", "url"), ("ana@example.org", "address"),
        ("10.0.0.1:8443", "address"), ("Helen Okafor", "name"), ("O'Neil", "name"),
    ],
)  # fmt: skip
def test_a_literal_is_known_by_its_form(text: str, kind: LiteralKind) -> None:
    assert [(lit.text, lit.kind) for lit in literals(text)] == [(text, kind)]


@pytest.mark.parametrize("text", ["paper towels", "Yes", "no", "N/A", "Due date", "It is so"])
def test_plain_words_and_yes_and_no_are_no_literals(text: str) -> None:
    assert one(text).literals == ()
    assert one(text).verified is None


@pytest.mark.parametrize(
    "answer",
    [
        "BW-20417", "The invoice is BW-20417.", "3 March 2025", "2025-03-03", "March 3, 2025",
        "1204.50", "318.99 EUR", "Helen Okafor", "International", "88213", "470.42", "1.25",
        "It is due on 2 April 2025 and Meridian Dental Practice pays £318.36.",
    ],
)  # fmt: skip
def test_what_the_document_has_is_verified_in_any_usual_spelling(answer: str) -> None:
    assert one(answer).verified is True


@pytest.mark.parametrize(
    ("read", "real"),
    [
        ("BW-2O417", "BW-20417"), ("8W-20417", "BW-20417"), ("bw-20417", "BW-20417"),
        ("BW-2417", "BW-20417"), ("BW-200417", "BW-20417"), ("882l3", "88213"),
        ("B8213", "88213"), ("8318.36", "£318.36"), ("Modem", "Modern"), ("Northem", "Northern"),
        ("http://a.exarnple/x?y=1", "http://a.example/x?y=1"), ("318.9", "318.99"),
    ],
)  # fmt: skip
def test_a_slip_of_the_eyes_is_flagged_and_put_right_on_request_only(read: str, real: str) -> None:
    flagged = one(read)
    assert (flagged.text, flagged.verified) == (read, False)
    assert [(lit.status, lit.suggested) for lit in flagged.literals] == [("unsupported", real)]
    put_right = one(f"It is {read}.", "correct")
    assert (put_right.text, put_right.verified) == (f"It is {real}.", True)
    literal = put_right.literals[0]
    assert (literal.status, literal.text, literal.read_as) == ("corrected", real, read)
    assert put_right.text[literal.start : literal.end] == real
    assert put_right.places[0].answer == (literal.start, literal.end)


def test_what_two_strings_may_have_been_read_as_is_not_put_right() -> None:
    index = DocumentIndex("codes: A10 and AI0\n")
    found = guard(index, "AlO", "", mode="correct")
    assert (found.text, found.verified) == ("AlO", False)
    assert found.literals[0].suggested == ""


def test_a_part_of_a_number_is_not_that_number() -> None:
    for answer in ("318", "204.50", "1,204", "8821", "20417A"):
        assert one(answer).verified is False, answer


def test_a_literal_that_a_length_limit_cut_is_not_judged() -> None:
    cut = guard(INVOICE, "It is 88213 for Brightwater Off", "", cut=True)
    assert [lit.text for lit in cut.literals] == ["88213"]
    assert cut.verified is True


def test_nothing_is_looked_up_with_literals_off() -> None:
    off = one("BW-2O417", "off")
    assert (off.literals, off.verified, off.text) == ((), None, "BW-2O417")


def test_a_sentence_is_cited_by_its_literals_and_a_close_line_by_itself() -> None:
    sentence = one("You owe 318.36, for number 88213.")
    cited = [INVOICE.text[slice(*place.document)] for place in sentence.places]
    assert cited == ["318.36", "88213"]
    close = one("Invoice number: BW-2O417  Invoice dat: 3 March 2025")
    assert [place.kind for place in close.places] == ["close"]
    assert "BW-20417" in INVOICE.text[slice(*close.places[0].document)]
    alike = one("meridian  dental\npractice")
    assert [(place.kind, place.score) for place in alike.places] == [("normalized", 1.0)]


def test_of_several_places_the_one_beside_the_questions_words_is_cited() -> None:
    text = "[web]\nport = 80\nhost = a\n\n[mail]\nport = 80\nhost = b\n\nbackup port: 80\n"
    index = DocumentIndex(text)
    for question, place in (
        ("What is the port of web?", text.index("80")),
        ("Which port has mail?", text.index("80", text.index("[mail]"))),
        ("What is the backup port?", text.rindex("80")),
    ):
        assert guard(index, "80", question).places[0].document[0] == place, question


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("not found", False), ("Not found.", False), ("keine Angabe", False), ("", None),
        ("The document does not mention the price.", False), ("It is not stated.", False),
        ("Not before 3 March 2025", True), ("88213", True),
    ],
)  # fmt: skip
def test_an_honest_not_found_is_told_from_an_answer(answer: str, found: bool | None) -> None:
    assert is_found(INVOICE, answer, ("keine Angabe",)) is found


def test_not_found_of_a_document_that_says_so_is_no_verdict() -> None:
    assert is_found(DocumentIndex("error 404: not found\n"), "not found") is None


def test_case_and_classes_are_confused_and_nothing_else() -> None:
    assert confusable("31.36", "318.36")
    assert confusable("modem", "modern")
    for read, real in (("318.46", "318.36"), ("318", "318.36"), ("4", "5"), ("12034", "1204")):
        assert not confusable(read, real)


LONG = " ".join(f"A{at}x is {at * 7}.5 on 3 March {1000 + at}." for at in range(1_100))
LINES = DocumentIndex("2026-11-01 the same line 42\n" * 6_000)


@pytest.mark.parametrize(
    ("index", "answer"),
    [
        (LINES, LONG), (LINES, "a" * 40_000), (LINES, "42"), (LINES, "the same line 43 is here"),
        (LINES, "1." * 20_000), (DocumentIndex("a" * 100_000), "a"), (DocumentIndex("x"), LONG),
        (DocumentIndex("1.1" * 50_000), "1"), (DocumentIndex(""), "42"), (LINES, "%-@" * 10_000),
    ],
    ids=range(10),
)  # fmt: skip
def test_the_guard_is_bounded_whatever_it_is_given(index: DocumentIndex, answer: str) -> None:
    began = time.thread_time()
    found = guard(index, answer, "What is the line?", mode="correct")
    # Some hundred times what it takes: for loops that never end, not for slow machines.
    assert time.thread_time() - began < 30
    assert len(found.places) <= MAX_PARTS
    assert len({lit.text for lit in found.literals}) <= MAX_LITERALS


def test_of_a_very_long_answer_the_rest_is_said_to_be_unchecked() -> None:
    found = guard(DocumentIndex(LONG), LONG, "")
    assert found.num_unchecked > 0
    assert found.verified is None  # nothing is wrong, and not all is known


def test_the_line_of_a_document_of_one_repeated_line_is_verified() -> None:
    found = guard(LINES, "2026-11-01 the same line 42", "")
    assert (found.verified, found.places[0].document) == (True, (0, 27))


texts = st.text(max_size=200) | st.text("0OlI5S8B£rnm1.,- \n", max_size=60)


@settings(max_examples=150, deadline=None)
@given(texts, texts, texts, st.sampled_from(["check", "correct", "off"]), st.booleans())
def test_whatever_meets_whatever_places_lie_where_they_say(
    text: str, answer: str, question: str, mode: str, cut: bool
) -> None:
    index = DocumentIndex(text)
    found = guard(index, answer, question, mode=mode, cut=cut)  # type: ignore[arg-type]
    for place in found.places:
        assert 0 <= place.document[0] < place.document[1] <= len(text)
        assert 0 <= place.answer[0] < place.answer[1] <= len(found.text)
    for literal in found.literals:
        assert found.text[literal.start : literal.end] == literal.text


@settings(max_examples=150, deadline=None)
@given(st.text(min_size=1, max_size=120).filter(str.strip), st.data())
def test_a_quote_of_the_document_is_always_found(text: str, data: st.DataObject) -> None:
    index = DocumentIndex(text)
    words = text.split()
    first = data.draw(st.integers(0, len(words) - 1))
    start = text.index(words[first])
    end = start + len(words[first])
    if index.alone(start, end):
        found = guard(index, words[first], "", mode="check")
        assert found.verified is not False
        assert found.found is False or found.places
