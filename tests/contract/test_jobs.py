"""The record store's contract, on the real scripts and a real server."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from waiting import wait_until

from glyph_worker import codec
from glyph_worker.errors import StoreUnavailable, UnknownJob
from glyph_worker.job import (
    TRANSITIONS,
    Answer,
    FinishReason,
    JobStatus,
    Priority,
    Progress,
    Receipt,
    Stage,
)
from glyph_worker.job_options import JobOptions
from glyph_worker.setting_sections import QueueSettings
from glyph_worker.store.backlog import Backlog, Submission
from glyph_worker.store.connection import connect
from glyph_worker.store.job_record import ClaimedJob
from glyph_worker.store.jobs import ClaimResult, JobStore
from glyph_worker.store.keys import Keys

ANSWER = Answer(text="42", finish_reason=FinishReason.STOP, receipt=Receipt(answer_tokens=2))
OTHER = Answer(text="43", finish_reason=FinishReason.STOP)


def _store(url: str, *, lease_s: float = 30.0) -> JobStore:
    return JobStore(connect(url), Keys("test"), ttl_s=60, lease_s=lease_s)


def _submission(job_id: str = "j", **fields: Any) -> Submission:
    plain: dict[str, Any] = {
        "job_id": job_id,
        "tenant": "t",
        "priority": Priority.INTERACTIVE,
        "document_digest": "d",
        "question": "why?",
        "options": JobOptions(max_new_tokens=7),
        "cost": 1.0,
        "ttl_s": 60,
    }
    return Submission(**plain | fields)


def _create(url: str, job_id: str = "j", **fields: Any) -> None:
    queued = _backlog(url).submit(_submission(job_id, **fields))
    assert (queued.job_id, queued.is_new) == (job_id, True)


def _backlog(url: str, **settings: Any) -> Backlog:
    return Backlog(connect(url), Keys("test"), settings=QueueSettings(job_ttl_s=60, **settings))


def _claim(store: JobStore, owner: str, stage: Stage = Stage.RENDERING) -> ClaimedJob:
    verdict, order = store.claim("j", owner=owner, stage=stage)
    assert verdict is ClaimResult.CLAIMED
    assert order is not None
    return order


@pytest.fixture
def store(broker_url: str) -> JobStore:
    return _store(broker_url)


def test_an_id_without_a_record_is_unknown_never_waiting(store: JobStore, broker_url: str) -> None:
    with pytest.raises(UnknownJob, match="'nobody'"):
        store.get("nobody")
    assert store.claim("nobody", owner="w", stage=Stage.RENDERING) == (ClaimResult.UNKNOWN, None)
    assert store.cancel("nobody", tenant="t") == "unknown"


def test_a_record_is_never_overwritten_by_a_second_submit(store: JobStore, broker_url: str) -> None:
    _create(broker_url)
    first = store.get("j")
    again = _backlog(broker_url).submit(_submission(document_digest="e", question="?"))
    assert (again.is_new, store.get("j")) == (False, first)


def test_a_claim_hands_over_what_was_submitted(store: JobStore, broker_url: str) -> None:
    _create(broker_url)
    order = _claim(store, "w")
    assert (order.question, order.document_digest, order.attempt) == ("why?", "d", 1)
    assert order.options == JobOptions(max_new_tokens=7)
    job = store.get("j")
    assert (job.status, job.stage, job.attempt) == (JobStatus.RUNNING, Stage.RENDERING, 1)
    assert job.created_at <= job.started_at <= time.time() + 1


def test_what_only_a_newer_release_knows_is_left_out_of_a_look(
    store: JobStore, broker_url: str
) -> None:
    _create(broker_url)
    order = _claim(store, "a", Stage.ENCODING)
    with connect(broker_url) as client:
        client.hset("test:job:j", "stage", "dreaming")
        job = store.get("j")
        assert (job.status, job.stage) == (JobStatus.RUNNING, None)
        assert store.succeed(order, ANSWER)
        later = ANSWER.to_fields() | {"finish_reason": "bored", "mood": 3}
        client.hset("test:job:j", "answer", codec.pack("answer", later))
    assert store.answer("j") == ANSWER


def test_a_handover_stays_the_same_attempt_and_carries_its_notes(
    store: JobStore, broker_url: str
) -> None:
    _create(broker_url)
    assert store.hand_over(_claim(store, "r"), num_pages=3, notes={"render_ms": 1.5})
    waiting = store.get("j")
    assert (waiting.status, waiting.stage) == (JobStatus.QUEUED, Stage.ENCODING)
    order = _claim(store, "a", Stage.ENCODING)
    assert order.attempt == 1
    assert order.notes["render_ms"] == 1.5
    assert order.notes["queue_ms"] > 0
    assert store.get("j").progress.num_pages == 3


def test_a_second_message_to_render_a_rendered_job_finds_nothing_to_do(
    store: JobStore, broker_url: str
) -> None:
    _create(broker_url)
    store.hand_over(_claim(store, "r1"), num_pages=3, notes={})
    waiting = store.get("j")
    assert store.claim("j", owner="r2", stage=Stage.RENDERING) == (ClaimResult.PASSED, None)
    assert store.get("j") == waiting
    with redis.Redis.from_url(broker_url) as client:
        assert client.llen("test:glyph.answer") == 1
    _claim(store, "a", Stage.ENCODING)


def test_a_job_held_by_a_living_worker_is_not_given_away(store: JobStore, broker_url: str) -> None:
    _create(broker_url)
    _claim(store, "w1")
    assert store.claim("j", owner="w2", stage=Stage.RENDERING)[0] is ClaimResult.HELD


def test_a_dead_workers_job_goes_to_the_next_and_the_zombie_is_fenced(broker_url: str) -> None:
    store = _store(broker_url, lease_s=2.0)  # one second on the record
    _create(broker_url)
    zombie = _claim(store, "w1")
    wait_until(
        lambda: store.claim("j", owner="w2", stage=Stage.RENDERING)[0] is not ClaimResult.HELD,
        description="the lease of the dead worker is over",
    )
    assert store.get("j").attempt == 2
    assert store.update(zombie) is None
    assert not store.succeed(zombie, ANSWER)
    assert not store.fail("j", {"code": "x", "message": "", "details": {}}, zombie)
    assert not store.hand_back(zombie)
    assert store.get("j").status is JobStatus.RUNNING


def test_a_redelivered_job_keeps_its_first_answer(store: JobStore, broker_url: str) -> None:
    _create(broker_url)
    order = _claim(store, "w")
    assert store.succeed(order, ANSWER, Progress(num_answer_tokens=2))
    assert not store.succeed(order, OTHER)
    assert store.claim("j", owner="w2", stage=Stage.ENCODING)[0] is ClaimResult.FINAL
    assert store.answer("j") == ANSWER
    assert store.get("j").progress.num_answer_tokens == 2


def test_a_queued_job_is_cancelled_at_once_and_stays_so(store: JobStore, broker_url: str) -> None:
    _create(broker_url)
    assert store.cancel("j", tenant="t") == "cancelled"
    assert store.claim("j", owner="w", stage=Stage.RENDERING)[0] is ClaimResult.FINAL
    assert store.cancel("j", tenant="t") == "final"
    assert store.get("j").status is JobStatus.CANCELLED


def test_a_running_job_hears_of_its_cancel_at_the_next_update(
    store: JobStore, broker_url: str
) -> None:
    _create(broker_url)
    order = _claim(store, "w")
    assert store.update(order, stage=Stage.DECODING, progress=Progress(num_answer_tokens=1)) is True
    assert store.cancel("j", tenant="t") == "requested"
    assert store.update(order) is False
    assert store.end_cancelled(order)
    assert store.get("j").status is JobStatus.CANCELLED


def test_a_cancel_outlives_a_worker_that_never_heard_of_it(broker_url: str) -> None:
    store = _store(broker_url, lease_s=2.0)
    _create(broker_url)
    order = _claim(store, "w1")
    store.cancel("j", tenant="t")
    assert store.hand_back(order)
    assert store.claim("j", owner="w2", stage=Stage.RENDERING)[0] is ClaimResult.CANCELLED
    assert store.get("j").status is JobStatus.CANCELLED


def test_only_one_of_many_claims_at_once_wins(broker_url: str) -> None:
    _create(broker_url)
    verdicts: list[ClaimResult] = []
    start = threading.Barrier(8)

    def one(owner: str) -> None:
        store = _store(broker_url)
        start.wait()
        verdicts.append(store.claim("j", owner=owner, stage=Stage.RENDERING)[0])

    threads = [threading.Thread(target=one, args=(f"w{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(verdicts) == [ClaimResult.CLAIMED] + [ClaimResult.HELD] * 7


def test_many_records_are_read_in_one_round_trip(store: JobStore, broker_url: str) -> None:
    for job_id in ("a", "b"):
        _create(broker_url, job_id)
    found = store.get_many(["a", "x", "b"])
    assert [job and job.id for job in found] == ["a", None, "b"]


def _forgets(store: JobStore, times: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The server forgets all scripts once one is loaded, as a restart at that moment has it."""
    server, loads = store._client, []
    load = server.script_load

    def script_load(script: Any) -> Any:
        loads.append(load(script))
        if len(loads) <= times:
            server.script_flush()
        return loads[-1]

    server.script_flush()
    monkeypatch.setattr(server, "script_load", script_load)
    return loads


