"""Whatever a server forgot, what a reader gets joins to the answer: for each kind of reader."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis

from glyph_worker.client import Client
from glyph_worker.errors import InvalidOption
from glyph_worker.job import Answer, Delta, FinishReason, JobStatus, Stage
from glyph_worker.store.connection import connect
from glyph_worker.store.job_record import ClaimedJob
from glyph_worker.store.jobs import JobStore
from glyph_worker.store.keys import Keys
from glyph_worker.store.streams import Cursor, StreamStore
from glyph_worker.worker.answer_stream import AnswerStream

WHOLE = "the quick brown fox"
Read = Callable[..., list[Delta]]


class Service:
    """One job, its workers and its server."""

    def __init__(self, url: str) -> None:
        self.client = Client.from_env(broker_url=url)
        self.server: redis.Redis = connect(url)
        self.keys = Keys("glyph")
        self.streams = StreamStore(self.server, self.keys, 60)
        self.jobs = JobStore(self.server, self.keys, ttl_s=60, lease_s=2.0)
        self.job_id = self.client.submit("text", "why?").id
        self.key = self.keys.stream(self.job_id)

    def claim(self, owner: str) -> ClaimedJob:
        _, claimed = self.jobs.claim(self.job_id, owner=owner, stage=Stage.ENCODING)
        assert claimed is not None
        return claimed

    def writer(self, claimed: ClaimedJob) -> AnswerStream:
        return AnswerStream(self.streams, self.job_id, claimed.attempt, claimed.owner)

    def succeed(self, claimed: ClaimedJob, text: str = WHOLE) -> None:
        answer = Answer(text=text, finish_reason=FinishReason.STOP)
        assert self.jobs.succeed(claimed, answer)

    def lose(self, number: int) -> None:
        """The last entries, as a server that is killed does."""
        for seq, _ in self.server.xrevrange(self.key, count=number):
            self.server.xdel(self.key, seq)

    def lose_claim(self, claimed: ClaimedJob) -> None:
        """And all that came of it."""
        fields: Any = {"status": "queued", "attempt": claimed.attempt - 1, "owner": ""}
        self.server.hset(self.keys.job(self.job_id), mapping=fields)
        self.server.delete(self.key)


@pytest.fixture
def service(broker_url: str) -> Service:
    return Service(broker_url)


@pytest.fixture(params=["sync", "asyncio"])
def read(request: Any, service: Service) -> Read:
    def collected(**more: Any) -> list[Delta]:
        return list(service.client.stream(service.job_id, **more))

    def awaited(**more: Any) -> list[Delta]:
        async def all_of() -> list[Delta]:
            return [delta async for delta in service.client.aio.stream(service.job_id, **more)]

        return asyncio.run(all_of())

    return collected if request.param == "sync" else awaited


def joined(deltas: list[Delta], text: str = "") -> str:
    """What a reader has that had `text`."""
    for delta in deltas:
        text = delta.text if delta.anew else text + delta.text
    return text


def take(service: Service, cursor: Cursor) -> list[Delta]:
    return service.streams.follow(service.job_id, cursor, block_s=0)


def test_text_that_is_sent_again_is_not_read_twice(service: Service) -> None:
    claimed, cursor = service.claim("a"), Cursor()
    writer = service.writer(claimed)
    writer.grow("the quick ")
    writer.grow("the quick brown ")
    seen = take(service, cursor)
    # When the server loses what was read, and the worker sends it again with what follows …
    service.lose(1)
    writer.grow(WHOLE[:17])
    writer.finish(WHOLE)
    service.succeed(claimed)
    # … then who still reads gets what is new.
    more = take(service, cursor)
    assert [delta.anew for delta in seen + more] == [True, False, False, False]
    assert joined(seen + more) == WHOLE
    assert more[-1].status is JobStatus.SUCCEEDED


def test_who_goes_on_after_a_lost_entry_begins_anew(service: Service, read: Read) -> None:
    claimed, cursor = service.claim("a"), Cursor()
    writer = service.writer(claimed)
    writer.grow("the quick ")
    writer.grow("the quick brown ")
    seen = take(service, cursor)
    service.lose(1)
    writer.finish(WHOLE)
    service.succeed(claimed)
    again = read(after=seen[-1].seq)
    assert again[0].anew
    assert joined(again, joined(seen)) == WHOLE
    assert joined(read(after=again[1].seq), joined(again[:2])) == WHOLE, (
        "and once more in its middle"
    )


def test_an_attempt_whose_number_was_lost_does_not_join_to_the_next_of_that_number(
    service: Service, read: Read
) -> None:
    first, cursor = service.claim("a"), Cursor()
    old = service.writer(first)
    old.grow("a slow ")
    seen = take(service, cursor)
    service.lose_claim(first)
    second = service.claim("b")
    assert second.attempt == first.attempt
    # Both are at work until the first hears of it: only the holder writes.
    new = service.writer(second)
    for end in (4, 10):
        new.grow(WHOLE[:end])
        old.grow("a slow fox and more"[: 7 + end])
    new.finish(WHOLE)
    service.succeed(second)
    assert joined(take(service, cursor), joined(seen)) == WHOLE
    assert joined(read()) == WHOLE
    assert joined(read(after=seen[-1].seq), joined(seen)) == WHOLE


def test_a_later_attempt_begins_anew(service: Service, read: Read) -> None:
    first = service.claim("a")
    service.writer(first).grow("a slow ")
    assert service.jobs.hand_back(first)
    second = service.claim("b")
    service.writer(second).finish(WHOLE)
    service.succeed(second)
    assert [delta.anew for delta in read()] == [True, True, False]
    assert joined(read()) == WHOLE


def test_where_the_stream_is_gone_the_whole_answer_comes_anew(service: Service, read: Read) -> None:
    claimed, cursor = service.claim("a"), Cursor()
    service.writer(claimed).grow("the quick ")
    seen = take(service, cursor)
    service.succeed(claimed)
    service.server.delete(service.key)
    for found in (read(), read(after=seen[-1].seq)):
        assert joined(found, joined(seen)) == WHOLE
        assert found[-1].status is JobStatus.SUCCEEDED


def test_where_the_beginning_is_gone_the_whole_answer_comes_at_the_end(
    service: Service, read: Read
) -> None:
    """A stream is bounded: a very long answer's has lost its first entries."""
    claimed = service.claim("a")
    writer = service.writer(claimed)
    for end in (4, 10, 19):
        writer.grow(WHOLE[:end])
    service.succeed(claimed)
    service.server.xtrim(service.key, maxlen=2, approximate=False)
    found = read()
    assert joined(found) == WHOLE
    assert [delta.status for delta in found] == [None, JobStatus.SUCCEEDED]


def test_a_stream_of_the_release_before_is_read_to_its_end(service: Service, read: Read) -> None:
    """Its entries do not say where their text stands."""
    claimed = service.claim("a")
    for part in ("the ", "quick ", "brown fox"):
        service.server.xadd(service.key, {"text": part, "attempt": claimed.attempt})
    service.succeed(claimed)
    found = read()
    assert joined(found) == WHOLE
    assert joined(read(after=found[0].seq), joined(found[:1])) == WHOLE
    assert joined(read(after=found[1].seq), joined(found[:2])) == WHOLE


@pytest.mark.parametrize("after", ["garbage", "", "1-2-3", "-1", "9" * 30, None, 5, "\ud800"])
def test_what_names_no_entry_is_refused(read: Read, after: Any) -> None:
    with pytest.raises(InvalidOption, match=r"after is .*, must be the seq of a delta"):
        read(after=after)
