"""Whose turn it is: admission, idempotency, fairness, deadlines, strikes, estimates."""

from __future__ import annotations

import dataclasses
import json
import random
import time
from collections import Counter
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from glyph_worker.document import Document, Sheet, WordPlace
from glyph_worker.errors import (
    Conflict,
    InvalidOption,
    QueueFull,
    QuotaExceeded,
    StoreUnavailable,
)
from glyph_worker.job import Answer, FinishReason, JobStatus, Priority, Stage
from glyph_worker.job_options import JobOptions
from glyph_worker.setting_sections import QueueSettings
from glyph_worker.store.backlog import Backlog, Submission
from glyph_worker.store.blobs import BlobStore
from glyph_worker.store.connection import connect
from glyph_worker.store.job_record import ClaimedJob
from glyph_worker.store.jobs import MAX_STRIKES, ClaimResult, JobStore
from glyph_worker.store.keys import Keys

KEYS = Keys("test")
MIN_SAMPLES = 20
"""Jobs that must have ended before there is an estimate; common.lua's."""
ANSWER = Answer(text="42", finish_reason=FinishReason.STOP)


class Line:
    """A backlog and its records, with no worker but ourselves."""

    def __init__(self, url: str, **queue: Any) -> None:
        chosen = QueueSettings(**{"job_ttl_s": 60, "dispatch_window": 1_000} | queue)
        self.url = url
        self.client = connect(url)
        self.backlog = Backlog(self.client, KEYS, settings=chosen)
        self.jobs = JobStore(self.client, KEYS, ttl_s=60, lease_s=30)
        self.number = 0

    def submit(self, tenant: str = "t", *, bulk: bool = False, **fields: Any) -> None:
        self.number += 1
        plain: dict[str, Any] = {
            "job_id": f"{tenant}-{self.number}",
            "tenant": tenant,
            "priority": Priority.BULK if bulk else Priority.INTERACTIVE,
            "document_digest": "d",
            "question": "why?",
            "options": JobOptions(),
            "cost": 1.0,
            "ttl_s": 60,
        }
        self.backlog.submit(Submission(**plain | fields))

    def receive(self) -> str:
        """The id in the next message."""
        raw = self.client.rpop("test:glyph.render")
        assert isinstance(raw, bytes)
        return str(json.loads(raw)["headers"]["id"])

    def claim(self, job_id: str, owner: str = "w") -> ClaimedJob:
        verdict, order = self.jobs.claim(job_id, owner=owner, stage=Stage.ENCODING)
        assert order is not None, verdict
        return order

    def die(self, job_id: str) -> None:
        self.client.hset(KEYS.job(job_id), "lease_until", "0")


@pytest.fixture
def line(broker_url: str) -> Line:
    return Line(broker_url)


def test_the_same_key_and_payload_give_the_same_job(line: Line) -> None:
    first = line.backlog.submit(_keyed("a", payload="p"))
    again = line.backlog.submit(_keyed("b", payload="p"))
    assert (first.job_id, first.is_new) == ("a", True)
    assert (again.job_id, again.is_new) == ("a", False)


def test_the_same_key_with_another_payload_conflicts_and_names_the_job(line: Line) -> None:
    line.backlog.submit(_keyed("a", payload="p"))
    with pytest.raises(Conflict, match="another payload") as caught:
        line.backlog.submit(_keyed("b", payload="q"))
    assert caught.value.details["job_id"] == "a"
    assert line.backlog.submit(_keyed("c", payload="q", tenant="other")).job_id == "c"


def _keyed(job_id: str, *, payload: str, tenant: str = "t") -> Submission:
    return Submission(
        job_id=job_id, tenant=tenant, priority=Priority.INTERACTIVE, document_digest="d",
        question="?", options=JobOptions(), cost=1, ttl_s=60, idempotency_key="k",
        payload_digest=payload,
    )  # fmt: skip


def test_a_full_queue_refuses_with_a_time_to_come_back(broker_url: str) -> None:
    line = Line(broker_url, max_jobs=3)
    for _ in range(3):
        line.submit()
    with pytest.raises(QueueFull, match="3 jobs are unfinished, limit is 3") as caught:
        line.submit()
    assert caught.value.retry_after_s > 0


