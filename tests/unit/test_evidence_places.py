"""Places → pages, pixels, and characters of the text as it was submitted; and what is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glyph_worker.cli.proof import proof_parts
from glyph_worker.errors import JobExpired, ModelUnusable
from glyph_worker.evidence.boxes import PageMap
from glyph_worker.evidence.confidence import CALIBRATION_FILE, Calibration, Stands, stands
from glyph_worker.evidence.fold import fold, fold_text
from glyph_worker.evidence.guard import guard
from glyph_worker.evidence.index import DocumentIndex
from glyph_worker.evidence.original import Original
from glyph_worker.job import Answer, FinishReason
from glyph_worker.model.embedded import checkpoint_path
from glyph_worker.proof import CheckedLiteral
from glyph_worker.render.pages.pagemap import locate
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style
from glyph_worker.worker.prover import Proof, Prover

PROSE = "\n".join(
    f"Section {number}: the parcel {number * 37 % 101} was weighed on day {number}, and it held."
    for number in range(400)
)


@pytest.mark.parametrize("name", ["nano", "balanced", "reference"])
def test_boxes_are_those_of_the_whole_documents_layout(name: str) -> None:
    style = preset_style(name)
    pages = list(paginate(PROSE, style))
    page_map = PageMap(PROSE, style, [laid.page for laid in pages])
    assert len(pages) > 3
    for laid in pages:
        start = (laid.page.start + laid.page.end) // 2
        expected = locate(pages, start, start + 60)
        boxes = page_map.boxes((start, start + 60))
        assert [(box.page, box.left, box.top, box.right, box.bottom) for box in boxes] == [
            (
                span.page + 1,
                round(span.left, 1),
                round(span.top, 1),
                round(span.right, 1),
                round(span.bottom, 1),
            )
            for span in expected
        ]
        assert page_map.page_of((start, start + 60)) == laid.page.index + 1


def test_a_place_over_two_pages_has_boxes_on_both() -> None:
    style = preset_style("nano")
    pages = list(paginate(PROSE, style))
    page_map = PageMap(PROSE, style, [laid.page for laid in pages])
    edge = pages[0].page.end
    assert {box.page for box in page_map.boxes((edge - 20, edge + 20))} == {1, 2}


def test_pages_of_another_text_give_no_boxes() -> None:
    style = preset_style("nano")
    pages = [laid.page for laid in paginate(PROSE, style)]
    assert PageMap(PROSE.replace("parcel", "letter"), style, pages).boxes((10, 20)) == ()


@settings(max_examples=200, deadline=None)
@given(st.text("ab\r\n\x0b\x1b[1m\u00e9e\u0301\u200b\x00\t ", max_size=60))
def test_places_of_the_normal_form_are_places_of_what_was_submitted(text: str) -> None:
    original = Original(text)
    last = 0
    for at, char in enumerate(original.normal):
        start, end = original.span((at, at + 1))
        assert 0 <= start < end <= len(text)
        assert start >= last  # places rise as the text does
        last = start
        if char in "ab":
            assert text[start:end][-1] == char


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80) | st.text("ﬁß½ -\u00adAé\n", max_size=40))
def test_the_fold_is_that_of_each_character(text: str) -> None:
    folded = fold(text)
    assert folded.text == fold_text(text)
    assert len(folded.offsets) == len(folded.text)
    assert [int(at) for at in folded.offsets] == sorted(folded.offsets)


def prove(prover: Prover, text: str, answer: str, **given: object) -> Proof:
    style = preset_style("nano")
    pages = [laid.page for laid in paginate(text, style)]
    return prover.prove(
        answer,
        "What is the port?",
        document_digest=str(hash(text)),
        read=lambda: text,
        style=style,
        pages=pages,
        mode="check",
        cut=False,
        **given,  # type: ignore[arg-type]
    )


def test_a_proof_cites_the_submitted_text_with_its_page_and_boxes(tmp_path: Path) -> None:
    text = "host: gw-1\r\nport: \x1b[1m8443\x1b[0m\r\n"
    proof = prove(Prover(tmp_path), text, "8443")
    (citation,) = proof.citations
    assert (citation.text, citation.page, citation.kind) == ("8443", 1, "exact")
    assert text[citation.start : citation.end] == "8443"
    (box,) = citation.boxes
    # The second of the preset's 14 pixel lines; the seventh and following of its 7 pixel columns.
    assert (box.left, box.right - box.left, box.bottom - box.top) == (42, 28, 14)
    assert (proof.verified, proof.found, proof.confidence) == (True, True, None)


def test_an_answer_whose_document_is_gone_is_given_without_proof(tmp_path: Path) -> None:
    def read() -> str:
        raise JobExpired("gone")

    proof = Prover(tmp_path).prove(
        "8443", "?", document_digest="d", read=read, style=preset_style("nano"), pages=(),
        mode="check", cut=False,
    )  # fmt: skip
    assert proof == Proof(text="8443")


CURVE = {
    "not_found": ["not found"],
    "weights": {"mean": 0.5, "least": 0.3, "stands": 0.2},
    "knots": [[0.2, 0.1], [0.6, 0.5], [1.0, 0.9]],
}


def test_confidence_is_read_off_the_checkpoints_curve(tmp_path: Path) -> None:
    (tmp_path / CALIBRATION_FILE).write_text(json.dumps(CURVE))
    calibration = Calibration.of_folder(tmp_path)
    whole, nowhere = Stands(1.0, 1.0), Stands(0.0, 0.0)
    assert calibration.confidence(0.0, 0.0, whole) == 0.9
    assert calibration.confidence(-50.0, -50.0, nowhere) == 0.1
    assert calibration.confidence(0.0, -50.0, whole) == pytest.approx(0.6, abs=0.001)
    assert calibration.confidence(None, None, whole) is None
    assert Calibration.of_folder(tmp_path / "none").confidence(0.0, 0.0, whole) is None
    text = "host: gw-1\nport: 8443\n"
    for answer, share in (("8443", 0.9), ("8448", 0.7), ("not found", 0.9)):
        proof = prove(Prover(tmp_path), text, answer, mean_log_prob=0.0, min_log_prob=0.0)
        assert proof.confidence == pytest.approx(share), answer


@pytest.mark.parametrize(
    "change",
    [
        {"weights": {"mean": 2, "least": 0, "stands": -1}}, {"weights": {}}, {"knots": [[0, 2]]},
        {"knots": [[0.5, 0.5], [0.1, 0.6]]}, {"knots": [[0.1, 0.6], [0.5, 0.5]]}, {"knots": 7},
    ],
)  # fmt: skip
def test_a_broken_calibration_is_refused_with_the_way_out(
    tmp_path: Path, change: dict[str, object]
) -> None:
    (tmp_path / CALIBRATION_FILE).write_text(json.dumps(CURVE | change))
    with pytest.raises(ModelUnusable, match="--calibrate"):
        Prover(tmp_path)


def test_the_embedded_readers_curve_is_there_and_rises() -> None:
    calibration = Calibration.of_folder(checkpoint_path())
    assert calibration.not_found == ("not found",)
    whole = Stands(1.0, 1.0)
    shares = [calibration.confidence(0.0, -at, whole) or 0 for at in (5.0, 1.0, 0.1, 0.0)]
    assert shares == sorted(shares)
    assert shares[-1] > 0.8


def test_what_stands_nowhere_counts_for_nothing() -> None:
    index = DocumentIndex("port: 8443\n")
    for answer, share in (("8443", 1.0), ("PORT", 0.5), ("8444", 0.0), ("not found", 1.0)):
        assert stands(index, guard(index, answer, ""), "").stands == share


def test_an_answer_behind_the_questions_words_is_likelier_the_one_asked_for() -> None:
    index = DocumentIndex("port: 8443\n\nSome words between.\n\nspeed limit of the road: 30\n")

    def asked(answer: str, question: str) -> float:
        return stands(index, guard(index, answer, question), question).asked

    assert asked("8443", "What is the port?") > 0.8
    assert asked("8443", "What is the speed limit?") < 0.4
    assert asked("not found", "What is the port?") == 0.0
    assert asked("not found", "What is the password?") == 1.0
    assert asked("8444", "What is the port?") == 0.0


def test_the_command_line_says_each_state_in_words_beside_its_sign(tmp_path: Path) -> None:
    def shown(answer: str) -> str:
        proof = prove(Prover(tmp_path), "host: gw-1\nport: 8443\n", answer)
        full = Answer(
            text=proof.text,
            finish_reason=FinishReason.STOP,
            citations=proof.citations,
            literals=proof.literals,
            verified=proof.verified,
            found=proof.found,
        )
        return "".join(part if isinstance(part, str) else part[0] for part in proof_parts(full))

    assert shown("8443") == "✓ page 1"
    assert shown("PORT:  8443") == "≈ page 1, alike"
    assert shown("84443") == "✗ not in the document: 84443 (it has 8443)"
    assert shown("not found") == "the document does not say it"
    assert shown("no") == ""
    put_right = CheckedLiteral(
        text="8443", kind="number", status="corrected", start=0, end=4, read_as="84443"
    )
    answer = Answer(text="8443", finish_reason=FinishReason.STOP, literals=(put_right,))
    assert proof_parts(answer) == [("≈ corrected: 8443 (read as 84443)", "yellow")]
