"""Which messages of ours the broker holds: read-only, from kombu's lists and its `unacked` hash.

Leans on the transport's layout (a list per queue and priority, consumed from its right end; a hash
of taken messages as JSON); a contract test guards it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import cast

import redis

from glyph_worker.queue.names import transport_prefix
from glyph_worker.store.keys import Keys

PRIORITY_STEPS = (0, 3, 6, 9)
_SEPARATOR = "\x06\x16"


def queue_keys(keys: Keys, queue: str) -> list[str]:
    """The lists that hold a queue's messages, most urgent first."""
    name = transport_prefix(keys.prefix) + queue
    return [name if step == 0 else f"{name}{_SEPARATOR}{step}" for step in PRIORITY_STEPS]


def unacked_key(keys: Keys) -> str:
    """The hash of taken messages; beside it `…_index`, the sorted set of their leases."""
    return f"{transport_prefix(keys.prefix)}unacked"


@dataclass(frozen=True, slots=True)
class Held:
    """Ids of messages seen."""

    waiting: frozenset[str]
    """On a queue."""
    taken: frozenset[str]
    """With a worker that keeps its lease on them."""
    complete: bool
    """False when a queue is longer than what was looked at: an id may lie further back."""


def held_messages(client: redis.Redis, keys: Keys, queues: list[str], *, window: int) -> Held:
    """Ids in the first `window` messages of each queue, and of all that workers have taken."""
    pipe = client.pipeline(transaction=False)
    for queue in queues:
        for key in queue_keys(keys, queue):
            pipe.lrange(key, -window, -1)
    pipe.hvals(unacked_key(keys))
    *lists, taken = cast("list[list[bytes]]", pipe.execute())
    return Held(
        waiting=frozenset(_id(json.loads(raw)) for messages in lists for raw in messages),
        taken=frozenset(_id(json.loads(raw)[0]) for raw in taken),
        complete=all(len(found) < window for found in lists),
    )


def num_waiting(client: redis.Redis, keys: Keys, queue: str) -> int:
    """Messages that no worker has taken."""
    pipe = client.pipeline(transaction=False)
    for key in queue_keys(keys, queue):
        pipe.llen(key)
    return sum(cast("list[int]", pipe.execute()))


def _id(message: dict[str, dict[str, str]]) -> str:
    return message.get("headers", {}).get("id", "")
