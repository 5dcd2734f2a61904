"""A job sent again by hand is held to what a submit is held to."""

from __future__ import annotations

import pytest

from glyph_worker.client import Client
from glyph_worker.errors import WebhookRefused
from glyph_worker.store.connection import connect
from glyph_worker.store.keys import Keys
from glyph_worker.store.webhooks import WebhookStore


def test_a_retry_keeps_its_webhook_only_where_somebody_calls_it(broker_url: str) -> None:
    client, keys = Client.from_env(broker_url=broker_url), Keys("glyph")
    with connect(broker_url) as server:
        webhooks = WebhookStore(server, keys, ttl_s=60)
        webhooks.announce()
        job = client.submit("text", "a?", webhook="http://127.0.0.1:9/hook")
        client.cancel(job.id)
        server.delete(keys.signing)
        with pytest.raises(WebhookRefused, match="nobody would call the webhook"):
            client.retry(job.id)
        webhooks.announce()
        assert client.retry(job.id).webhook == "http://127.0.0.1:9/hook"