def test_a_tenants_quota_is_its_own_and_ended_jobs_do_not_count(broker_url: str) -> None:
    line = Line(broker_url, max_jobs_per_tenant=2)
    line.submit("a", job_id="first")
    line.submit("a")
    with pytest.raises(QuotaExceeded, match="'a' has 2"):
        line.submit("a")
    line.submit("b")
    line.jobs.succeed(line.claim("first"), ANSWER)
    line.submit("a")


def test_only_a_window_of_jobs_is_published_and_the_rest_follow_their_turn(broker_url: str) -> None:
    line = Line(broker_url, dispatch_window=2)
    for _ in range(5):
        line.submit()
    assert line.client.llen("test:glyph.render") == 2
    assert line.backlog.dispatch() == 0
    line.receive()
    assert line.backlog.dispatch() == 1
    assert line.client.llen("test:glyph.render") == 2


def test_a_claim_lets_the_next_follow_so_that_the_line_never_waits_for_a_look(
    broker_url: str,
) -> None:
    line = Line(broker_url, dispatch_window=2)
    jobs = JobStore(line.client, KEYS, ttl_s=60, lease_s=30, window=2)
    for n in range(4):
        line.submit(job_id=f"j{n}")
    assert line.receive() == "j0"
    assert jobs.claim("j0", owner="w", stage=Stage.RENDERING)[0] is ClaimResult.CLAIMED
    assert [line.receive(), line.receive()] == ["j1", "j2"]
    assert line.client.llen("test:glyph.render") == 0


def test_a_loud_tenant_does_not_delay_another_by_more_than_the_window(broker_url: str) -> None:
    line = Line(broker_url, dispatch_window=4)
    for _ in range(300):
        line.submit("loud")
    line.submit("quiet", job_id="mine")
    served = []
    while "mine" not in served:
        served.append(line.receive())
        line.backlog.dispatch()
    assert len(served) <= 4 + 3


def test_tenants_share_by_cost_not_by_count(broker_url: str) -> None:
    line = Line(broker_url, dispatch_window=1)
    for _ in range(40):
        line.submit("heavy", cost=4.0)
        line.submit("light", cost=1.0)
    spent: Counter[str] = Counter()
    for _ in range(40):
        tenant = line.receive().partition("-")[0]
        spent[tenant] += 4 if tenant == "heavy" else 1
        line.backlog.dispatch()
    assert 0.6 < spent["heavy"] / spent["light"] < 1.7


def test_interactive_goes_first_and_bulk_still_moves(broker_url: str) -> None:
    line = Line(broker_url, dispatch_window=1)
    for _ in range(40):
        line.submit("t", bulk=True, job_id=f"bulk-{line.number}")
    for _ in range(40):
        line.submit("t")
    served = []
    for _ in range(33):
        served.append(line.receive().partition("-")[0])
        line.backlog.dispatch()
    assert 3 <= served.count("bulk") <= 6


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.booleans(), st.floats(0.1, 9)),
        min_size=1,
        max_size=25,
    ),
    st.integers(1, 6),
)
def test_every_job_is_published_exactly_once(
    redis_server: Any, arrivals: list[tuple[str, bool, float]], window: int
) -> None:
    url = redis_server.url(5)
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    line = Line(url, dispatch_window=window)
    for tenant, bulk, cost in arrivals:
        line.submit(tenant, bulk=bulk, cost=cost)
    published = set()
    for _ in arrivals:
        published.add(line.receive())
        line.backlog.dispatch()
    assert len(published) == len(arrivals)
    assert line.client.llen("test:glyph.render") == 0


def test_a_job_cancelled_while_it_waits_never_gets_a_turn(broker_url: str) -> None:
    line = Line(broker_url, dispatch_window=1)
    line.submit()
    line.submit(job_id="gone")
    line.submit(job_id="next")
    assert line.jobs.cancel("gone", tenant="t") == "cancelled"
    line.receive()
    line.backlog.dispatch()
    assert line.receive() == "next"


