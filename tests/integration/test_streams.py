"""Streams through the whole service: an answer of single bytes, read as it grows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from byte_level import write_byte_checkpoint

from glyph_worker.job import JobStatus

DOCUMENT = "a lamp: 12 EUR\n" * 9


@pytest.fixture
def byte_fleet(tmp_path: Path, broker_url: str, cache_url: str, fleet_class: Any) -> Iterator[Any]:
    folder = write_byte_checkpoint(tmp_path / "bytes")
    fleet = fleet_class.on(tmp_path, broker_url, cache_url, folder)
    yield fleet
    fleet.stop()


@pytest.mark.timeout(400)
def test_an_answer_of_single_bytes_is_streamed_as_it_is_stored(byte_fleet: Any) -> None:
    byte_fleet.start("render", wait=False)
    byte_fleet.start("answer")
    client = byte_fleet.client

    def ask(**options: Any) -> str:
        options |= {"temperature": 1.0, "seed": 7, "max_new_tokens": 400}
        job = client.submit(DOCUMENT, "what is it?", **options)
        deltas = list(client.stream(job.id))
        answer = client.wait(job.id, timeout=120)
        assert "".join(delta.text for delta in deltas) == answer.text
        assert deltas[-1].status is JobStatus.SUCCEEDED
        assert "".join(d.text for d in client.stream(job.id)) == answer.text, "and read again"
        return str(answer.text)

    plain = ask()
    assert len(plain) > 40
    assert any(ord(character) > 127 for character in plain)
    stop = plain[20:24]  # at least four tokens, each a byte
    cut = ask(stop=[stop])
    assert plain.startswith(cut)
    assert stop not in cut
    assert cut == plain[: plain.index(stop)].rstrip()

    # What may still be put right comes in one piece, so that deltas join to the answer.
    job = client.submit(
        DOCUMENT, "what is it?", literals="correct", temperature=1.0, seed=7, max_new_tokens=400
    )
    deltas = [delta for delta in client.stream(job.id) if delta.text]
    answer = client.wait(job.id, timeout=120)
    assert [delta.text for delta in deltas] == [answer.text]
    assert answer.receipt.guard_ms > 0
