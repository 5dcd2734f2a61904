"""What we lean on inside celery and kombu, so that an upgrade fails here and not in production."""

from __future__ import annotations

import base64
import contextlib
import inspect
import json
import os
import pickle
import signal
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest
import redis
from celery import Celery
from celery.app.backends import by_url
from celery.backends.base import BaseBackend, DisabledBackend
from celery.backends.redis import RedisBackend
from celery.concurrency import asynpool
from celery.concurrency.base import BasePool, apply_target
from kombu.asynchronous import Hub
from kombu.exceptions import ContentDisallowed
from kombu.serialization import loads
from kombu.transport import redis as transport
from kombu.transport import virtual
from waiting import PATIENCE_S, wait_until

from glyph_worker.client import Client
from glyph_worker.errors import UnknownJob
from glyph_worker.job import Answer, FinishReason, Stage
from glyph_worker.queue import prefork
from glyph_worker.queue.app import make_app
from glyph_worker.queue.lease import Lease
from glyph_worker.queue.messages import held_messages, num_waiting
from glyph_worker.queue.names import ANSWER_QUEUE, ANSWER_TASK, RENDER_QUEUE, RENDER_TASK
from glyph_worker.queue.pool import TaskPool
from glyph_worker.queue.results import JobControl, JobResults
from glyph_worker.settings import Settings
from glyph_worker.store.backlog import Noted
from glyph_worker.store.connection import connect
from glyph_worker.store.jobs import JobStore
from glyph_worker.store.keys import Keys
from glyph_worker.store.outbox import DueLinks, Outbox

KEYS = Keys("glyph")
RENDER_LIST, ANSWER_LIST = "glyph:glyph.render", "glyph:glyph.answer"


@pytest.fixture
def app(broker_url: str) -> Any:
    return make_app(Settings.load(environ={"GLYPH_BROKER_URL": broker_url}))


@pytest.fixture
def publish(broker_url: str) -> Callable[..., None]:
    """A job's message, put there by our own script."""
    jobs = JobStore(connect(broker_url), KEYS, ttl_s=60, lease_s=30)

    def publish(job_id: str, *, rendered: bool = False) -> None:
        jobs.republish(job_id, rendered=rendered)

    return publish


def test_the_pool_takes_what_celery_passes() -> None:
    parameters = inspect.signature(TaskPool.on_apply).parameters
    assert {"target", "args", "kwargs", "callback", "accept_callback"} <= set(parameters)
    assert parameters["_"].kind is inspect.Parameter.VAR_KEYWORD
    assert {"callback", "accept_callback"} <= set(inspect.signature(apply_target).parameters)
    assert issubclass(TaskPool, BasePool)


def test_the_lease_finds_the_tags_that_kombu_keeps() -> None:
    source = inspect.getsource(transport.QoS)
    assert "self._delivered" in source
    assert "_dirty" in inspect.getsource(transport.virtual.QoS)
    assert hasattr(transport.Channel, "unacked_index_key")
    assert transport.Channel.do_restore is True


def test_a_taken_message_is_leased_until_the_worker_falls_silent(
    app: Any, publish: Any, broker_url: str
) -> None:
    publish("one")
    with app.connection_for_read() as connection, redis.Redis.from_url(broker_url) as client:
        taken: list[Any] = []
        queue = app.amqp.queues[RENDER_QUEUE]
        consumer = connection.Consumer(
            [queue], callbacks=[lambda _, message: taken.append(message)], accept=["msgpack"]
        )
        with consumer:
            consumer.qos(prefetch_count=1)
            while not taken:
                connection.drain_events(timeout=PATIENCE_S)
            (tag, scored), *_ = client.zrange("glyph:unacked_index", 0, -1, withscores=True)
            assert held_messages(client, KEYS, [RENDER_QUEUE], window=10).taken == {"one"}

            held = SimpleNamespace(task_consumer=consumer, app=app)
            lease = Lease(held)
            time.sleep(0.01)
            assert lease.renew(held) == 1
            assert client.zscore("glyph:unacked_index", tag) > scored
            taken[0].ack()
            assert lease.renew(held) == 0
            assert client.zcard("glyph:unacked_index") == 0, "an acknowledged message came back"


