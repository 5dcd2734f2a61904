"""Copies that stop short or slip take the document's own text; what stands there stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from glyph_worker.evidence.guard import guard
from glyph_worker.evidence.index import DocumentIndex
from glyph_worker.job import Answer, FinishReason
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style
from glyph_worker.worker.prover import Prover

DOCUMENT = """Depends: libc6 (>= 2.34), zlib1g
Maintainer: Ada Stone <ada@stone.example>
Cost: £14.50 (lunch included), unit mmol/L
Total: 1,204.50 EUR
Answering service: 0117 496
Answered: yes
"""
INDEX = DocumentIndex(DOCUMENT)
STYLE = preset_style("nano")


@pytest.mark.parametrize(
    ("read", "given"),
    [
        ("libc6 (>= 2.3", "libc6 (>= 2.34)"),
        ("libc6 (>=", "libc6 (>= 2.34)"),
        ("Ada Stone <ada", "Ada Stone <ada@stone.example>"),
        ("£14.50 (lunch", "£14.50 (lunch included)"),
        ("1,204", "1,204.50"),
        ("Maintain", "Maintainer"),
    ],
)
def test_a_copy_that_stops_within_a_word_or_a_bracket_is_given_its_end(
    read: str, given: str
) -> None:
    found = guard(INDEX, read, "", completed=True)
    assert (found.text, found.read_as) == (given, read)
    assert found.text.startswith(read), "what was streamed of it stays true"
    assert found.places[0].kind == "exact"


@pytest.mark.parametrize(
    "read",
    [
        "1,204.50 EUR",  # whole
        "£14.50",  # whole, though more follows
        "Answer",  # begins two different words
        "yes",
        "lunch included",
        "not there at all (",
        "unit ",
        "",
    ],
)
def test_an_answer_that_is_whole_or_is_no_clear_beginning_stays(read: str) -> None:
    found = guard(INDEX, read, "", completed=True)
    assert (found.text, found.read_as) == (read, "")


def test_nothing_is_completed_unasked_or_where_nothing_is_looked_up() -> None:
    assert guard(INDEX, "Maintain", "").text == "Maintain"
    assert guard(INDEX, "Maintain", "", mode="off", completed=True).text == "Maintain"
    assert guard(INDEX, "Maintain", "", mode="correct").text == "Maintainer"


@pytest.mark.parametrize(
    ("read", "given"),
    [
        ("mmol/l", "mmol/L"),
        ("Answering servise", "Answering service"),
        ("ada stone", "Ada Stone"),
    ],
)
def test_correcting_takes_the_documents_spelling_of_a_copy(read: str, given: str) -> None:
    found = guard(INDEX, read, "", mode="correct")
    assert (found.text, found.read_as) == (given, read)
    assert guard(INDEX, read, "", completed=True).text == read


def test_quotes_around_it_are_not_a_copys() -> None:
    index = DocumentIndex('say="GET /help HTTP/1.1" 404\n')
    assert guard(index, "NGET /help HTTP/1.1", "", mode="correct").text == "GET /help HTTP/1.1"


def test_a_copy_with_other_digits_is_no_slip() -> None:
    index = DocumentIndex("Delivered on 12 March 2026 by van\n")
    found = guard(index, "on 17 March 2026 by van", "", mode="correct")
    assert found.text == "on 17 March 2026 by van"
    assert found.verified is False


def prove(folder: Path, read: str, mode: str, mean: float) -> tuple[str, str, bool | None]:
    pages = [laid.page for laid in paginate(DOCUMENT, STYLE)]
    proof = Prover(folder).prove(
        read, "What is it?", document_digest="d", read=lambda: DOCUMENT, style=STYLE, pages=pages,
        mode=mode, cut=False, mean_log_prob=mean, min_log_prob=mean,  # type: ignore[arg-type]
    )  # fmt: skip
    return proof.text, proof.read_as, proof.found


def test_a_checkpoint_of_copies_is_completed_and_withheld_by_its_own_measures(
    tmp_path: Path,
) -> None:
    written = tmp_path / "written"
    copies = tmp_path / "copies"
    written.mkdir()
    copies.mkdir()
    knots = '"weights": {"mean": 1, "least": 0, "stands": 0}, "knots": [[0, 0], [1, 1]]'
    (written / "evidence.json").write_text(f'{{"not_found": ["not found"], {knots}}}')
    (copies / "evidence.json").write_text(
        f'{{"not_found": ["not found"], "copies": true, "doubted_below": 0.3, {knots}}}'
    )
    assert prove(written, "Maintain", "check", -0.1) == ("Maintain", "", True)
    assert prove(copies, "Maintain", "check", -0.1) == ("Maintainer", "Maintain", True)
    assert prove(copies, "yes", "check", -3.0) == ("yes", "", True), "never withheld unasked"
    assert prove(copies, "yes", "correct", -3.0) == ("not found", "yes", False)
    assert prove(copies, "yes", "correct", -0.1) == ("yes", "", True)
    assert prove(written, "yes", "correct", -3.0) == ("yes", "", True)


def test_what_was_read_travels_with_the_answer_and_older_records_have_none() -> None:
    answer = Answer(text="Maintainer", finish_reason=FinishReason.STOP, read_as="Maintain")
    fields = answer.to_fields()
    assert Answer.from_fields(fields) == answer
    del fields["read_as"]
    assert Answer.from_fields(fields).read_as == ""