def test_a_job_past_its_deadline_fails_at_the_claim_and_in_the_queue(line: Line) -> None:
    for job_id in ("claimed", "waiting"):
        line.submit(job_id=job_id, deadline_s=-1.0)
    assert line.jobs.claim("claimed", owner="w", stage=Stage.ENCODING)[0] is ClaimResult.FINAL
    line.jobs.unfinished(start=0, limit=10)
    for job_id in ("claimed", "waiting"):
        job = line.jobs.get(job_id)
        assert job.status is JobStatus.FAILED
        assert job.error is not None
        assert job.error["code"] == "deadline_passed"


def test_a_job_that_kills_its_workers_is_filed_as_dead(line: Line) -> None:
    line.submit(job_id="poison")
    for strike in range(MAX_STRIKES):
        order = line.claim("poison", f"w{strike}")
        assert order.strikes == strike
        assert line.jobs.admit(order, batch_mates=["a", "b"])
        line.die("poison")
    assert line.jobs.claim("poison", owner="last", stage=Stage.ENCODING)[0] is ClaimResult.FINAL
    job = line.jobs.get("poison")
    assert job.error is not None
    assert job.error["code"] == "poisonous"
    assert line.jobs.dead(10) == ["poison"]


def test_a_death_beside_which_a_job_only_waited_is_no_strike(line: Line) -> None:
    line.submit(job_id="bystander")
    for attempt in range(6):
        order = line.claim("bystander", f"w{attempt}")
        line.die("bystander")
    assert (order.attempt, order.strikes) == (6, 0)


def test_an_orderly_end_of_an_attempt_clears_the_strikes(line: Line) -> None:
    line.submit(job_id="j")
    line.jobs.admit(line.claim("j", "w1"), batch_mates=())
    line.die("j")
    order = line.claim("j", "w2")
    assert order.strikes == 1
    line.jobs.hand_back(order)
    assert line.claim("j", "w3").strikes == 0


def test_totals_and_events_tell_what_happened(line: Line) -> None:
    line.submit(job_id="j")
    line.jobs.succeed(line.claim("j"), ANSWER)
    assert line.client.hgetall(KEYS.totals) == {b"succeeded": b"1"}
    events = [fields[b"event"] for _, fields in line.client.xrange(KEYS.events)]
    assert events == [b"queued", b"claimed", b"succeeded"]


def test_no_estimate_is_given_before_there_is_ground_for_one(line: Line) -> None:
    line.submit(job_id="j")
    assert line.backlog.outlook("j").eta is None


@pytest.mark.parametrize("slower", [1, 4])
def test_nine_of_ten_jobs_end_within_the_p90_they_were_told(line: Line, slower: int) -> None:
    """Also when everything takes four times as long from the middle on."""
    chance = random.Random(5)
    told = []
    for n in range(400):
        job_id, cost = f"j{n}", chance.uniform(0.1, 3)
        line.submit(job_id=job_id, cost=cost)
        eta = line.backlog.outlook(job_id).eta
        took_s = 10 * cost * chance.lognormvariate(0, 0.6) * (slower if n >= 200 else 1)
        line.client.hset(KEYS.job(job_id), "created_at", time.time() - took_s)
        line.jobs.succeed(line.claim(job_id), ANSWER)
        if eta is not None:
            told.append((took_s <= eta.p50_s, took_s <= eta.p90_s))
    assert len(told) == 400 - MIN_SAMPLES - 1, "the first had nothing to be measured against"
    within_p50, within_p90 = (sum(column) / len(told) for column in zip(*told, strict=True))
    assert 0.85 <= within_p90 <= 0.95
    assert 0.42 <= within_p50 <= 0.58


def test_estimates_grow_with_the_line_and_come_from_what_was_seen(line: Line) -> None:
    for n in range(MIN_SAMPLES + 2):
        line.submit(job_id=f"past-{n}")
        line.jobs.succeed(line.claim(f"past-{n}"), ANSWER)
    alone = line.backlog.outlook_of_cost(1.0, priority=Priority.BULK, tenant="t").eta
    for _ in range(20):
        line.submit()
    behind = line.backlog.outlook_of_cost(1.0, priority=Priority.BULK, tenant="t").eta
    assert alone is not None
    assert behind is not None
    assert behind.p50_s > 5 * alone.p50_s