@pytest.mark.parametrize("off_s", [90.0, -90.0])
def test_a_wrong_clock_gives_out_nothing_that_another_worker_holds(
    app: Any, publish: Any, broker_url: str, monkeypatch: pytest.MonkeyPatch, off_s: float
) -> None:
    """Both that of the worker which holds it, and of the one that looks for what is abandoned."""
    publish("one")
    with app.connection_for_read() as connection, redis.Redis.from_url(broker_url) as client:
        taken: list[Any] = []
        consumer = connection.Consumer(
            [app.amqp.queues[RENDER_QUEUE]], on_message=taken.append, accept=["msgpack"]
        )
        with consumer:
            wrong = time.time() + off_s
            with monkeypatch.context() as patch:
                patch.setattr(transport, "time", lambda: wrong)
                patch.setattr(time, "time", lambda: wrong)
                wait_until(lambda: _drained(connection) or taken, description="it arrives")
            (_, scored), *_ = client.zrange("glyph:unacked_index", 0, -1, withscores=True)
            assert abs(scored - client.time()[0]) < 20
            with monkeypatch.context() as patch:
                patch.setattr(transport, "time", lambda: wrong)
                patch.setattr(time, "time", lambda: wrong)
                consumer.channel.qos.restore_visible(interval=1)
            assert client.llen(RENDER_LIST) == 0
            assert client.hlen("glyph:unacked") == 1
            # What is abandoned by the server's clock is given out again.
            client.zadd("glyph:unacked_index", {client.hkeys("glyph:unacked")[0]: scored - 31})
            consumer.channel.qos.restore_visible(interval=1)
            assert client.llen(RENDER_LIST) == 1
            consumer.channel.do_restore = False


@pytest.mark.parametrize("sender_off_s", [90.0, -90.0, 0.0])
@pytest.mark.parametrize("receiver_off_s", [90.0, -90.0, 0.0])
def test_a_retry_is_due_by_the_servers_clock(
    app: Any, monkeypatch: pytest.MonkeyPatch, sender_off_s: float, receiver_off_s: float
) -> None:
    """Whatever the clocks of the worker that sends it and of the one that takes it say."""
    right, off = time.time, timedelta(seconds=sender_off_s)

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + off

    with monkeypatch.context() as patch:
        patch.setattr("glyph_worker.queue.transport.datetime", Wrong)
        due = Wrong.now(UTC) + timedelta(seconds=40)
        with app.connection_for_write() as connection:
            app.send_task(RENDER_TASK, connection=connection, task_id="one", eta=due)
    taken: list[Any] = []
    with app.connection_for_read() as connection:
        consumer = connection.Consumer(
            [app.amqp.queues[RENDER_QUEUE]], on_message=taken.append, accept=["msgpack"]
        )
        with consumer, monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: right() + receiver_off_s)
            wait_until(lambda: _drained(connection) or taken, description="it arrives")
            left_s = datetime.fromisoformat(taken[0].headers["eta"]).timestamp() - time.time()
        assert 10 < left_s <= 41, "40 s from its sending, by the receiver's clock"
        taken[0].ack()


def test_garbage_among_the_taken_messages_keeps_nothing_from_being_given_out(
    app: Any, publish: Any, broker_url: str
) -> None:
    publish("one")
    with app.connection_for_read() as connection, redis.Redis.from_url(broker_url) as client:
        raw = json.loads(client.rpop(RENDER_LIST))
        taken = {"good": json.dumps([raw, "", RENDER_QUEUE]), "bad": "no message", "odd": "[1]"}
        client.hset("glyph:unacked", mapping=taken)
        client.zadd("glyph:unacked_index", {"gone": 1, **dict.fromkeys(taken, 1)})
        connection.default_channel.qos.restore_visible(interval=1)
        (back,) = client.lrange(RENDER_LIST, 0, -1)
        assert json.loads(back)["headers"] == {**raw["headers"], "redelivered": True}
        assert not client.exists("glyph:unacked", "glyph:unacked_index")


