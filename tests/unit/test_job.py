"""Options, transitions, and what travels of an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glyph_worker import codec
from glyph_worker.errors import InvalidOption
from glyph_worker.job import (
    FINAL,
    TRANSITIONS,
    Answer,
    FinishReason,
    JobStatus,
    Receipt,
    with_total,
)
from glyph_worker.job_options import JobOptions
from glyph_worker.proof import Box, CheckedLiteral, Citation

options = st.builds(
    JobOptions,
    max_new_tokens=st.integers(1, 10_000),
    temperature=st.floats(0, 5),
    top_p=st.floats(0.01, 1),
    top_k=st.integers(0, 1000),
    seed=st.integers(0, 2**63 - 1),
    stop=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20),
        max_size=8,
    ).map(tuple),
)


@given(options)
def test_options_survive_the_wire(chosen: JobOptions) -> None:
    packed = codec.pack("options", chosen.to_fields())
    assert JobOptions.of(codec.unpack("options", packed)) == chosen


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_new_tokens", 0),
        ("max_new_tokens", 1.5),
        ("max_new_tokens", True),
        ("max_new_tokens", None),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_p", 0),
        ("top_k", -1),
        ("seed", 2**63),
        ("stop", ["x"] * 9),
        ("stop", [""]),
        ("style", ""),
    ],
)
def test_a_bad_option_is_named_with_its_rule(name: str, value: object) -> None:
    with pytest.raises(InvalidOption, match=r"must be|wrong type"):
        JobOptions.of({name: value})


def test_an_unknown_option_lists_the_known_ones() -> None:
    with pytest.raises(InvalidOption, match=r"'max_tokens'.*max_new_tokens"):
        JobOptions.of({"max_tokens": 3})


def test_one_stop_string_is_a_list_of_one() -> None:
    assert JobOptions.of({"stop": "\n"}).stop == ("\n",)


def test_final_statuses_lead_nowhere_and_all_others_can_end() -> None:
    assert set(TRANSITIONS) == set(JobStatus)
    for status, following in TRANSITIONS.items():
        assert status.final == (not following)
        assert status in FINAL or following & FINAL


def test_a_receipt_from_a_newer_worker_loses_only_what_we_do_not_know() -> None:
    answer = Answer(text="x", finish_reason=FinishReason.STOP, receipt=Receipt(visual_tokens=4))
    fields = answer.to_fields()
    fields["receipt"]["entry_of_tomorrow"] = 1
    assert Answer.from_fields(fields) == answer


def test_an_answer_of_an_earlier_worker_has_no_probabilities() -> None:
    answer = Answer(text="x", finish_reason=FinishReason.STOP, mean_log_prob=-0.1, min_log_prob=-2)
    fields = answer.to_fields()
    assert Answer.from_fields(fields) == answer
    del fields["mean_log_prob"], fields["min_log_prob"]
    assert Answer.from_fields(fields).mean_log_prob is None


@given(st.lists(st.floats(0, 1e7), min_size=5, max_size=5), st.floats(-1e6, 1e8))
def test_a_receipts_parts_are_its_total(spent: list[float], total_ms: float) -> None:
    """Also where clocks of several machines make the parts longer than the whole."""
    parts = ("queue_ms", "render_ms", "encode_ms", "prefill_ms", "decode_ms")
    known = dict(zip(parts, (round(one, 2) for one in spent), strict=True))
    receipt = with_total(Receipt(**known), total_ms)
    assert receipt.waited_ms >= 0
    assert sum(known.values()) + receipt.waited_ms == pytest.approx(receipt.total_ms, abs=0.02)
    assert receipt.total_ms >= total_ms - 0.01


PROVED = Answer(
    text="8443",
    finish_reason=FinishReason.STOP,
    citations=(
        Citation(
            start=6, end=10, text="8443", page=1, kind="exact", score=1.0,
            boxes=(Box(page=1, left=42.0, top=0.0, right=70.0, bottom=14.0),),
            answer_start=0, answer_end=4,
        ),
    ),
    literals=(
        CheckedLiteral(text="8443", kind="number", status="verified", start=0, end=4),
    ),
    verified=True,
    confidence=0.97,
    found=True,
)  # fmt: skip


def test_an_answers_proof_survives_the_wire() -> None:
    packed = codec.pack("answer", PROVED.to_fields())
    assert Answer.from_fields(codec.unpack("answer", packed)) == PROVED


def test_a_proof_of_a_newer_worker_loses_only_what_we_do_not_know() -> None:
    fields = PROVED.to_fields()
    fields["citations"] = [dict(fields["citations"][0], entry_of_tomorrow=1)]
    fields["literals"] = [dict(fields["literals"][0], entry_of_tomorrow=1)]
    fields["citations"][0]["boxes"] = [dict(fields["citations"][0]["boxes"][0], angle=3)]
    assert Answer.from_fields(fields) == PROVED


def test_an_answer_of_an_older_worker_has_no_proof() -> None:
    old = {"text": "8443", "finish_reason": "stop", "receipt": {"visual_tokens": 4}}
    answer = Answer.from_fields(old)
    assert (answer.citations, answer.literals, answer.verified) == ((), (), None)
    assert (answer.confidence, answer.found, answer.receipt.guard_ms) == (None, None, 0.0)


def test_options_that_say_nothing_new_are_those_an_older_worker_knows() -> None:
    known = {
        "max_new_tokens", "temperature", "top_p", "top_k", "seed", "stop", "style", "min_quality",
    }  # fmt: skip
    assert set(JobOptions().to_fields()) == known
    assert JobOptions.of(JobOptions(literals="off").to_fields()).literals == "off"
