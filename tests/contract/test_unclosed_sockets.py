"""The watch over the test process' own sockets: it says what nobody closes, and only that."""

from __future__ import annotations

import socket

import pytest
import redis
import unclosed_sockets


def test_a_socket_that_nobody_closed_is_said_with_its_place() -> None:
    left = socket.socket()
    with pytest.warns(ResourceWarning, match=r"made at .*test_unclosed_sockets\.py"):
        unclosed_sockets._say(left)
    assert left.fileno() == -1


def test_a_connection_that_closes_itself_is_not(broker_url: str) -> None:
    with redis.Redis.from_url(broker_url, single_connection_client=True) as client:
        client.ping()
        left = client.connection._sock
        unclosed_sockets._say(left)  # warnings are errors
        assert left.fileno() == -1
