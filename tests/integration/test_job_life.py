"""The promise to producers, kept by real workers: fences, fairness, streams, second chances."""

from __future__ import annotations

import contextlib
import os
import signal
from itertools import islice
from typing import Any

import pytest
import redis
from waiting import wait_until

from glyph_worker.client import Client
from glyph_worker.errors import (
    Conflict,
    InvalidOption,
    JobCancelled,
    JobFailed,
    UnknownJob,
)
from glyph_worker.job import JobStatus

# Some of these wait for several workers to start, which a busy machine does slowly.
pytestmark = pytest.mark.timeout(480)

DOCUMENT = "shelf 12: B77\norder 9: two lamps\n" * 6
LONG = 400


@pytest.fixture(scope="module")
def crew(module_fleet: Any) -> Any:
    module_fleet.start("render", wait=False)
    for _ in range(2):
        module_fleet.start("answer", wait=False)
    return module_fleet


@pytest.fixture
def service(crew: Any) -> Any:
    """All of the crew serves, whatever the test before has done to it."""
    _all_serve(crew)
    return crew


def _all_serve(crew: Any) -> None:
    crew.revive()
    for process in crew.processes:
        crew.wait_ready(process)


@pytest.fixture
def records(service: Any) -> Any:
    url = service.settings.broker_url.get_secret_value()
    with redis.Redis.from_url(url, decode_responses=False) as client:
        yield client


def _field(records: Any, job_id: str, name: str) -> str:
    return (records.hget(f"glyph:job:{job_id}", name) or b"").decode()


def _holder(service: Any, records: Any, job_id: str) -> Any:
    """The answer worker that has let the job into its engine, or None."""
    found = records.hmget(f"glyph:job:{job_id}", "status", "admitted", "stage", "owner")
    status, admitted, stage, owner = ((raw or b"").decode() for raw in found)
    if status != "running" or admitted != "1" or stage == "rendering":
        return None
    pid = int(owner.split(":")[-2])
    return next((p for p in service.processes if p.pid == pid and p.poll() is None), None)


def _events(records: Any, job_id: str) -> list[str]:
    found = records.xrange("glyph:events")
    return [f[b"event"].decode() for _, f in found if f[b"id"] == job_id.encode()]


def test_a_poisonous_job_dies_alone_and_its_seven_mates_succeed(service: Any, records: Any) -> None:
    client = service.client
    poison = client.submit(DOCUMENT, "poison?", max_new_tokens=1_000).id
    batch_mates = [client.submit(DOCUMENT, f"mate {n}?", max_new_tokens=LONG).id for n in range(7)]

    def lived_through() -> bool:
        holder = _holder(service, records, poison)
        if holder is not None:
            service.kill(holder)
        service.revive()
        return bool(client.status(poison).status.final)

    wait_until(lived_through, description="the poisonous job is filed as dead", timeout_s=400)
    with pytest.raises(JobFailed) as caught:
        client.result(poison)
    assert caught.value.code == "poisonous"
    assert poison.encode() in records.zrange("glyph:dead", 0, -1)
    for job_id in batch_mates:
        client.wait(job_id, timeout=200)
    assert {client.status(job_id).status for job_id in batch_mates} == {JobStatus.SUCCEEDED}


def test_a_paused_worker_that_wakes_cannot_commit(service: Any, records: Any) -> None:
    client = service.client
    job_id = client.submit(DOCUMENT, "who answers?", max_new_tokens=LONG).id
    zombie = wait_until(lambda: _holder(service, records, job_id), description="it runs")
    os.kill(zombie.pid, signal.SIGSTOP)
    try:
        client.wait(job_id, timeout=120)
        done = client.status(job_id)
        text = client.result(job_id).text
    finally:
        os.kill(zombie.pid, signal.SIGCONT)
    assert done.attempt == 2
    before = service.logs().count('"job.fenced"')
    wait_until(
        lambda: service.logs().count('"job.fenced"') > before,
        description="the zombie has seen that it is fenced off",
    )
    assert client.status(job_id) == done
    assert client.result(job_id).text == text
    assert _field(records, job_id, "num_commits") == "1"
    assert _events(records, job_id).count("succeeded") == 1


def test_a_loud_tenant_delays_a_quiet_one_by_a_few_jobs_only(service: Any) -> None:
    loud = Client(service.settings, tenant="loud")
    quiet = Client(service.settings, tenant="quiet")
    questions = [f"loud {n}?" for n in range(150)]
    ids = [job.id for job in loud.submit_many(DOCUMENT, questions, max_new_tokens=40)]
    wait_until(
        lambda: sum(job.status.final for job in loud.status_many(ids)) >= 5,
        description="the loud tenant's jobs flow",
    )
    mine = quiet.submit(DOCUMENT, "quiet?", max_new_tokens=40)
    quiet.wait(mine.id, timeout=120)
    done = quiet.status(mine.id)
    before_me = [
        job
        for job in loud.status_many(ids)
        if job.started_at is not None and mine.created_at < job.started_at < done.started_at
    ]
    # What had its turn already: messages on the queues, and one that each render process took and
    # has not begun. Then one turn of the loud tenant's: a quarter of a device second, three jobs.
    window = service.settings.queue.dispatch_window
    assert len(before_me) <= window + (os.cpu_count() or 1) + 3
    for job_id in ids:
        with contextlib.suppress(Exception):
            loud.cancel(job_id)
    wait_until(
        lambda: all(job.status.final for job in loud.status_many(ids)),
        description="the loud tenant's jobs are gone",
    )


