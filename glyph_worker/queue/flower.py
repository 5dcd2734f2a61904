"""The app that Flower and `celery -A` load: from the environment, with no task's body.

Flower asks the broker for queue lengths over connections of its own, which know fewer URLs than
ours: it is told what it needs in its own words. It meets every error by trying again, for ever, so
what only an operator can mend ends its process here.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import structlog

from glyph_worker.errors import ConfigurationError, GlyphError, StoreDenied
from glyph_worker.queue.app import make_app
from glyph_worker.queue.flower_broker import flower_options, flower_url
from glyph_worker.queue.transport import Channel, QoS, Transport
from glyph_worker.settings import Settings
from glyph_worker.store.url import RedisUrl

log = structlog.get_logger(__name__)


class FlowerQoS(QoS):
    def restore_visible(self, *_: Any, **__: Any) -> None:
        """Workers give out again what a dead one held; who only looks on has no right to."""


class FlowerChannel(Channel):
    QoS = FlowerQoS

    def _put_fanout(self, exchange: str, message: Any, routing_key: str, **kwargs: Any) -> None:
        """Where Flower's user may not send workers commands, it watches without."""
        try:
            super()._put_fanout(exchange, message, routing_key, **kwargs)
        except StoreDenied as exc:
            log.debug("flower.command_refused", exchange=exchange, error=str(exc))


class FlowerTransport(Transport):
    Channel = FlowerChannel

    def establish_connection(self) -> Any:
        try:
            return super().establish_connection()
        except ConfigurationError as exc:
            print(f"error[{exc.code}]: {exc}", file=sys.stderr, flush=True)
            # From a thread of Flower's, which would pass over any exception.
            os._exit(exc.exit_code)

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        shown = super().as_uri(uri, include_password, mask)
        return flower_url(RedisUrl.parse(uri)) if include_password else shown


def _load() -> Any:
    try:
        made = make_app(Settings.load())
    except GlyphError as exc:
        print(f"error[{exc.code}]: {exc}", file=sys.stderr)
        raise SystemExit(exc.exit_code) from None
    options = flower_options(RedisUrl.parse(made.conf.broker_url))
    options["broker_transport_options"] = {
        **made.conf.broker_transport_options,
        **options.get("broker_transport_options", {}),
    }
    made.conf.update(options, broker_transport="glyph_worker.queue.flower:FlowerTransport")
    return made


app = _load()
