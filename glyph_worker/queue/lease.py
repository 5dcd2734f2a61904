"""Turns the transport's visibility timeout into a lease: a living worker keeps what it holds.

The Redis transport redelivers a message `visibility_timeout` after it was taken, whether or not
its worker lives. This step re-scores the worker's unacknowledged delivery tags at a third of that
time, so that only a dead (or hung, see `healthy`) worker's jobs come back. Leans on kombu's
private `qos._delivered` and `qos._dirty`; a contract test guards them.
"""

from __future__ import annotations

from typing import Any

import structlog
from celery import bootsteps

log = structlog.get_logger(__name__)


class Lease(bootsteps.StartStopStep):  # type: ignore[misc]
    """Runs in the consumer's event loop, so a worker that no longer consumes loses its lease."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **_: Any) -> None:
        self._timer: Any = None
        self._period_s = consumer.app.conf.broker_transport_options["visibility_timeout"] / 3

    def start(self, consumer: Any) -> None:
        # When the connection breaks, celery closes the channel, which would restore what we hold
        # over that same connection and fail the worker. The lease brings it back just as well.
        consumer.task_consumer.channel.do_restore = False
        self._timer = consumer.timer.call_repeatedly(self._period_s, self.renew, (consumer,))

    def stop(self, consumer: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def renew(self, consumer: Any) -> int:
        """Extend the lease on every held message; returns how many. Errors wait a turn."""
        stage = getattr(consumer.app, "glyph_stage", None)
        if stage is not None and not stage.healthy():
            log.error("lease.withheld", reason="the worker's stage is not healthy")
            return 0
        channel = consumer.task_consumer.channel
        held = [tag for tag in list(channel.qos._delivered) if tag not in channel.qos._dirty]
        if not held:
            return 0
        try:
            with channel.conn_or_acquire() as client:
                now = channel.qos.server_time(client)
                # XX: a message acknowledged a moment ago must not come back into the index.
                client.zadd(channel.unacked_index_key, dict.fromkeys(held, now), xx=True)
        except channel.connection_errors as exc:
            log.warning("lease.not_renewed", num_held=len(held), error=str(exc))
            return 0
        return len(held)
