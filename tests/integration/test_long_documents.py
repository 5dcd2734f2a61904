"""Documents beyond the window, through real workers and the embedded reader."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from waiting import PATIENCE_S, wait_until

from glyph_worker.errors import JobCancelled, JobFailed
from glyph_worker.job import JobStatus
from glyph_worker.store.connection import connect

QUESTION = "What is the vault code of Zephyr Station?"
FACT = "vault code of Zephyr Station: 7741-QX\n"


def filler(seed: str, num_lines: int) -> list[str]:
    rng = Random(seed)
    names = ["pump", "valve", "north", "depot", "crane", "meter", "ledger", "gate", "tank", "relay"]
    kinds = "status", "serial", "owner", "weight", "color"
    return [
        f"{rng.choice(kinds)} of {rng.choice(names)} {rng.randint(10, 99)}: "
        f"{rng.choice(names)} {rng.randint(1000, 9999)}\n"
        for _ in range(num_lines)
    ]


def planted(seed: str, share: float, num_lines: int = 420) -> str:
    """Some twenty pages with the fact at a share of their length."""
    lines = filler(seed, num_lines)
    lines.insert(int(share * num_lines), FACT)
    return "".join(lines)


@pytest.fixture(scope="module")
def long_fleet(nano_fleet: Any) -> Any:
    """The embedded reader with a window of some ten pages."""
    nano_fleet.environ["GLYPH_ENGINE_WINDOW_TOKENS"] = "2500"
    nano_fleet.start("render", wait=False)
    nano_fleet.start("answer", wait=False)
    for process in nano_fleet.processes:
        nano_fleet.wait_ready(process)
    return nano_fleet


def ask(fleet: Any, document: Any, **options: Any) -> Any:
    job = fleet.client.submit(document, QUESTION, max_new_tokens=24, **options)
    return fleet.client.wait(job.id, timeout=PATIENCE_S)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_fact_anywhere_in_a_document_beyond_the_window_is_found_and_cited(
    long_fleet: Any, share: float
) -> None:
    text = planted(f"anywhere {share}", share)
    answer = ask(long_fleet, text)
    assert answer.text == "7741-QX"
    [citation] = answer.citations
    assert text[citation.start : citation.end] == citation.text == "7741-QX"
    assert citation.start == text.index("7741-QX")
    assert citation.page is not None
    assert citation.boxes
    receipt = answer.receipt
    assert receipt.overflow == "segments"
    assert len(receipt.segments) >= 4
    assert {one.status for one in receipt.segments} == {"succeeded"}
    assert (receipt.segments[0].start, receipt.segments[-1].end) == (0, len(text))
    assert receipt.pages_encoded + receipt.pages_reused == sum(s.pages for s in receipt.segments)


def test_a_second_question_reads_no_page_again_and_the_same_one_asks_nothing(
    long_fleet: Any,
) -> None:
    text = planted("twice", 0.3)
    first = ask(long_fleet, text).receipt
    again = ask(long_fleet, text)
    assert again.text == "7741-QX"
    assert again.receipt.segments_reused == len(first.segments)
    assert again.receipt.pages_encoded == 0
    other = long_fleet.client.submit(text, "What is the code of the vault?", max_new_tokens=24)
    receipt = long_fleet.client.wait(other.id, timeout=PATIENCE_S).receipt
    assert (receipt.pages_encoded, receipt.segments_reused) == (0, 0)


def test_an_edit_reads_again_the_segments_it_touches(long_fleet: Any) -> None:
    lines = filler("edited", 900)
    lines[700] = FACT
    before = ask(long_fleet, "".join(lines)).receipt
    lines.insert(450, "one line more: somebody wrote it later\n")
    after = ask(long_fleet, "".join(lines))
    assert after.text == "7741-QX"
    assert after.receipt.segments_reused >= len(before.segments) // 2
    assert after.receipt.pages_encoded < before.pages_encoded // 2


def test_a_selection_answers_a_lookup_from_few_pages(long_fleet: Any) -> None:
    text = planted("select", 0.7)
    answer = ask(long_fleet, text, overflow="select")
    assert answer.text == "7741-QX"
    assert answer.citations[0].start == text.index("7741-QX")
    receipt = answer.receipt
    assert receipt.overflow == "select"
    assert len(receipt.segments) == 1
    assert receipt.segments[0].pages <= 5


def test_refuse_refuses_with_the_numbers(long_fleet: Any) -> None:
    with pytest.raises(JobFailed, match="visual tokens") as caught:
        ask(long_fleet, planted("refuse", 0.5), overflow="refuse")
    assert caught.value.code == "document_too_large"


def test_a_cancel_ends_the_job_and_all_of_its_parts(long_fleet: Any) -> None:
    client = long_fleet.client
    job = client.submit(planted("cancel", 0.5, 4_000), QUESTION, max_new_tokens=24)
    wait_until(
        lambda: client.status(job.id).progress.num_segments_done > 0, description="a part has ended"
    )
    seen = client.status(job.id)
    assert (seen.status, seen.stage) == (JobStatus.RUNNING, "reading")
    assert seen.progress.num_segments > seen.progress.num_segments_done
    client.cancel(job.id)
    with pytest.raises(JobCancelled):
        client.wait(job.id, timeout=PATIENCE_S)
    with connect(long_fleet.settings.broker_url.get_secret_value()) as redis:
        wait_until(lambda: redis.zcard("glyph:active") == 0, description="every part has ended")
        parts = redis.keys(f"glyph:job:{job.id}.*")
        statuses = [redis.hget(part, "status") for part in parts]
    assert b"cancelled" in statuses
    assert set(statuses) <= {b"cancelled", b"succeeded"}
