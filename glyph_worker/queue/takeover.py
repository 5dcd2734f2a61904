"""Jobs that wait under the names of version 0.1, whose queues carried no key prefix.

At an upgrade, and while workers and producers of both versions run, messages lie in lists called
`glyph.render` and `glyph.answer`, shared by all prefixes of a database. Those whose job has a
record under our prefix are published again under the new name; all others stay where they are.
What an old worker had taken when it died lies in `unacked`: it is cleared away where it is ours,
and the reconciler publishes the job from its record.
"""

from __future__ import annotations

import json
from typing import Any, cast

import redis
import structlog

from glyph_worker.errors import StoreDenied
from glyph_worker.queue.names import ANSWER_QUEUE, ANSWER_TASK, RENDER_QUEUE, RENDER_TASK
from glyph_worker.store.jobs import JobStore
from glyph_worker.store.keys import Keys

log = structlog.get_logger(__name__)

OLD_UNACKED = "unacked"
WINDOW = 200
"""Messages looked at in one turn, of each list."""


class Takeover:
    """Called about once a second by one worker of a prefix."""

    def __init__(self, jobs: JobStore, client: redis.Redis, keys: Keys, *, lease_s: float) -> None:
        self._jobs, self._client, self._keys = jobs, client, keys
        self._lease_s = lease_s
        self._allowed = True

    def poll(self) -> int:
        """Returns how many messages were taken over. Raises StoreUnavailable, StoreFull."""
        if not self._allowed:
            return 0
        try:
            return self._take_over()
        except StoreDenied:
            # Rights that end at the prefix are as they should be: then there is nothing here.
            self._allowed = False
            return 0

    def _take_over(self) -> int:
        pipe = self._client.pipeline(transaction=False)
        for queue in (RENDER_QUEUE, ANSWER_QUEUE):
            # The right end is consumed first, so it is taken over first.
            pipe.lrange(queue, -WINDOW, -1)
        pipe.time()
        *lists, (seconds, _) = pipe.execute()
        adopted = 0
        for queue, messages in zip((RENDER_QUEUE, ANSWER_QUEUE), lists, strict=True):
            for raw in reversed(messages):
                job_id = _id_of(raw)
                if job_id and self._jobs.adopt(job_id, old_list=queue, raw=raw, queue=queue) == 1:
                    adopted += 1
        self._clear(float(seconds) - self._lease_s)
        if adopted:
            log.info("queue.taken_over", num_messages=adopted)
        return adopted

    def _clear(self, lapsed: float) -> None:
        """Forget what an old worker of ours holds no longer."""
        index = f"{OLD_UNACKED}_index"
        tags = cast(
            "list[bytes]",
            self._client.zrangebyscore(index, "-inf", lapsed, start=0, num=WINDOW),
        )
        if not tags:
            return
        taken = cast("list[bytes | None]", self._client.hmget(OLD_UNACKED, tags))
        found = [
            (tag, _id_of(raw, taken=True)) for tag, raw in zip(tags, taken, strict=True) if raw
        ]
        jobs = self._jobs.get_many([job_id for _, job_id in found])
        ours = [tag for (tag, _), job in zip(found, jobs, strict=True) if job is not None]
        if ours:
            pipe = self._client.pipeline()
            pipe.zrem(index, *ours)
            pipe.hdel(OLD_UNACKED, *ours)
            pipe.execute()


def _id_of(raw: bytes, *, taken: bool = False) -> str:
    """The job that a message is for; '' where it is none of our tasks'."""
    try:
        message: Any = json.loads(raw)
        headers = (message[0] if taken else message)["headers"]
        return str(headers["id"]) if headers["task"] in (RENDER_TASK, ANSWER_TASK) else ""
    except (ValueError, LookupError, TypeError):
        return ""
