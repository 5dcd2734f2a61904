"""One database, several users of it: two key prefixes, another application, the version before."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from starlette.testclient import TestClient
from waiting import PATIENCE_S, wait_until

from glyph_worker.client import Client
from glyph_worker.gateway.app import create_app
from glyph_worker.queue.app import make_app
from glyph_worker.queue.messages import held_messages, num_waiting
from glyph_worker.queue.names import ANSWER_QUEUE, ANSWER_TASK, RENDER_QUEUE, RENDER_TASK
from glyph_worker.queue.takeover import Takeover
from glyph_worker.settings import Settings
from glyph_worker.store.connection import connect
from glyph_worker.store.jobs import JobStore
from glyph_worker.store.keys import Keys
from glyph_worker.worker.reconcile import Reconciler

TEXT = "a lamp: 12 EUR"


def _settings(url: str, prefix: str) -> Settings:
    return Settings.load(
        environ={"GLYPH_BROKER_URL": url, "GLYPH_KEY_PREFIX": prefix, "GLYPH_QUEUE_LEASE_S": "3"}
    )


def _drain(connection: Any, seconds: float = 0.2) -> None:
    with contextlib.suppress(TimeoutError):
        connection.drain_events(timeout=seconds)


def _consumer(app: Any, connection: Any, take: Any, queue: str = RENDER_QUEUE) -> Any:
    return connection.Consumer([app.amqp.queues[queue]], on_message=take, accept=["msgpack"])


def test_two_prefixes_on_one_database_share_no_message(broker_url: str) -> None:
    ids: dict[str, set[str]] = {}
    for prefix in ("one", "two"):
        client = Client(_settings(broker_url, prefix))
        ids[prefix] = {client.submit(f"{prefix} {n}", "why?").id for n in range(8)}
    for prefix in ("two", "one"):
        app = make_app(_settings(broker_url, prefix))
        taken: set[str] = set()

        def take(message: Any, taken: set[str] = taken) -> None:
            taken.add(message.headers["id"])
            message.ack()

        with app.connection_for_read() as connection, _consumer(app, connection, take):
            wait_until(
                lambda connection=connection, taken=taken: _drain(connection) or len(taken) >= 8,
                description=f"the messages of {prefix} arrive",
            )
            _drain(connection)
        assert taken == ids[prefix]
    with redis.Redis.from_url(broker_url) as client:
        names = {key.decode() for key in client.scan_iter()}
    assert all(name.startswith(("one:", "two:")) for name in names), names


def test_nothing_of_another_application_is_given_out_again(broker_url: str) -> None:
    """Its lease is an hour, ours three seconds: to our workers it would look long dead."""
    theirs = Celery("theirs", broker=broker_url, set_as_current=False)
    theirs.conf.update(task_acks_late=True, task_create_missing_queues=True)
    theirs.send_task("slow", queue="theirs", task_id="t-1")
    held: list[Any] = []
    with theirs.connection_for_read() as connection, redis.Redis.from_url(broker_url) as client:
        queue = theirs.amqp.queues["theirs"]
        with connection.Consumer([queue], on_message=held.append, accept=["json"]) as consumer:
            wait_until(lambda: _drain(connection) or held, description="they take their message")
            (tag,) = client.hkeys("unacked")
            # As if they had taken it long ago.
            client.zadd("unacked_index", {tag: time.time() - 600})
            ours = make_app(_settings(broker_url, "glyph"))
            with (
                ours.connection_for_read() as of_ours,
                _consumer(ours, of_ours, lambda message: None),
            ):
                for _ in range(4):
                    _drain(of_ours, 0.5)
            keys, store = Keys("glyph"), _store(broker_url, "glyph")
            for _ in range(3):
                Reconciler(store, connect(broker_url), keys, lease_s=3).poll("me")
            assert client.hkeys("unacked") == [tag]
            assert client.llen("theirs") == 0
            held[0].ack()
            assert client.hlen("unacked") == 0
            consumer.channel.do_restore = False


def _store(url: str, prefix: str) -> JobStore:
    return JobStore(connect(url), Keys(prefix), ttl_s=60, lease_s=3)


def _as_before(client: redis.Redis, prefix: str) -> None:
    """Put a prefix's messages where version 0.1 has them."""
    for queue in (RENDER_QUEUE, ANSWER_QUEUE):
        while raw := client.rpop(f"{prefix}:{queue}"):
            client.lpush(queue, raw)


def test_jobs_that_wait_under_the_old_names_are_taken_over_in_their_order(broker_url: str) -> None:
    ours = Client(_settings(broker_url, "glyph"))
    ids = [ours.submit(f"{TEXT} {n}", "why?", max_new_tokens=64).id for n in range(4)]
    others = Client(_settings(broker_url, "other")).submit(TEXT, "why?", max_new_tokens=64).id
    keys, store = Keys("glyph"), _store(broker_url, "glyph")
    with connect(broker_url) as client:
        _as_before(client, "glyph")
        _as_before(client, "other")
        client.lpush(RENDER_QUEUE, b"no message", json.dumps({"headers": {"task": "slow"}}))
        store.cancel(ids[3], tenant="default")
        takeover = Takeover(store, client, keys, lease_s=3)
        assert takeover.poll() == 3
        assert takeover.poll() == 0
        listed = client.lrange("glyph:glyph.render", 0, -1)
        found = [json.loads(raw)["headers"]["id"] for raw in reversed(listed)]
        assert found == ids[:3], "oldest first, and no message of a job that has ended"
        assert num_waiting(client, keys, RENDER_QUEUE) == 3
        left = client.lrange(RENDER_QUEUE, 0, -1)
        assert len(left) == 3
        assert others.encode() in b"".join(left), "another prefix's message stays where it is"