def test_kombu_builds_its_connections_where_we_build_ours() -> None:
    for method in ("_get_pool", "_get_client", "_brpop_read", "_create_client", "_put"):
        assert callable(getattr(transport.Channel, method))
    assert "self.Message(" in inspect.getsource(virtual.Channel.basic_consume)
    assert "self._get_pool(" in inspect.getsource(transport.Channel)
    assert "restore_visible(" in inspect.getsource(transport.MultiChannelPoller)
    assert list(inspect.signature(transport.QoS.append).parameters) == [
        "self", "message", "delivery_tag",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("queue", "task"), [(RENDER_QUEUE, RENDER_TASK), (ANSWER_QUEUE, ANSWER_TASK)]
)
def test_our_message_is_the_one_that_celery_would_send(
    app: Any, publish: Any, broker_url: str, queue: str, task: str
) -> None:
    publish("job-7", rendered=queue == ANSWER_QUEUE)
    app.send_task(task, task_id="job-7", queue=queue, ignore_result=True)
    with redis.Redis.from_url(broker_url) as client:
        theirs, ours = (json.loads(raw) for raw in client.lrange(f"glyph:{queue}", 0, -1))
    for message in (ours, theirs):
        # Who sent it, a tag of its own, and where results would go, which nobody sends.
        message["headers"].pop("origin")
        message["properties"].pop("delivery_tag")
        message["properties"].pop("reply_to")
    assert ours == theirs


def test_a_message_holds_the_id_and_nothing_else(publish: Any, broker_url: str) -> None:
    publish("job-7")
    with redis.Redis.from_url(broker_url) as client:
        (raw,) = client.lrange(RENDER_LIST, 0, -1)
        assert client.llen(ANSWER_LIST) == 0
    body = base64.b64decode(json.loads(raw)["body"])
    nothing = dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))
    assert msgpack.unpackb(body) == [[], {}, nothing]
    assert len(raw) < 1_000


def test_messages_are_seen_where_the_transport_keeps_them(
    app: Any, publish: Any, broker_url: str
) -> None:
    for name in ("a", "b", "c"):
        publish(name)
    publish("d", rendered=True)
    with redis.Redis.from_url(broker_url) as client:
        held = held_messages(client, KEYS, [RENDER_QUEUE, ANSWER_QUEUE], window=10)
        assert (held.waiting, held.taken, held.complete) == (frozenset("abcd"), frozenset(), True)
        assert not held_messages(client, KEYS, [RENDER_QUEUE], window=2).complete
        assert num_waiting(client, KEYS, RENDER_QUEUE) == 3


def test_pickle_and_json_are_refused_before_they_are_decoded(app: Any) -> None:
    assert app.conf.accept_content == ["msgpack"]
    for content_type in ("application/x-python-serialize", "application/json"):
        with pytest.raises(ContentDisallowed):
            loads(pickle.dumps({}), content_type, "binary", accept={"application/x-msgpack"})


@pytest.mark.parametrize("garbage", [b"\xff\xfe", b"{", b"[]", b"{}", b"null", b'{"body": 1}'])
def test_garbage_in_a_queue_is_skipped_and_the_next_message_arrives(
    app: Any, publish: Any, broker_url: str, garbage: bytes
) -> None:
    with redis.Redis.from_url(broker_url) as client:
        client.lpush(RENDER_LIST, garbage)
    publish("good")
    with app.connection_for_read() as connection:
        assert type(connection.transport).__module__ == "glyph_worker.queue.transport"
        taken: list[Any] = []
        consumer = connection.Consumer(
            [app.amqp.queues[RENDER_QUEUE]], on_message=taken.append, accept=["msgpack"]
        )
        with consumer:
            wait_until(
                lambda: _drained(connection) or taken, description="the good message arrives"
            )
        assert taken[0].headers["id"] == "good"
        taken[0].ack()


def test_an_ack_after_its_connection_closed_is_dropped_and_the_message_comes_back(
    app: Any, publish: Any, broker_url: str
) -> None:
    """As it happens to jobs that run while the broker restarts; kombu's own ends the worker."""
    publish("one")
    with app.connection_for_read() as connection:
        taken: list[Any] = []
        consumer = connection.Consumer(
            [app.amqp.queues[RENDER_QUEUE]], on_message=taken.append, accept=["msgpack"]
        )
        with consumer:
            wait_until(lambda: _drained(connection) or taken, description="the message arrives")
            consumer.channel.do_restore = False
    taken[0].channel.close()
    assert taken[0].channel.connection is None
    taken[0].ack()
    with redis.Redis.from_url(broker_url) as client:
        assert client.hlen("glyph:unacked") == 1


