"""Celery's consumer, which here knows what passes by itself and what an operator must mend."""

from __future__ import annotations

import time
from typing import Any

import structlog
from celery.exceptions import WorkerShutdown
from celery.worker.state import maybe_shutdown

from glyph_worker.errors import ConfigurationError, TransientError
from glyph_worker.queue.discarding import DiscardingConsumer

log = structlog.get_logger(__name__)

PAUSE_S, PAUSE_STEP_S, LONGEST_PAUSE_S = 0.5, 0.5, 3.0
"""Between two tries to connect: a broker that is back is consumed from within a few seconds."""


class Consumer(DiscardingConsumer):
    def start(self) -> None:
        """Raises WorkerShutdown with exit code 78 where connecting again would change nothing."""
        try:
            super().start()
        except ConfigurationError as exc:
            log.error("worker.misconfigured", error=exc.code, message=str(exc))
            raise WorkerShutdown(exc.exit_code) from exc

    def ensure_connected(self, conn: Any) -> Any:
        """As celery's, which would wait for up to half a minute after an outage."""

        conn = conn.ensure_connection(
            lambda exc, pause_s: _away(exc),
            None,
            interval_start=PAUSE_S,
            interval_step=PAUSE_STEP_S,
            interval_max=LONGEST_PAUSE_S,
            callback=maybe_shutdown,
        )
        self.first_connection_attempt = False
        return conn

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        _away(exc)
        _pause(PAUSE_S)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        super().on_connection_error_after_connected(exc)
        _away(exc)
        if isinstance(exc, TransientError):
            # It is there and answers with an error: connecting again succeeds at once.
            _pause(PAUSE_S)


def _away(exc: Exception) -> None:
    log.warning("broker.away", error=type(exc).__name__, message=str(exc))


def _pause(seconds: float) -> None:
    """Raises WorkerShutdown when the worker is told to end meanwhile."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        maybe_shutdown()
        time.sleep(0.05)
