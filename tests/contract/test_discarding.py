"""Messages that are no jobs of ours, before a real consumer: what its log says of them."""

from __future__ import annotations

import base64
import inspect
import json
import logging
from typing import Any

import pytest
import redis
from celery.contrib.testing.worker import start_worker
from celery.worker import consumer
from structlog.testing import capture_logs
from waiting import wait_until

from glyph_worker.queue.app import make_app
from glyph_worker.queue.discarding import DiscardingConsumer
from glyph_worker.queue.names import RENDER_QUEUE
from glyph_worker.settings import Settings

SECRET = "the patient's name is Orchid"


def test_a_message_that_is_discarded_is_never_quoted(
    broker_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(Settings.load(environ={"GLYPH_BROKER_URL": broker_url}))
    caplog.set_level(logging.DEBUG)
    # With nobody to read it, a message of each kind: unknown task, not ours, not decodable.
    app.send_task("other.task", args=[SECRET], kwargs={"text": SECRET}, queue=RENDER_QUEUE,
                  serializer="msgpack")  # fmt: skip
    with redis.Redis.from_url(broker_url) as server:
        (queue,) = [
            key for key in server.scan_iter(f"*{RENDER_QUEUE}") if server.type(key) == b"list"
        ]
        unknown = json.loads(server.lindex(queue, 0))
        strange = unknown | {"headers": {"text": SECRET}, "content-type": "application/x-msgpack"}
        body = base64.b64encode(json.dumps(SECRET).encode()).decode()
        refused = unknown | {"content-type": "application/json", "body": body, "headers": {}}
        server.lpush(queue, json.dumps(strange), json.dumps(refused))
        with (
            capture_logs() as ours,
            start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=30.0),
        ):
            wait_until(
                lambda: sum(row["event"] == "queue.discarded" for row in ours) >= 3,
                description="all three are discarded",
            )
            wait_until(
                lambda: (
                    not server.llen(queue)
                    and not [
                        key for key in server.scan_iter("*unacked*") if server.type(key) == b"hash"
                    ]
                ),
                description="and gone",
            )
    assert SECRET not in caplog.text + json.dumps(ours, default=str)
    rows = [row for row in ours if row["event"] == "queue.discarded"]
    reasons = {"unknown task", "no task message", "unreadable body"}
    assert {row["reason"] for row in rows} == reasons
    assert {row["task"] for row in rows} >= {"other.task"}


def test_the_consumer_has_the_callbacks_we_take() -> None:
    for name in ("on_unknown_message", "on_unknown_task", "on_invalid_task", "on_decode_error"):
        theirs = inspect.signature(getattr(consumer.Consumer, name))
        assert list(theirs.parameters) == list(
            inspect.signature(getattr(DiscardingConsumer, name)).parameters
        )


def test_the_worker_uses_it(broker_url: str) -> None:
    app: Any = make_app(Settings.load(environ={"GLYPH_BROKER_URL": broker_url}))
    chosen = app.conf.worker_consumer
    module, _, name = chosen.partition(":")
    kind = getattr(__import__(module, fromlist=[name]), name)
    assert issubclass(kind, DiscardingConsumer)
