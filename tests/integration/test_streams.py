"""Streams through the whole service: an answer of single bytes, read as it grows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from byte_level import write_byte_checkpoint
from waiting import PATIENCE_S

from glyph_worker.job import JobStatus

DOCUMENT = "a lamp: 12 EUR\n" * 9


@pytest.fixture
def byte_fleet(tmp_path: Path, broker_url: str, cache_url: str, fleet_class: Any) -> Iterator[Any]:
    folder = write_byte_checkpoint(tmp_path / "bytes")
    fleet = fleet_class.on(tmp_path, broker_url, cache_url, folder)
    yield fleet
    fleet.stop()


def test_an_answer_of_single_bytes_is_streamed_as_it_is_stored(byte_fleet: Any) -> None:
    byte_fleet.start("render", wait=False)
    byte_fleet.start("answer")
    client = byte_fleet.client

    def ask(**options: Any) -> str:
        options |= {"temperature": 1.0, "seed": 7, "max_new_tokens": 400}
        job = client.submit(DOCUMENT, "what is it?", **options)
        deltas = list(client.stream(job.id))
        answer = client.wait(job.id, timeout=PATIENCE_S)
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