def test_what_an_old_worker_held_when_it_died_is_published_again(broker_url: str) -> None:
    job = Client(_settings(broker_url, "glyph")).submit(TEXT, "why?", max_new_tokens=64).id
    other = Client(_settings(broker_url, "other")).submit(TEXT, "why?", max_new_tokens=64).id
    keys, store = Keys("glyph"), _store(broker_url, "glyph")
    with connect(broker_url) as client:
        for number, prefix in enumerate(("glyph", "other")):
            raw = json.loads(client.rpop(f"{prefix}:{RENDER_QUEUE}"))
            client.hset("unacked", f"tag-{number}", json.dumps([raw, "", RENDER_QUEUE]))
            client.zadd("unacked_index", {f"tag-{number}": time.time() - 60})
        client.hset("unacked", "tag-9", json.dumps([{"headers": {"task": "slow", "id": "x"}}]))
        client.zadd("unacked_index", {"tag-9": time.time() - 60})
        reconciler = Reconciler(store, client, keys, lease_s=3)
        wait_until(lambda: reconciler.poll("me"), description="the job is published again")
        assert held_messages(client, keys, [RENDER_QUEUE], window=9).waiting == {job}
        assert set(client.hkeys("unacked")) == {b"tag-1", b"tag-9"}, other
        assert client.zcard("unacked_index") == 2
        client.delete("unacked", "unacked_index")


def test_rights_that_end_at_the_prefix_are_respected(own_redis: Any) -> None:
    url = own_redis.url()
    with redis.Redis.from_url(url) as admin:
        admin.execute_command("ACL", "SETUSER", "worker", "on", ">pw", "~glyph:*", "&*", "+@all")
    mine = url.replace("redis://", "redis://worker:pw@")
    with connect(mine) as client:
        takeover = Takeover(_store(mine, "glyph"), client, Keys("glyph"), lease_s=3)
        assert [takeover.poll(), takeover.poll()] == [0, 0]


def test_two_prefixes_are_served_side_by_side(
    broker_url: str, cache_url: str, tiny_checkpoint: Path, fleet_class: Any, tmp_path: Path
) -> None:
    fleets = []
    try:
        for prefix in ("one", "two"):
            folder = tmp_path / prefix
            folder.mkdir()
            fleet = fleet_class.on(folder, broker_url, cache_url, tiny_checkpoint)
            fleet = fleet_class(folder, fleet.environ | {"GLYPH_KEY_PREFIX": prefix})
            fleets.append(fleet)
            fleet.start("render", wait=False, GLYPH_KEY_PREFIX=prefix)
            fleet.start("answer", wait=False, GLYPH_KEY_PREFIX=prefix)
        jobs = [
            (fleet, fleet.client.submit(f"{n}\n{TEXT}", "what?", max_new_tokens=8).id)
            for n in range(6)
            for fleet in fleets
        ]
        for fleet, job in jobs:
            fleet.client.wait(job, timeout=PATIENCE_S)
            assert fleet.client.status(job).attempt == 1
    finally:
        for fleet in fleets:
            fleet.stop()


def test_metrics_count_the_queues_of_their_own_prefix(broker_url: str) -> None:
    """By the names that alerts, dashboard and scaler know."""
    for prefix, number in (("one", 3), ("two", 1)):
        client = Client(_settings(broker_url, prefix))
        for n in range(number):
            client.submit(f"{TEXT} {n}", "why?")
        _store(broker_url, prefix).republish("j", rendered=True)
        app = create_app(_settings(broker_url, prefix))
        with TestClient(app, base_url="http://127.0.0.1") as http:
            said = http.get("/metrics").text
        assert f'glyph_queue_messages{{queue="glyph.render"}} {number}.0' in said
        assert 'glyph_queue_messages{queue="glyph.answer"} 1.0' in said


def test_a_task_is_named_without_the_prefix(broker_url: str) -> None:
    """Flower, traces and recipes know tasks by these names, whatever the prefix."""
    store = _store(broker_url, "glyph")
    store.republish("j", rendered=False)
    store.republish("j", rendered=True)
    with redis.Redis.from_url(broker_url) as client:
        for queue, task in ((RENDER_QUEUE, RENDER_TASK), (ANSWER_QUEUE, ANSWER_TASK)):
            (raw,) = client.lrange(f"glyph:{queue}", 0, -1)
            message = json.loads(raw)
            assert message["headers"]["task"] == task
            assert message["properties"]["delivery_info"]["routing_key"] == queue
