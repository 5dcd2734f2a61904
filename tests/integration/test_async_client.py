"""The client for asyncio on a real server: what waits holds no thread, and no connection each."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from glyph_worker.client import Client
from glyph_worker.codec import UnreadableEnvelope
from glyph_worker.errors import JobCancelled, StoreUnavailable, UnknownJob, WaitTimeout
from glyph_worker.job import Delta

NUM_STREAMS = 100


@pytest.fixture
def client(broker_url: str) -> Client:
    return Client.from_env(broker_url=broker_url)


def write(broker: redis.Redis, job_id: str, text: str) -> None:
    broker.xadd(f"glyph:stream:{job_id}", {"text": text, "attempt": "1"})
    broker.expire(f"glyph:stream:{job_id}", 60)


async def read(client: Client, job_id: str, **more: Any) -> list[Delta]:
    return [delta async for delta in client.aio.stream(job_id, **more)]


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the condition is not ours to signal
            await asyncio.sleep(0.01)


async def test_a_hundred_streams_hold_no_thread_and_one_connection(
    client: Client, broker_url: str
) -> None:
    # Given two threads for everybody, and a hundred jobs.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    jobs = client.submit_many("text", [f"q{n}?" for n in range(NUM_STREAMS)])
    num_connections = len(client._redis.client_list())
    num_threads = threading.active_count()
    # When all are streamed at once …
    streams = [asyncio.create_task(read(client, job.id)) for job in jobs]
    await until(lambda: client.aio._watcher.num_watching == NUM_STREAMS)
    # … then the application's own work in threads goes on,
    async with asyncio.timeout(5):
        assert await asyncio.to_thread(lambda: "done") == "done"
    assert threading.active_count() <= num_threads + 2
    # one connection serves them all (and one or two the threads),
    assert len(client._redis.client_list()) <= num_connections + 3
    # and each sees its text and its end.
    with redis.Redis.from_url(broker_url) as broker:
        for job in jobs:
            write(broker, job.id, f"of {job.id}")
    for job in jobs:
        client.cancel(job.id)
    async with asyncio.timeout(30):
        found = await asyncio.gather(*streams)
    assert [deltas[0].text for deltas in found] == [f"of {job.id}" for job in jobs]
    assert {deltas[-1].status for deltas in found} == {"cancelled"}
    # Nobody waits any more: the connection is closed.
    await until(lambda: client.aio._watcher._task is None)


async def test_a_stream_goes_on_where_it_broke_off(client: Client, broker_url: str) -> None:
    job = client.submit("text", "a?")
    with redis.Redis.from_url(broker_url) as broker:
        for number in range(450):  # more than one read
            write(broker, job.id, f"{number} ")
    first: list[Delta] = []
    async for delta in client.aio.stream(job.id):
        first.append(delta)
        if len(first) == 30:
            break
    client.cancel(job.id)
    rest = await read(client, job.id, after=first[-1].seq)
    assert "".join(d.text for d in first + rest) == "".join(f"{n} " for n in range(450))
    assert rest[-1].status == "cancelled"
    assert [d.seq for d in await read(client, job.id)] == [d.seq for d in first + rest]
    assert list(client.stream(job.id)) == first + rest


async def test_waits_end_with_the_job_its_loss_or_their_patience(
    client: Client, broker_url: str
) -> None:
    job, other, lost = client.submit_many("text", ["a?", "b?", "c?"])
    waits = [asyncio.create_task(client.aio.wait(one.id)) for one in (job, lost)]
    with pytest.raises(WaitTimeout, match=r"is queued after 0\.05 s"):
        await client.aio.wait(other.id, timeout=0.05)
    await until(lambda: client.aio._watcher.num_watching == 2)
    client.cancel(job.id)
    with redis.Redis.from_url(broker_url) as broker:
        broker.delete(f"glyph:job:{lost.id}")
    with pytest.raises(JobCancelled):
        await waits[0]
    with pytest.raises(UnknownJob):
        await waits[1]
    with pytest.raises(UnknownJob):
        await read(client, "no-such-job")


async def test_a_stream_that_is_none_of_ours_fails_alone(client: Client, broker_url: str) -> None:
    good, bad = client.submit_many("text", ["a?", "b?"])
    streams = [asyncio.create_task(read(client, job.id)) for job in (good, bad)]
    await until(lambda: client.aio._watcher.num_watching == 2)
    with redis.Redis.from_url(broker_url) as broker:
        broker.xadd(f"glyph:stream:{bad.id}", {"status": "quite done"})
        broker.expire(f"glyph:stream:{bad.id}", 60)
    with pytest.raises(UnreadableEnvelope):
        await streams[1]
    client.cancel(good.id)
    assert (await streams[0])[-1].status == "cancelled"


def test_each_event_loop_has_its_own_connection_and_leaves_none(client: Client) -> None:
    async def once() -> str:
        job = client.submit("text", "a?")
        stream = asyncio.create_task(read(client, job.id))
        await until(lambda: client.aio._watcher.num_watching == 1)
        client.cancel(job.id)
        return str((await stream)[-1].status)

    assert [asyncio.run(once()) for _ in range(3)] == ["cancelled"] * 3
    assert len(client.aio._watchers) == 1, "those of closed loops are forgotten"


async def test_a_server_that_goes_away_is_said_and_not_waited_for(own_redis: Any) -> None:
    client = Client.from_env(broker_url=own_redis.url())
    job = client.submit("text", "a?")
    stream = asyncio.create_task(read(client, job.id))
    await until(lambda: client.aio._watcher.num_watching == 1)
    own_redis.kill()
    with pytest.raises(StoreUnavailable):
        await stream