def test_place_in_line_counts_ones_own_and_the_others_turns(broker_url: str) -> None:
    line = Line(broker_url, dispatch_window=1)
    line.submit("a")
    for _ in range(4):
        line.submit("a")
    line.submit("b", job_id="b-last")
    assert line.backlog.outlook("b-last").num_before == 1 + 1


def test_a_call_with_one_conflict_queues_none(line: Line) -> None:
    line.backlog.submit(_keyed("a", payload="p"))
    fresh = dataclasses.replace(_keyed("b", payload="q"), idempotency_key="")
    with pytest.raises(Conflict):
        line.backlog.submit_many([fresh, _keyed("c", payload="q")])
    assert line.jobs.newest(10) == ["a"]
    assert line.client.exists(KEYS.job("b")) == 0


@pytest.mark.parametrize("limit", ["max_jobs", "max_jobs_per_tenant"])
def test_a_call_that_does_not_fit_queues_none(broker_url: str, limit: str) -> None:
    line = Line(broker_url, **{limit: 4})
    line.submit()
    jobs = [dataclasses.replace(_keyed(f"j{n}", payload="p"), idempotency_key="") for n in range(4)]
    with pytest.raises((QueueFull, QuotaExceeded), match="4 more were asked for, none is queued"):
        line.backlog.submit_many(jobs)
    assert line.jobs.newest(10) == ["t-1"]
    assert [one.is_new for one in line.backlog.submit_many(jobs[:3])] == [True] * 3
    with pytest.raises(InvalidOption, match=r"5 questions in one call.* limit .* is 4"):
        line.backlog.submit_many([*jobs, _keyed("j9", payload="p")])


def test_a_repeated_call_gives_its_jobs_again_also_when_the_queue_is_full(broker_url: str) -> None:
    line = Line(broker_url, max_jobs=3)
    jobs = [
        dataclasses.replace(_keyed(f"j{n}", payload="p"), idempotency_key=f"k{n}") for n in range(3)
    ]
    line.backlog.submit_many(jobs)
    again = line.backlog.submit_many([dataclasses.replace(job, job_id="new") for job in jobs])
    assert [(one.job_id, one.is_new) for one in again] == [(f"j{n}", False) for n in range(3)]


def test_ten_thousand_jobs_of_one_call_are_queued_in_their_order(line: Line) -> None:
    jobs = [
        dataclasses.replace(_keyed(f"j{n}", payload="p"), idempotency_key="") for n in range(10_000)
    ]
    assert [one.job_id for one in line.backlog.submit_many(jobs)] == [job.job_id for job in jobs]
    assert [line.receive() for _ in range(3)] == ["j0", "j1", "j2"]


def test_a_document_comes_back_with_the_pages_it_was_brought_as(line: Line) -> None:
    blobs = BlobStore(line.client, KEYS, ttl_s=60)
    sheet = Sheet(number=1, width=10.5, height=20, start=0, end=5, picture=b"\x89PNG", by_ocr=True)
    sheet = sheet.place_words([WordPlace(0, 4, 0.1, 0.2, 0.3, 0.4)])
    document = Document.of_sheets("port\n", [sheet], max_bytes=9, max_picture_bytes=9)
    blobs.put(document)
    assert blobs.get(document.digest) == document
    line.client.set(KEYS.blob(document.digest), b"\x93 no document", ex=60)
    with pytest.raises(StoreUnavailable, match="is damaged"):
        blobs.get(document.digest)


def test_a_waiting_job_outlives_every_time_to_live(line: Line) -> None:
    """Its record, its document, its place in line, its idempotency key."""
    blobs = BlobStore(line.client, KEYS, ttl_s=60)
    document = Document.of("a text", max_bytes=100)
    blobs.put(document)
    assert 0 < line.client.ttl(KEYS.blob(document.digest)) <= 60
    waiting = dataclasses.replace(_keyed("w", payload="p"), document_digest=document.digest)
    line.backlog.submit(waiting)
    blobs.put(document)
    assert blobs.get(document.digest) == document
    order = line.claim("w")
    assert line.jobs.update(order)
    assert line.jobs.hand_back(order)
    month_s = 30 * 86_400
    expiring = {
        key.decode(): line.client.ttl(key)
        for key in line.client.scan_iter()
        if 0 <= line.client.ttl(key) < month_s - 60
    }
    assert set(expiring) <= {"test:events", "test:turn", "test:deficit:0"}
    assert line.jobs.cancel("w", tenant="t") == "cancelled"
    assert 0 < line.client.ttl(KEYS.job("w")) <= 60
    assert 0 < line.client.ttl(KEYS.blob(document.digest)) <= 60
    assert 0 < line.client.ttl("test:idempotency:t:k") <= 60


