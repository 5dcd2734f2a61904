"""Cancels as they are asked for, over a channel: fast, and lost on whoever is not listening."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from redis.client import PubSub

from glyph_worker.store.connection import Server
from glyph_worker.store.keys import Keys


class CancelChannel:
    def __init__(self, client: Server, keys: Keys) -> None:
        self._client = client
        self._name = keys.cancels

    def _channel(self) -> PubSub:
        channel: PubSub = self._client.pubsub(ignore_subscribe_messages=True)
        return channel

    def listen(self, stop: threading.Event) -> Iterator[str]:
        """Ids of running jobs whose cancel is asked for, until `stop`. Raises StoreUnavailable."""
        with self._channel() as channel:
            channel.subscribe(self._name)
            while not stop.is_set():
                message = channel.get_message(timeout=1.0)
                if message is not None:
                    yield message["data"].decode()