def test_a_server_that_restarts_between_load_and_run_is_asked_again(
    store: JobStore, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _create(broker_url)
    order = _claim(store, "w")
    loads = _forgets(store, 1, monkeypatch)
    assert store.succeed(order, ANSWER)
    assert len(loads) == 2
    assert store.get("j").status is JobStatus.SUCCEEDED


def test_one_that_keeps_no_script_is_unavailable_and_nothing_has_run(
    store: JobStore, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _create(broker_url)
    order = _claim(store, "w")
    _forgets(store, 100, monkeypatch)
    with pytest.raises(StoreUnavailable, match="forgets scripts"):
        store.succeed(order, ANSWER)
    assert store.get("j").status is JobStatus.RUNNING


class Protocol(RuleBasedStateMachine):
    """Submit, claim, work, die, cancel in any order: the real scripts against the legal moves."""

    orders: Bundle[ClaimedJob] = Bundle("orders")
    url: str

    @initialize()
    def submit(self) -> None:
        self.client = redis.Redis.from_url(self.url)
        self.client.flushdb()
        self.store = _store(self.url)
        _create(self.url)
        self.seen = JobStatus.QUEUED
        self.final: tuple[JobStatus, Answer | None] | None = None
        self.attempt = 0
        self.num_owners = 0
        self.num_commits = 0
        self.holder: ClaimedJob | None = None

    def teardown(self) -> None:
        self.client.close()

    @rule(target=orders, stage=st.sampled_from(Stage))
    def claim(self, stage: Stage) -> ClaimedJob:
        self.num_owners += 1
        verdict, order = self.store.claim("j", owner=f"w{self.num_owners}", stage=stage)
        assert (order is not None) == (verdict is ClaimResult.CLAIMED)
        if order is None:
            if self.store.get("j").status.final:
                self.holder = None  # also where three workers died at work on it
            return ClaimedJob(
                job_id="j", attempt=0, owner="nobody", tenant="t", document_digest="",
                question="", packed_options=b"", created_at=0, priority=Priority.BULK,
                deadline_at=None, ahead_s=0.0, strikes=0, notes={},
            )  # fmt: skip
        assert self.final is None
        assert order.attempt >= max(1, self.attempt)
        self.attempt = order.attempt
        self.holder = order
        return order

    @rule()
    def worker_dies(self) -> None:
        """Its lease runs out; nobody tells the record."""
        if self.client.hget("test:job:j", "status") == b"running":
            self.client.hset("test:job:j", "lease_until", "0")

    @rule(order=orders)
    def heartbeat(self, order: ClaimedJob) -> None:
        assert (self.store.update(order) is not None) == (order is self.holder)

    @rule(order=orders, over=st.booleans())
    def release(self, order: ClaimedJob, over: bool) -> None:
        done = (
            self.store.hand_over(order, num_pages=1, notes={})
            if over
            else self.store.hand_back(order)
        )
        assert done == (order is self.holder)
        if done:
            self.holder = None

    @rule(order=consumes(orders), text=st.sampled_from(["42", "43"]))
    def succeed(self, order: ClaimedJob, text: str) -> None:
        done = self.store.succeed(order, Answer(text=text, finish_reason=FinishReason.STOP))
        assert done == (order is self.holder)
        self._ended(done)

    @rule(order=orders)
    def fail(self, order: ClaimedJob) -> None:
        error = {"code": "x", "message": "", "details": {}}
        done = self.store.fail("j", error, order)
        assert done == (order is self.holder)
        self._ended(done)

    @rule(order=orders)
    def end_cancelled(self, order: ClaimedJob) -> None:
        done = self.store.end_cancelled(order)
        assert done == (order is self.holder)
        self._ended(done)

    @rule()
    def cancel(self) -> None:
        outcome = self.store.cancel("j", tenant="t")
        assert (outcome == "final") == (self.final is not None)
        if outcome == "cancelled":
            self._ended(True)

    def _ended(self, done: bool) -> None:
        if done:
            self.num_commits += 1
            self.holder = None

    @invariant()
    def the_record_moved_legally(self) -> None:
        if not hasattr(self, "store"):
            return
        job = self.store.get("j")
        if job.status is not self.seen:
            reachable = TRANSITIONS[self.seen]
            via = {to for step in reachable for to in TRANSITIONS[step]}
            assert job.status in reachable | via
            self.seen = job.status
        if job.status.final:
            if job.status is JobStatus.CANCELLED:
                self.holder = None
            state = (job.status, self.store.answer("j"))
            assert self.final in (None, state), "a final status changed"
            self.final = state
            assert self.client.zscore("test:active", "j") is None
        assert self.num_commits <= 1
        assert job.attempt >= self.attempt
        # The time to live begins at the end.
        assert (self.client.ttl("test:job:j") > 0) == job.status.final


def test_no_order_of_events_breaks_the_protocol(broker_url: str) -> None:
    Protocol.url = broker_url
    run_state_machine_as_test(
        Protocol,
        settings=settings(
            max_examples=150,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
