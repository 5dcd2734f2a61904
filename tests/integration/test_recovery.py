"""What dies in between: workers killed with jobs in flight, the broker killed, orderly drains."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import redis
from waiting import PATIENCE_S, wait_until

from glyph_worker.job import JobStatus

pytestmark = pytest.mark.slow

# Workers start and answers are long, which a busy machine does slowly.
DOCUMENTS = [f"document {n}\nkey {n}: value {n * 31}\n" * 8 for n in range(4)]
NUM_JOBS = 20


def _submit(client: Any, number: int = NUM_JOBS, max_new_tokens: int = 200) -> list[str]:
    jobs = []
    for n in range(number):
        document = DOCUMENTS[n % len(DOCUMENTS)]
        jobs.append(client.submit(document, f"question {n}?", max_new_tokens=max_new_tokens).id)
    return jobs


def _running(client: Any, ids: list[str]) -> int:
    return sum(job.status is JobStatus.RUNNING for job in client.status_many(ids))


def _finished(client: Any, ids: list[str]) -> int:
    return sum(job.status.final for job in client.status_many(ids))


def _commits(broker_url: str, ids: list[str]) -> list[JobStatus]:
    with redis.Redis.from_url(broker_url) as client:
        return [JobStatus(client.hget(f"glyph:job:{i}", "status").decode()) for i in ids]


def test_a_killed_answer_workers_jobs_all_succeed_once_on_another(
    endless_fleet: Any, broker_url: str
) -> None:
    fleet = endless_fleet
    fleet.start("render", wait=False)
    victim = fleet.start("answer", wait=False, GLYPH_ENGINE_MAX_SLOTS="16")
    fleet.start("answer", wait=False, GLYPH_ENGINE_MAX_SLOTS="16")
    for process in fleet.processes:
        fleet.wait_ready(process)
    client = fleet.client
    ids = _submit(client)
    with redis.Redis.from_url(broker_url) as records:

        def held_by_the_victim() -> bool:
            owners = [records.hget(f"glyph:job:{i}", "owner") or b"" for i in ids]
            return any(f":{victim.pid}:".encode() in owner for owner in owners)

        wait_until(held_by_the_victim, description="the victim holds a job")
    fleet.kill(victim)
    answers = [client.wait(i, timeout=PATIENCE_S) for i in ids]
    assert len(answers) == NUM_JOBS
    attempts = [client.status(i).attempt for i in ids]
    assert set(attempts) <= {1, 2}
    assert 2 in attempts, "the victim held nothing: the test proved nothing"
    with redis.Redis.from_url(broker_url) as records:
        assert {records.hget(f"glyph:job:{i}", "num_commits") for i in ids} == {b"1"}


def test_a_job_whose_render_child_hangs_is_rendered_by_another(fleet: Any, broker_url: str) -> None:
    """Its parent lives and keeps the message's lease, so the message alone would never come."""
    for kind in ("render", "render", "answer"):
        fleet.start(kind, wait=False)
    for process in fleet.processes:
        fleet.wait_ready(process)
    client = fleet.client
    with redis.Redis.from_url(broker_url) as records:

        def holder(job_id: str) -> int:
            owner = records.hget(f"glyph:job:{job_id}", "owner")
            return int(owner.rsplit(b":", 2)[1]) if owner else 0

        def caught_at_work() -> tuple[Any, int] | None:
            """A job whose child was stopped before it had handed the job over."""
            job = client.submit("word " * 30_000, "What?", max_new_tokens=4)
            child = wait_until(lambda: holder(job.id), description="a child renders")
            os.kill(child, signal.SIGSTOP)
            if records.hget(f"glyph:job:{job.id}", "handed_over") != b"1":
                return job, child
            os.kill(child, signal.SIGCONT)
            return None

        job, hung = wait_until(caught_at_work, description="a child is stopped in time")
        try:
            client.wait(job.id, timeout=PATIENCE_S)
        finally:
            os.kill(hung, signal.SIGCONT)
        assert client.status(job.id).attempt >= 2
        assert records.hget(f"glyph:job:{job.id}", "num_commits") == b"1"


