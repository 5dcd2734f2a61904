"""What celery's consumer says of messages that are no jobs of ours: everything but what they hold.

Celery logs body and headers of a message that it discards, and with them another application's
document. A job's message has neither, so nothing is lost with them. Leans on four callbacks of the
consumer; a contract test guards them.
"""

from __future__ import annotations

from typing import Any

import structlog
from celery import signals
from celery.worker import consumer

log = structlog.get_logger(__name__)


class DiscardingConsumer(consumer.Consumer):  # type: ignore[misc]
    def on_unknown_message(self, body: Any, message: Any) -> None:
        self._discard("no task message", message)

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        self._discard("unknown task", message, exc)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        self._discard("invalid task", message, exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self._discard("unreadable body", message, exc)

    def _discard(self, why: str, message: Any, exc: Exception | None = None) -> None:
        headers = message.headers if isinstance(message.headers, dict) else {}
        log.error(
            "queue.discarded",
            reason=why,
            error=None if exc is None else type(exc).__name__,
            task=_short(headers.get("task")),
            job_id=_short(headers.get("id")),
            content_type=_short(message.content_type),
            num_bytes=len(message.body or b""),
        )
        message.reject_log_error(log, self.connection_errors)
        signals.task_rejected.send(sender=self, message=message, exc=exc)


def _short(value: object) -> str | None:
    """A name, and not more of a text that stands where a name should."""
    return value[:80] if isinstance(value, str) else None
