"""Other servers behind one queue: each has an answer worker in front, and one may die."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doubles.openai_server import OpenAiServer
from waiting import wait_until

from glyph_worker.backends.own import OwnBackend
from glyph_worker.errors import InvalidOption
from glyph_worker.settings import Settings

LINES = "\n".join(f"Line {number} says that the total is {number * 7}." for number in range(12))
NUM_JOBS = 20


@pytest.fixture
def servers(tiny_checkpoint: Path) -> Iterator[list[OpenAiServer]]:
    settings = Settings.load(
        environ={}, model=str(tiny_checkpoint), device="cpu", off="self_test",
        engine={"kv_bytes": 64 << 20},
    )  # fmt: skip
    own = OwnBackend(settings, None, on_fatal=lambda exc: None)
    servers = [OpenAiServer(own), OpenAiServer(own)]
    yield servers
    for server in servers:
        if server.up:
            server.close()
    own.stop()


def test_when_one_of_two_servers_dies_all_jobs_succeed_once_on_the_other(
    fleet: Any, servers: list[OpenAiServer]
) -> None:
    fleet.environ["GLYPH_BACKEND"] = "remote"
    fleet.start("render")
    workers = [
        fleet.start("answer", GLYPH_REMOTE_URL=one.url, GLYPH_ENGINE_MAX_SLOTS="8")
        for one in servers
    ]
    infos = [info for info in fleet._workers.living() if info.kind == "answer"]
    assert {info.engine for info in infos} == {"remote"}

    with pytest.raises(InvalidOption, match="backend remote cannot follow max_thinking_tokens"):
        fleet.client.submit(LINES, "how much?", max_thinking_tokens=5)

    jobs = fleet.client.submit_many(
        LINES, [f"what is the total of line {number}?" for number in range(NUM_JOBS)],
        max_new_tokens=200,
    )  # fmt: skip
    dying, other = servers
    wait_until(lambda: dying.bodies, description="the first server is at work")
    dying.die()

    answers = [fleet.client.wait(job.id, timeout=300) for job in jobs]
    assert all(answer.text for answer in answers)
    receipt = answers[0].receipt
    assert (receipt.device, receipt.model) == ("remote", "served-glyph")
    assert receipt.pages_encoded + receipt.pages_reused >= 1
    assert other.num_answered >= 1
    # No answer was taken twice: as many were finished by a server as there are jobs, but for those
    # that it finished and died before it could say so.
    assert other.num_answered + dying.num_answered >= NUM_JOBS
    wait_until(lambda: workers[0].poll() is not None, description="its worker has ended")