def test_a_killed_render_workers_jobs_are_rendered_by_another(fleet: Any) -> None:
    victim = fleet.start("render")
    client = fleet.client
    texts = [f"{n} " + "word " * 400_000 for n in range(4)]
    ids = [client.submit(text, "What?", overflow="refuse").id for text in texts]
    wait_until(lambda: _running(client, ids) >= 1, description="the victim renders")
    fleet.kill(victim)
    fleet.start("render")
    wait_until(
        lambda: (
            all(job.error or job.progress.num_pages for job in client.status_many(ids))
            and _running(client, ids) == 0
        ),
        description="the other worker has seen every job",
    )
    assert all(job.attempt <= 2 for job in client.status_many(ids))


def test_a_draining_worker_hands_back_what_it_cannot_finish(endless_fleet: Any) -> None:
    fleet = endless_fleet
    fleet.start("render", wait=False)
    first = fleet.start("answer", GLYPH_QUEUE_DRAIN_S="1", GLYPH_ENGINE_MAX_SLOTS="4")
    client = fleet.client
    ids = _submit(client, 6, max_new_tokens=1_000)
    wait_until(lambda: _running(client, ids) >= 4, description="four jobs run")
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=PATIENCE_S) == 0
    assert _running(client, ids) == 0, "a drained worker leaves nothing running"
    fleet.start("answer")
    answers = [client.wait(i, timeout=PATIENCE_S) for i in ids]
    assert len(answers) == 6
    assert {client.status(i).attempt for i in ids} <= {1, 2}


def test_a_broker_killed_in_the_middle_loses_no_job(
    tmp_path: Any, own_redis: Any, tiny_checkpoint: Any, make_fleet: Any
) -> None:
    fleet = make_fleet(own_redis.url(0), own_redis.url(1))
    fleet.start("render", wait=False)
    fleet.start("answer")
    client = fleet.client
    with redis.Redis.from_url(own_redis.url(0)) as server:
        # Synced every second, as it is by default, the last second could be lost.
        server.config_set("appendfsync", "always")
    ids = _submit(client, 12, max_new_tokens=100)
    wait_until(lambda: _finished(client, ids) >= 2, description="some jobs are done")
    own_redis.restart()
    wait_until(
        lambda: fleet.revive() or _finished(client, ids) == len(ids),
        description="every job is final after the broker's restart",
    )
    assert set(_commits(own_redis.url(0), ids)) == {JobStatus.SUCCEEDED}


def test_a_dead_cache_server_costs_time_and_no_job(
    own_redis: Any, broker_url: str, make_fleet: Any
) -> None:
    fleet = make_fleet(broker_url, own_redis.url(0))
    fleet.start("render", wait=False)
    fleet.start("answer")
    client = fleet.client
    before = client.wait(
        client.submit(DOCUMENTS[0], "same?", max_new_tokens=64).id, timeout=PATIENCE_S
    )
    own_redis.kill()
    ids = [client.submit(document, "same?", max_new_tokens=64).id for document in DOCUMENTS]
    answers = [client.wait(i, timeout=PATIENCE_S) for i in ids]
    assert answers[0].text == before.text
    own_redis.start()


def test_a_worker_told_to_stop_ends_although_the_broker_is_away(
    own_redis: Any, make_fleet: Any
) -> None:
    fleet = make_fleet(own_redis.url(0), own_redis.url(1))
    fleet.start("render", wait=False)
    worker = fleet.start("answer", GLYPH_QUEUE_DRAIN_S="1")
    ids = _submit(fleet.client, 2, max_new_tokens=1_000)
    wait_until(lambda: _running(fleet.client, ids) == 2, description="both run")
    own_redis.kill()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=PATIENCE_S) in (0, 75)
    own_redis.start()
    fleet.start("answer")
    assert len([fleet.client.wait(i, timeout=PATIENCE_S) for i in ids]) == 2


@pytest.fixture
def make_fleet(tmp_path: Any, tiny_checkpoint: Any, fleet_class: Any) -> Any:
    made = []

    def make(broker_url: str, cache_url: str) -> Any:
        made.append(fleet_class.on(tmp_path, broker_url, cache_url, tiny_checkpoint))
        return made[-1]

    yield make
    for fleet in made:
        fleet.stop()