def test_a_document_is_kept_until_the_last_job_that_needs_it_ends(line: Line) -> None:
    blobs = BlobStore(line.client, KEYS, ttl_s=60)
    document = Document.of("a text", max_bytes=100)
    blobs.put(document)
    for name in ("a", "b"):
        line.submit(job_id=name, document_digest=document.digest)
    line.jobs.succeed(line.claim("a"), ANSWER)
    assert line.client.ttl(KEYS.blob(document.digest)) == -1
    line.jobs.succeed(line.claim("b"), ANSWER)
    assert 0 < line.client.ttl(KEYS.blob(document.digest)) <= 60
    assert line.client.exists(KEYS.needed) == 0


def test_a_key_whose_record_is_gone_gives_a_new_job(line: Line) -> None:
    line.backlog.submit(_keyed("a", payload="p"))
    line.jobs.cancel("a", tenant="t")
    line.client.delete(KEYS.job("a"))
    again = line.backlog.submit(_keyed("b", payload="another"))
    assert (again.job_id, again.is_new) == ("b", True)


def test_what_an_older_version_left_to_expire_is_kept_by_the_next_look(line: Line) -> None:
    blobs = BlobStore(line.client, KEYS, ttl_s=60)
    document = Document.of("a text", max_bytes=100)
    blobs.put(document)
    line = Line(line.url, dispatch_window=1)
    line.submit(job_id="published")
    line.submit(job_id="old", document_digest=document.digest)
    keys = KEYS.job("old"), KEYS.blob(document.digest), "test:pending:0:t", "test:ring:0"
    assert all(line.client.expire(key, 50) for key in keys)
    line.client.delete(KEYS.needed)
    line.jobs.unfinished(start=0, limit=10)
    assert [line.client.ttl(key) for key in keys] == [-1] * 4


def test_a_document_that_an_older_versions_worker_has_read_is_kept_for_the_others(
    line: Line,
) -> None:
    """That worker gives it an expiry, although jobs of this version still wait for it."""
    blobs = BlobStore(line.client, KEYS, ttl_s=60)
    document = Document.of("a text", max_bytes=100)
    blobs.put(document)
    line.submit(job_id="new", document_digest=document.digest)
    line.client.expire(KEYS.blob(document.digest), 10)
    line.jobs.unfinished(start=0, limit=10)
    assert line.client.ttl(KEYS.blob(document.digest)) == -1


def test_a_document_of_a_job_that_an_older_version_ended_is_let_go(line: Line) -> None:
    blobs = BlobStore(line.client, KEYS, ttl_s=60)
    document = Document.of("a text", max_bytes=100)
    blobs.put(document)
    line.submit(job_id="old", document_digest=document.digest)
    line.client.hset(KEYS.job("old"), "status", "succeeded")
    line.client.expire(KEYS.job("old"), 50)
    line.jobs.unfinished(start=0, limit=10)
    assert 0 < line.client.ttl(KEYS.blob(document.digest)) <= 60
    assert line.client.exists(KEYS.needed) == 0


def test_records_that_were_lost_do_not_stay_in_the_quota(broker_url: str) -> None:
    line = Line(broker_url, max_jobs_per_tenant=2)
    for name in ("lost", "kept"):
        line.submit(job_id=name)
    line.client.delete(KEYS.job("lost"))
    line.submit(job_id="next")
    with pytest.raises(QuotaExceeded, match="has 2"):
        line.submit(job_id="one too many")


def test_webhooks_that_nobody_calls_are_forgotten_in_time(line: Line) -> None:
    line.submit(job_id="j", webhook="http://a.example/")
    line.jobs.cancel("j", tenant="t")
    assert line.client.ttl(KEYS.webhooks) > 0
