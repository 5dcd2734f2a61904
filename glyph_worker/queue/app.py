"""The Celery app: transport, routes and the contracts with the broker. Knows no task's body."""

from __future__ import annotations

from celery import Celery
from kombu import Exchange, Queue

from glyph_worker.errors import StoreUnavailable
from glyph_worker.queue.names import ANSWER_QUEUE, ANSWER_TASK, RENDER_QUEUE, RENDER_TASK
from glyph_worker.settings import Settings


def _queue(name: str) -> Queue:
    # An exchange and key of its own: without them both queues share the default ones, and a
    # message for one is delivered to both.
    return Queue(name, exchange=Exchange(name, type="direct"), routing_key=name)


def make_app(settings: Settings) -> Celery:
    """A configured app with the two routes. Connects to nothing yet."""
    if settings.broker_url is None:
        raise StoreUnavailable(
            "no broker: set GLYPH_BROKER_URL=redis://…, or let `glyph-worker up` start one"
        )
    app = Celery(
        "glyph_worker", broker=settings.broker_url.get_secret_value(), set_as_current=False
    )
    app.conf.update(
        # Only msgpack is read. A JSON or pickle message is refused before it is decoded.
        task_serializer="msgpack",
        result_serializer="msgpack",
        event_serializer="msgpack",
        accept_content=["msgpack"],
        # The job record is the truth; a result backend would be a second one.
        task_ignore_result=True,
        result_backend=None,
        task_acks_late=True,
        task_acks_on_failure_or_timeout=True,
        # A lost child's job goes back at once; strikes at the claim keep it from looping.
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        task_track_started=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_transport="glyph_worker.queue.transport:Transport",
        worker_consumer="glyph_worker.queue.discarding:DiscardingConsumer",
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_queues=[_queue(RENDER_QUEUE), _queue(ANSWER_QUEUE)],
        task_default_queue=RENDER_QUEUE,
        task_create_missing_queues=False,
        task_routes={RENDER_TASK: {"queue": RENDER_QUEUE}, ANSWER_TASK: {"queue": ANSWER_QUEUE}},
        # The `unacked` keys are shared by all queues of a database: these values must be the same
        # in every worker, or the most impatient one redelivers the others' jobs.
        broker_transport_options={
            "visibility_timeout": settings.queue.lease_s,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "unacked_mutex_expire": max(2, settings.queue.lease_s // 3),
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    )
    return app