def test_a_stream_is_the_answer_and_goes_on_where_it_was_left(service: Any) -> None:
    client = service.client
    job = client.submit(DOCUMENT, "tell me all?", max_new_tokens=LONG)
    first = list(islice(client.stream(job.id), 3))
    assert all(delta.status is None for delta in first), "it grew while it was read"
    rest = list(client.stream(job.id, after=first[-1].seq))
    answer = client.wait(job.id, timeout=120)
    assert "".join(delta.text for delta in first + rest) == answer.text
    assert [delta.status for delta in first + rest][-1] is JobStatus.SUCCEEDED
    seqs = [tuple(map(int, delta.seq.split("-"))) for delta in first + rest]
    assert seqs == sorted(set(seqs))
    again = list(client.stream(job.id))
    assert "".join(delta.text for delta in again) == answer.text


async def test_a_stream_through_asyncio_is_the_same(service: Any) -> None:
    aio = service.client.aio
    job = await aio.submit(DOCUMENT, "and again?", max_new_tokens=120)
    deltas = [delta async for delta in aio.stream(job.id)]
    answer = await aio.wait(job.id, timeout=120)
    assert "".join(delta.text for delta in deltas) == answer.text
    assert deltas[-1].status is JobStatus.SUCCEEDED


def test_the_same_idempotency_key_is_one_job_and_one_answer(service: Any, records: Any) -> None:
    client = service.client
    terms = {"idempotency_key": "order-9", "max_new_tokens": 8}
    first = client.submit(DOCUMENT, "once?", **terms)
    second = client.submit(DOCUMENT, "once?", **terms)
    client.wait(first.id, timeout=120)
    third = client.submit(DOCUMENT, "once?", **terms)
    assert first.id == second.id == third.id
    assert third.status is JobStatus.SUCCEEDED
    assert _events(records, first.id).count("queued") == 1
    with pytest.raises(Conflict):
        client.submit(DOCUMENT, "something else?", **terms)


def test_a_cancel_while_no_worker_lives_is_kept(service: Any, records: Any) -> None:
    client = service.client
    running = client.submit(DOCUMENT, "running?", max_new_tokens=1_000).id
    wait_until(lambda: _holder(service, records, running), description="it runs")
    for process in service.processes:
        service.kill(process)
    waiting = client.submit(DOCUMENT, "waiting?").id
    other = client.submit(DOCUMENT, "other?", max_new_tokens=4).id
    assert client.cancel(waiting).status is JobStatus.CANCELLED
    client.cancel(running)
    _all_serve(service)
    client.wait(other, timeout=200)
    wait_until(
        lambda: client.status(running).status.final, description="the running one has ended too"
    )
    for job_id in (running, waiting):
        with pytest.raises(JobCancelled):
            client.result(job_id)
    assert client.status(waiting).attempt == 0
    assert _field(records, running, "num_commits") == "1"


def test_a_deadline_ends_a_running_job(service: Any, records: Any) -> None:
    records.delete("glyph:ratios")  # without estimates nothing is refused at submit
    client = service.client
    job = client.submit(DOCUMENT, "in time?", max_new_tokens=1_000, deadline_s=0.3)
    wait_until(lambda: client.status(job.id).status.final, description="the deadline ends it")
    done = client.status(job.id)
    assert done.error is not None
    assert done.error["code"] == "deadline_passed"
    assert done.finished_at - done.created_at < 15


def test_a_job_taken_back_can_be_sent_again_by_hand(service: Any) -> None:
    client = service.client
    job = client.submit(DOCUMENT, "again?", max_new_tokens=1_000)
    client.cancel(job.id)
    wait_until(lambda: client.status(job.id).status.final, description="it is cancelled")
    fresh = client.retry(job.id)
    assert fresh.id != job.id
    assert client.wait(fresh.id, timeout=120).text
    assert client.status(job.id).status is JobStatus.CANCELLED
    with pytest.raises(InvalidOption, match="only failed or cancelled"):
        client.retry(fresh.id)


def test_tenants_do_not_see_each_others_jobs(service: Any) -> None:
    mine = Client(service.settings, tenant="mine")
    other = Client(service.settings, tenant="other")
    job = mine.submit(DOCUMENT, "secret?", max_new_tokens=8)
    mine.wait(job.id, timeout=120)
    for look in (
        other.status,
        other.result,
        other.cancel,
        other.retry,
        lambda job_id: next(other.stream(job_id)),
        lambda job_id: other.wait(job_id, timeout=0),
    ):
        with pytest.raises(UnknownJob):
            look(job.id)
    assert other.status_many([job.id]) == [None]


@pytest.mark.parametrize("queue", ["glyph.render", "glyph.answer"])
def test_garbage_in_a_queue_harms_neither_workers_nor_jobs(
    service: Any, records: Any, queue: str
) -> None:
    pids = sorted(process.pid for process in service.processes)
    for garbage in (b"\xff\x00garbage", b"{", b'{"body": 1}', b"null"):
        records.rpush(queue, garbage)
    answer = service.client.wait(
        service.client.submit(DOCUMENT, f"still there, {queue}?", max_new_tokens=4).id, timeout=60
    )
    assert answer.text is not None
    wait_until(lambda: records.llen(queue) == 0, description="the garbage is gone")
    assert all(process.poll() is None for process in service.processes)
    assert sorted(process.pid for process in service.processes) == pids
