"""Streams through the whole service: an answer of single bytes, read as it grows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from byte_level import write_byte_checkpoint
from waiting import PATIENCE_S, wait_until

from glyph_worker.job import JobStatus, Stage

DOCUMENT = "a lamp: 12 EUR\n" * 9


@pytest.fixture
def byte_fleet(tmp_path: Path, broker_url: str, cache_url: str, fleet_class: Any) -> Iterator[Any]:
    folder = write_byte_checkpoint(tmp_path / "bytes", thinks=True)
    fleet = fleet_class.on(tmp_path, broker_url, cache_url, folder)
    yield fleet
    fleet.stop()


def test_an_answer_of_single_bytes_is_streamed_as_it_is_stored(byte_fleet: Any) -> None:
    byte_fleet.start("render", wait=False)
    byte_fleet.start("answer")
    client = byte_fleet.client

    def ask(**options: Any) -> str:
        options |= {"temperature": 1.0, "seed": 7, "max_new_tokens": 400, "thinking": "off"}
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

    # A thought is a stage, has its own tokens, comes on request, and is never streamed.
    chosen = {"temperature": 1.0, "seed": 7, "thinking": "on"}
    long = client.submit(DOCUMENT, "think?", max_thinking_tokens=8_192, **chosen)
    wait_until(
        lambda: (
            (seen := client.status(long.id)).stage is Stage.THINKING
            and seen.progress.num_thinking_tokens > 0
        ),
        description="it thinks",
    )
    client.cancel(long.id)
    for asked in (True, False):
        job = client.submit(
            DOCUMENT,
            "and then?",
            max_thinking_tokens=60,
            include_thinking=asked,
            max_new_tokens=20,
            **chosen,
        )
        streamed = "".join(delta.text for delta in client.stream(job.id))
        answer = client.wait(job.id, timeout=120)
        assert streamed == answer.text
        assert 0 < answer.receipt.thinking_tokens <= 60
        assert 0 < answer.receipt.answer_tokens <= 20
        assert bool(answer.thinking) is asked
        assert client.status(job.id).progress.num_answer_tokens == answer.receipt.answer_tokens
