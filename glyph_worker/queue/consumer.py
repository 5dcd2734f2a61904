"""Celery's consumer, which here knows what passes by itself and what an operator must mend."""

from __future__ import annotations

from typing import Any

import structlog
from celery.exceptions import WorkerShutdown
from celery.worker import consumer
from celery.worker.state import maybe_shutdown

from glyph_worker.errors import ConfigurationError

log = structlog.get_logger(__name__)

PAUSE_S, PAUSE_STEP_S, LONGEST_PAUSE_S = 0.5, 0.5, 3.0
"""Between two tries to connect: a broker that is back is consumed from within a few seconds."""


class Consumer(consumer.Consumer):  # type: ignore[misc]
    def start(self) -> None:
        """Raises WorkerShutdown with exit code 78 where connecting again would change nothing."""
        try:
            super().start()
        except ConfigurationError as exc:
            log.error("worker.misconfigured", error=exc.code, message=str(exc))
            raise WorkerShutdown(exc.exit_code) from exc

    def ensure_connected(self, conn: Any) -> Any:
        """As celery's, which would wait for up to half a minute after an outage."""

        def failed(exc: Exception, pause_s: float) -> None:
            log.warning("broker.away", error=type(exc).__name__, message=str(exc), pause_s=pause_s)

        conn = conn.ensure_connection(
            failed,
            None,
            interval_start=PAUSE_S,
            interval_step=PAUSE_STEP_S,
            interval_max=LONGEST_PAUSE_S,
            callback=maybe_shutdown,
        )
        self.first_connection_attempt = False
        return conn
