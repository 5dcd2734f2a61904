"""Jobs that wait for their parts: the contract, on the real scripts and a real server."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from glyph_worker.client import Client
from glyph_worker.errors import DeadlinePassed, JobFailed, QuestionTooLong
from glyph_worker.job import Answer, FinishReason, JobStatus, Priority, Receipt, Stage
from glyph_worker.job_options import JobOptions
from glyph_worker.segments.excerpt import Excerpt
from glyph_worker.setting_sections import QueueSettings
from glyph_worker.settings import Settings
from glyph_worker.store.backlog import Backlog, Submission
from glyph_worker.store.connection import connect
from glyph_worker.store.job_record import ClaimedJob
from glyph_worker.store.jobs import ClaimResult, JobStore
from glyph_worker.store.keys import Keys
from glyph_worker.store.listing import JobListing
from glyph_worker.store.open import Stores
from glyph_worker.store.parts import Part, PartStore
from glyph_worker.store.readings import ReadingStore
from glyph_worker.worker import parts as worker_parts
from glyph_worker.worker.parts import Ask, Parked, Parts

KEYS = Keys("test")
ANSWER = Answer(text="42", finish_reason=FinishReason.STOP, receipt=Receipt(answer_tokens=2))


class House:
    """The stores of one database."""

    def __init__(self, url: str) -> None:
        client = connect(url)
        self.jobs = JobStore(client, KEYS, ttl_s=60, lease_s=30.0, window=8)
        self.parts = PartStore(client, KEYS, ttl_s=60, window=8)
        self.backlog = Backlog(client, KEYS, settings=QueueSettings(job_ttl_s=60))
        self.listing = JobListing(client, KEYS, self.jobs)
        self.redis = redis.Redis.from_url(url)

    def submit(self, job_id: str = "whole", **fields: Any) -> None:
        self.backlog.submit(_submission(job_id, **fields))

    def claim(self, job_id: str, owner: str = "w", stage: Stage = Stage.RENDERING) -> ClaimedJob:
        verdict, claimed = self.jobs.claim(job_id, owner=owner, stage=stage)
        assert verdict is ClaimResult.CLAIMED
        assert claimed is not None
        return claimed

    def park(self, claimed: ClaimedJob, *names: str) -> bool | None:
        parts = [_part(name) for name in names]
        return self.parts.park(claimed, parts, fields={"num_segments": len(names)})

    def messages(self, job_id: str) -> int:
        rows = self.redis.lrange("test:glyph.render", 0, -1)
        return sum(f'"id":"{job_id}"'.encode() in row for row in rows)

    def end(self, job_id: str) -> None:
        claimed = self.claim(job_id, stage=Stage.ENCODING)
        assert self.jobs.succeed(claimed, ANSWER)


def _submission(job_id: str, **fields: Any) -> Submission:
    plain: dict[str, Any] = {
        "job_id": job_id, "tenant": "t", "priority": Priority.INTERACTIVE, "document_digest": "d",
        "question": "why?", "options": JobOptions(), "cost": 9.0, "ttl_s": 60,
    }  # fmt: skip
    return Submission(**plain | fields)


def _part(name: str) -> Part:
    return Part(
        job_id=name, document_digest=f"d-{name}", question="why?", options=JobOptions(), cost=1.0
    )


@pytest.fixture
def house(broker_url: str) -> Any:
    house = House(broker_url)
    yield house
    for job_id in [raw.decode().rpartition(":")[2] for raw in house.redis.keys("test:job:*")]:
        house.jobs.cancel(job_id, tenant="t")
    house.redis.close()


def test_a_job_waits_for_its_parts_and_the_last_one_wakes_it_in_the_same_attempt(
    house: House,
) -> None:
    house.submit()
    first = house.claim("whole")
    assert house.park(first, "a", "b") is True
    waiting = house.jobs.get("whole")
    assert (waiting.status, waiting.stage) == (JobStatus.RUNNING, Stage.READING)
    assert waiting.progress.num_segments == 2
    before = house.messages("whole")
    house.end("a")
    assert house.jobs.get("whole").progress.num_segments_done == 1
    assert house.messages("whole") == before
    house.end("b")
    assert house.messages("whole") == before + 1
    again = house.claim("whole", owner="another")
    assert again.attempt == first.attempt
    assert house.jobs.succeed(again, ANSWER)
    assert not house.redis.exists("test:parts:whole")


def test_who_parked_a_job_has_no_right_to_it_any_more(house: House) -> None:
    house.submit()
    claimed = house.claim("whole")
    assert house.park(claimed, "a") is True
    assert house.park(claimed, "b") is None
    assert not house.jobs.succeed(claimed, ANSWER)
    verdict, _ = house.jobs.claim("whole", owner="w", stage=Stage.RENDERING)
    assert verdict is ClaimResult.PASSED  # a second message while it waits


def test_parts_that_ended_before_a_crash_are_not_asked_again(house: House) -> None:
    house.submit()
    house.park(house.claim("whole"), "a", "b")
    house.end("a")
    house.end("b")
    again = house.claim("whole")
    assert house.park(again, "a", "b") is True  # as after a crash before its end
    assert house.jobs.get("a").status is JobStatus.SUCCEEDED
    assert house.claim("whole").attempt == again.attempt  # nothing to wait for: it is queued


@pytest.mark.parametrize("held", [False, True])
def test_a_cancel_reaches_all_parts(house: House, held: bool) -> None:
    house.submit()
    house.park(house.claim("whole"), "a", "b")
    running = house.claim("a", stage=Stage.ENCODING) if held else None
    assert house.jobs.cancel("whole", tenant="t") == "cancelled"
    assert house.jobs.get("b").status is JobStatus.CANCELLED
    if running is None:
        assert house.jobs.get("a").status is JobStatus.CANCELLED
    else:
        assert house.jobs.update(running) is False  # within its next step
        assert house.jobs.end_cancelled(running)
    assert house.jobs.get("whole").status is JobStatus.CANCELLED


def test_a_job_that_was_taken_back_is_not_parked(house: House) -> None:
    house.submit()
    claimed = house.claim("whole")
    house.jobs.cancel("whole", tenant="t")
    assert house.park(claimed, "a") is False
    assert house.jobs.get_many(["a"]) == [None]
    assert house.jobs.end_cancelled(claimed)


def test_parts_take_their_tenants_turn_before_what_came_later(house: House) -> None:
    for n in range(12):  # more than the window: some wait for their turn
        house.submit(f"other {n}")
    house.submit("whole", tenant="t2")
    house.submit("later", tenant="t2")
    pending = "test:pending:0:t2"
    while house.redis.lpos(pending, "whole") is not None:
        row = house.redis.rpop("test:glyph.render")  # a worker takes a message
        assert row is not None
        house.backlog.dispatch()
    house.park(house.claim("whole"), "a", "b")
    rows = [raw.decode() for raw in house.redis.lrange(pending, 0, -1)]
    assert rows[-1] == "later" or rows == []
    assert rows == [name for name in ("a", "b", "later") if name in rows]
    for job_id in ("whole", "later"):
        house.jobs.cancel(job_id, tenant="t2")


def test_parts_are_in_no_list_and_in_no_count_of_jobs(house: House) -> None:
    house.submit()
    house.park(house.claim("whole"), "a")
    assert [job.id for job in house.listing.page("t", limit=9).jobs] == ["whole"]
    house.end("a")
    house.jobs.succeed(house.claim("whole"), ANSWER)
    assert [job.id for job in house.listing.page("t", limit=9).jobs] == ["whole"]
    assert house.redis.hget("test:totals", "succeeded") == b"1"
    assert float(house.redis.get("test:backlog") or 0) == 0


def test_a_part_that_vanished_with_its_servers_disk_is_waited_for_no_longer(house: House) -> None:
    house.submit()
    house.park(house.claim("whole"), "a", "b")
    house.end("a")
    house.redis.delete("test:job:b")
    assert house.jobs.unfinished(start=0, limit=10) == []
    assert house.jobs.get("whole").status is JobStatus.QUEUED
    house.claim("whole")
    house.redis.zrem("test:active", "b")


def test_a_parts_deadline_is_its_jobs(house: House) -> None:
    house.submit(deadline_s=0.01)
    house.redis.hset("test:job:whole", "deadline_at", "1e12")
    claimed = house.claim("whole")
    house.redis.hset("test:job:whole", "deadline_at", "1")
    house.park(claimed, "a")
    house.jobs.unfinished(start=0, limit=10)
    error = house.jobs.get("a").error
    assert error is not None
    assert error["code"] == DeadlinePassed.code
    verdict, _ = house.jobs.claim("whole", owner="w", stage=Stage.RENDERING)
    assert verdict is ClaimResult.FINAL
    error = house.jobs.get("whole").error
    assert error is not None
    assert error["code"] == DeadlinePassed.code


def test_a_reading_is_found_by_its_name_and_salt_alone(cache_url: str) -> None:
    client = connect(cache_url)
    readings = ReadingStore(client, KEYS, ttl_s=60)
    readings.put("ab" * 32, ANSWER, salt="s")
    assert readings.get_many(["ab" * 32, "cd" * 32], salt="s") == [ANSWER, None]
    assert readings.get_many(["ab" * 32], salt="other") == [None]
    client.close()


def test_a_map_is_found_by_its_name_and_salt_alone(cache_url: str) -> None:
    client = connect(cache_url)
    readings = ReadingStore(client, KEYS, ttl_s=60)
    rows = [(0, 10, "ab" * 32), (8, 20, "cd" * 32)]
    readings.put_map("ef" * 32, rows, salt="s")
    assert readings.get_map("ef" * 32, salt="s") == rows
    assert readings.get_map("ef" * 32, salt="other") == []
    assert readings.get_map("ab" * 32, salt="s") == []
    readings.put("ab" * 32, ANSWER, salt="s")
    assert readings.get_map("ab" * 32, salt="s") == [], "an answer is no map"
    client.close()


def test_a_question_that_fits_no_part_ends_the_job_after_the_first_ones(
    broker_url: str, cache_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_parts, "WAVE", 2)
    settings = Settings.load(environ={"GLYPH_BROKER_URL": broker_url, "GLYPH_CACHE_URL": cache_url})
    stores = Stores.open(settings)
    client = Client(settings)
    whole = client.submit("a text\n" * 9, "why?", history=[("who?", "x" * 999)]).id

    def held(job_id: str) -> ClaimedJob:
        verdict, claimed = stores.jobs.claim(job_id, owner="w", stage=Stage.RENDERING)
        assert claimed is not None, verdict
        return claimed

    def parts() -> Parts:
        return Parts(stores, held(whole), salt="s", style_digest="d", identity="reader")

    text = "".join(f"line {n}\n" for n in range(20))
    asks = [
        Ask.of(Excerpt.of(text, [(at, at + 6)]), "why?", JobOptions()) for at in range(0, 70, 7)
    ]
    with pytest.raises(Parked):
        parts().answers(asks)
    asked = [key.decode().rpartition(":")[2] for key in stores.broker.keys("glyph:job:*.*")]
    assert len(asked) == 2
    wire = QuestionTooLong("history of 1 turns needs 999 tokens").to_wire()
    for job_id in asked:
        assert stores.jobs.fail(job_id, wire, held(job_id))
    with pytest.raises(JobFailed, match="history of 1 turns") as caught:
        parts().answers(asks)
    assert caught.value.code == "question_too_long"
    assert len(stores.broker.keys("glyph:job:*.*")) == 2
    stores.jobs.fail(whole, wire, held(whole))
    # What `caught` holds is left to the collector, which closes nothing in an order of ours.
    for one in (client._redis, stores.broker, stores.readings._client):
        one.close()