def test_an_ack_that_fails_frees_its_place_and_the_message_comes_back(own_redis: Any) -> None:
    """Kombu's own would keep its lease for ever, and take nothing more in its place."""
    url = own_redis.url()
    app = make_app(Settings.load(environ={"GLYPH_BROKER_URL": url}))
    jobs = JobStore(connect(url), KEYS, ttl_s=60, lease_s=30)
    jobs.republish("one", rendered=False)
    with app.connection_for_read() as connection:
        taken: list[Any] = []
        consumer = connection.Consumer(
            [app.amqp.queues[RENDER_QUEUE]], on_message=taken.append, accept=["msgpack"]
        )
        consumer.qos(prefetch_count=1)
        consumer.consume()
        wait_until(lambda: _drained(connection) or taken, description="the message arrives")
        qos = consumer.channel.qos
        assert not qos.can_consume()
        own_redis.stop()
        taken[0].ack()
        assert taken[0].channel.connection is not None
        assert qos.can_consume()
        own_redis.start()
        held = SimpleNamespace(task_consumer=consumer, app=app)
        assert Lease(held).renew(held) == 0
        with redis.Redis.from_url(url) as client:
            assert client.hlen("glyph:unacked") == 1
        consumer.channel.do_restore = False


def _drained(connection: Any) -> None:
    with contextlib.suppress(TimeoutError):
        connection.drain_events(timeout=0.2)


def test_every_worker_shares_one_visibility_timeout(app: Any) -> None:
    options = app.conf.broker_transport_options
    assert options["visibility_timeout"] == 30
    assert options["unacked_restore_interval"] == 1
    assert options["unacked_mutex_expire"] < 30


def test_wait_until_is_not_a_check_that_cannot_fail() -> None:
    with pytest.raises(pytest.fail.Exception, match="pigs fly"):
        wait_until(lambda: False, description="pigs fly", timeout_s=0.05)


@pytest.mark.parametrize(
    ("kind", "arrives"), [(prefork.AsynPool, True), (asynpool.AsynPool, False)]
)
def test_a_result_half_read_when_the_broker_goes_is_read_to_its_end(
    kind: type[asynpool.AsynPool], arrives: bool
) -> None:
    """Celery's own takes the rest for the beginning of a result. Once that is mended there, the
    second case fails, and our pool can go.
    """
    # Given a child of which the event loop knows that it is up
    hub = Hub()
    hub.call_repeatedly(0.05, lambda: None)  # so that no turn waits long
    loop = hub.create_loop()
    pool = kind(processes=1, threads=False)
    got: list[bytes] = []
    pool._result_handler.state_handlers[99] = got.append
    pool.register_with_event_loop(hub)
    (child,) = pool._pool
    try:
        _turn(loop, until=lambda: child.inqW_fd in pool._fileno_to_inq)
        # And a result in its pipe, of which one half has come
        result = pickle.dumps((99, (bytes(2000),)))
        framed = struct.pack(">i", len(result)) + result
        writer = child.outq._writer.fileno()
        os.write(writer, framed[:1000])
        _turn(loop, until=lambda: inspect.isgenerator(hub.readers[child.outqR_fd][0]))
        # When the connection is lost and comes back, as celery's consumer does it
        hub.reset()
        pool.flush()
        pool.register_with_event_loop(hub)
        loop = hub.create_loop()
        # And the other half comes
        os.write(writer, framed[1000:])
        if arrives:
            _turn(loop, until=lambda: bool(got))
        else:
            _turn(loop, until=lambda: child.outqR_fd not in hub.readers)
        # Then ours has the result; celery's has read a wrong length and given the child up
        assert got == ([bytes(2000)] if arrives else [])
    finally:
        pool._terminate.cancel()  # which would wait for the child, of which celery's is deaf
        os.kill(child.pid, signal.SIGKILL)
        hub.close()


