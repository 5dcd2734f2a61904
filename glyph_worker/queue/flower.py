"""The app that Flower and `celery -A` load: from the environment, with no task's body."""

from __future__ import annotations

from typing import Any

from celery.app.control import Control
from kombu.exceptions import OperationalError
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis
from redis.exceptions import NoPermissionError

from glyph_worker.errors import StoreDenied
from glyph_worker.queue.app import make_app
from glyph_worker.settings import Settings


class QoS(kombu_redis.QoS):  # type: ignore[misc]
    def restore_visible(self, *_: Any, **__: Any) -> None:
        """Workers give out again what a dead one held; who only looks on has no right to."""


class Channel(kombu_redis.Channel):  # type: ignore[misc]
    QoS = QoS


class Transport(kombu_redis.Transport):  # type: ignore[misc]
    Channel = Channel


class QuietControl(Control):  # type: ignore[misc]
    def broadcast(self, *args: Any, **kwargs: Any) -> Any:
        """As Celery's; nobody hears a user of Redis that may not (ops/redis/users.acl).

        Flower asks for a heartbeat before it listens, and would not listen at all.
        """
        try:
            return super().broadcast(*args, **kwargs)
        except (OperationalError, NoPermissionError, StoreDenied) as exc:
            found = exc.__cause__ if isinstance(exc, OperationalError) else exc
            if isinstance(found, (NoPermissionError, StoreDenied)):
                return None
            raise


app = make_app(Settings.load())
app.control_cls = f"{__name__}:QuietControl"
# By its plain name Flower knows how to ask for queue lengths; it takes no job off a queue, so it
# needs nothing else of our transport.
TRANSPORT_ALIASES["redis"] = f"{__name__}:Transport"
app.conf.broker_transport = "redis"
