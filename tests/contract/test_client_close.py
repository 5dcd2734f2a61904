"""Who makes clients closes them, as with any other of Redis."""

from __future__ import annotations

import redis

from glyph_worker.client import Client


def test_a_closed_client_holds_no_connection_and_opens_one_when_asked_again(
    broker_url: str,
) -> None:
    with redis.Redis.from_url(broker_url) as server:
        before = len(server.client_list())
        with Client.from_env(broker_url=broker_url) as client:
            job = client.submit("text", "a?")
            client.for_tenant("acme").list_jobs()
            assert len(server.client_list()) == before + 1, "tenants share it"
        assert len(server.client_list()) == before
        assert client.status(job.id).id == job.id
        assert len(server.client_list()) == before + 1
        client.close()
        client.close()
        assert len(server.client_list()) == before


def test_a_client_that_asked_nothing_closes(broker_url: str) -> None:
    Client.from_env(broker_url=broker_url).close()
