"""Cancels as they are asked for, over a channel: fast, and lost on whoever is not listening."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import redis
from redis.client import PubSub

from glyph_worker.store.connection import translated
from glyph_worker.store.keys import Keys


class CancelChannel:
    def __init__(self, client: redis.Redis, keys: Keys, *, url: str) -> None:
        self._client = client
        self._name = keys.cancels
        self._url = url

    def _channel(self) -> PubSub:
        channel: PubSub = self._client.pubsub(  # type: ignore[no-untyped-call]
            ignore_subscribe_messages=True
        )
        return channel

    def listen(self, stop: threading.Event) -> Iterator[str]:
        """Ids of running jobs whose cancel is asked for, until `stop`. Raises StoreUnavailable."""
        with translated(self._url), self._channel() as channel:
            channel.subscribe(self._name)
            while not stop.is_set():
                message = channel.get_message(timeout=1.0)
                if message is not None:
                    yield message["data"].decode()