def _turn(loop: Any, *, until: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    """The event loop, until something holds; raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not until():
        if time.monotonic() > deadline:
            raise TimeoutError(inspect.getsource(until))
        next(loop)


def test_a_result_backend_is_read_through_the_methods_that_ours_has() -> None:
    """What JobResults answers itself, celery's backends have under the same names and arguments."""
    for name in (
        "get_task_meta", "task_result_exists", "get_state", "get_result", "get_traceback",
        "get_children", "is_cached", "reload_task_result", "add_pending_result",
        "remove_pending_result", "forget", "wait_for_pending",
    ):  # fmt: skip
        theirs = inspect.signature(getattr(BaseBackend, name)).parameters
        ours = inspect.signature(getattr(JobResults, name)).parameters
        assert set(ours) - {"kwargs"} <= set(theirs) | {"callback", "weak"}, name
        needed = [one for one in theirs.values() if one.default is inspect.Parameter.empty]
        assert [one.name for one in needed if one.kind is one.POSITIONAL_OR_KEYWORD] == [
            one.name for one in ours.values() if one.default is inspect.Parameter.empty
        ], name
    assert {"args", "kwargs"} <= set(inspect.signature(JobControl.revoke).parameters)


def test_a_result_backend_is_named_before_the_url_of_the_apps_own() -> None:
    url = "glyph_worker.queue.results:JobResults+redis://127.0.0.1:1/5"
    kind, own_url = by_url(url)
    assert kind is JobResults
    assert own_url == "redis://127.0.0.1:1/5"
    app = Celery("shop", backend=url, set_as_current=False)
    assert isinstance(app.backend._own, RedisBackend)
    plain = Celery("shop", backend="glyph_worker.queue.results:JobResults", set_as_current=False)
    assert isinstance(plain.backend._own, DisabledBackend)


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
def test_a_jobs_end_is_noted_in_its_applications_outbox_once(broker_url: str, status: str) -> None:
    settings = Settings.load(environ={"GLYPH_BROKER_URL": broker_url})
    client = Client(settings, tenant="acme")
    noted = Noted(outbox="shop", links=b"links of shop")
    job = client.submit_noted("a text", "Who?", noted=noted)
    client.submit_noted("a text", "Who?", noted=Noted(outbox="other", links=b"x"))

    def outbox(name: str) -> Outbox:
        return Outbox(
            client._redis, KEYS, tenant="acme", name=name, ttl_s=60
        )  # fmt: skip

    shop = outbox("shop")
    assert shop.take(limit=9, lease_s=30) == []
    if status == "cancelled":
        client.cancel(job.id)
    else:
        jobs = JobStore(client._redis, KEYS, ttl_s=60, lease_s=30)
        _, claimed = jobs.claim(job.id, owner="w", stage=Stage.DECODING)
        assert claimed is not None
        if status == "failed":
            assert jobs.fail(job.id, {"code": "internal", "message": "", "details": {}}, claimed)
        else:
            assert jobs.succeed(claimed, Answer(text="x", finish_reason=FinishReason.STOP))
    assert shop.take(limit=9, lease_s=30) == [DueLinks(job_id=job.id, packed=b"links of shop")]
    assert shop.take(limit=9, lease_s=30) == []  # leased
    shop.put_off(job.id, 0)
    assert len(shop.take(limit=9, lease_s=30)) == 1
    shop.settle(job.id)
    shop.put_off(job.id, 0)  # too late: it was told
    assert shop.take(limit=9, lease_s=0) == []
    assert outbox("other").take(limit=9, lease_s=30) == []
    client.close()


def test_an_id_that_is_asked_for_twice_is_one_job(broker_url: str) -> None:
    client = Client(Settings.load(environ={"GLYPH_BROKER_URL": broker_url}))
    ids = {
        client.submit_noted("a text", "Who?", noted=Noted(), job_id="chosen").id for _ in range(2)
    }
    assert ids == {"chosen"}
    assert len(client.list_jobs().jobs) == 1
    other = client.for_tenant("other")
    with pytest.raises(UnknownJob):
        other.submit_noted("a text", "Who?", noted=Noted(), job_id="chosen")
    client.close()
