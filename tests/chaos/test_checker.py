"""The checker sees what it is there to see: histories with one planted sin each."""

from __future__ import annotations

from typing import Any

import pytest
from chaos.history import Blow, Event, Findings, Outcome, check
from chaos.plan import EXTRA, Amounts, FaultKind, JobKind, draw_plan

from glyph_worker.job import JobStatus

GOOD = ("queued", "claimed 1 r", "handed_over 1 r", "claimed 1 a", "succeeded 1 a")


def _events(*lines: str, job_id: str = "j") -> list[Event]:
    events = []
    for at, line in enumerate(lines):
        what, attempt, owner = [*line.split(), "0", ""][:3]
        events.append(
            Event(at=float(at), job_id=job_id, what=what, attempt=int(attempt), owner=owner)
        )
    return events


def _outcome(kind: JobKind = JobKind.PLAIN, **fields: Any) -> Outcome:
    plain: dict[str, Any] = {
        "job_id": "j",
        "kind": kind,
        "accepted_at": 0.0,
        "seen": (JobStatus.SUCCEEDED, "42"),
        "record": {"status": "succeeded", "num_commits": "1"},
    }
    return Outcome(**plain | fields)


def _findings(*lines: str, blows: tuple[Blow, ...] = (), **fields: Any) -> Findings:
    return check([_outcome(**fields)], _events(*lines), blows, [])


def test_a_good_history_has_no_findings() -> None:
    assert _findings(*GOOD).promises_kept


def test_a_job_that_never_ends_is_lost() -> None:
    record = {"status": "running", "num_commits": "0", "stage": "decoding"}
    found = _findings("queued", "claimed 1 a", seen=None, record=record)
    assert len(found.lost) == 1
    assert len(_findings("queued", seen=None, record=None).lost) == 1


def test_two_ends_are_a_double_commit() -> None:
    found = _findings(*GOOD, "succeeded 1 a")
    assert len(found.double_commits) == 1
    counted = _findings(*GOOD, record={"status": "succeeded", "num_commits": "2"})
    assert len(counted.double_commits) == 1


@pytest.mark.parametrize(
    "lines",
    [
        ("claimed 1 a", "claimed 2 b", "succeeded 1 a"),
        ("claimed 1 a", "claimed 2 b", "handed_back 1 a", "succeeded 2 b"),
        ("claimed 2 a", "claimed 1 b", "succeeded 1 b"),
        ("claimed 1 a", "succeeded 1 a", "claimed 2 b"),
        ("claimed 1 a", "succeeded 1 b"),
    ],
)
def test_a_write_by_anyone_but_the_holder_is_stale(lines: tuple[str, ...]) -> None:
    assert _findings("queued", *lines).stale_writes


def test_a_refused_commit_of_a_zombie_is_the_fence_at_work() -> None:
    found = _findings("queued", "claimed 1 a", "claimed 2 b", "fenced 1 a", "succeeded 2 b")
    assert found.promises_kept
    assert found.num_fenced == 1


def test_an_end_that_changes_is_found() -> None:
    assert len(_findings(*GOOD, changed=True).changed_ends) == 1
    other = {"status": "failed", "num_commits": "1"}
    assert len(_findings(*GOOD, record=other).changed_ends) == 1


def test_an_innocent_job_filed_as_dead_is_found() -> None:
    lines = ("queued", "claimed 1 a", "failed 1 a")
    record = {"status": "failed", "num_commits": "1"}
    seen = (JobStatus.FAILED, "poisonous")
    assert len(_findings(*lines, seen=seen, record=record).innocents_dead) == 1
    guilty = _findings(*lines, kind=JobKind.POISON, seen=seen, record=record)
    assert guilty.promises_kept


def test_recovery_is_measured_where_nothing_else_got_in_between() -> None:
    lines = ("queued", "claimed 1 a", "claimed 2 b", "succeeded 2 b")
    hit: dict[str, Any] = {"at": 1.5, "kind": "kill_answer", "stage": "answer", "held": ("j",)}
    blow = Blow(**hit, num_survivors=1, num_free=4)
    assert _findings(*lines, blows=(blow,)).recoveries_s == [0.5]
    crowded = Blow(**hit, num_survivors=1, num_free=0)
    assert _findings(*lines, blows=(crowded,)).crowded_s == [0.5]
    alone = Blow(**hit, num_survivors=0)
    assert _findings(*lines, blows=(alone,)).num_disturbed == 1
    again = Blow(at=1.7, kind="kill_answer", stage="answer")
    assert _findings(*lines, blows=(blow, again)).num_disturbed == 1


def test_a_seed_is_a_plan_and_holds_what_was_asked_for() -> None:
    amounts = Amounts(num_jobs=200, num_kills=10, num_broker_restarts=3)
    plan = draw_plan(7, amounts, lease_s=4)
    assert plan == draw_plan(7, amounts, lease_s=4)
    assert plan != draw_plan(8, amounts, lease_s=4)
    assert len(plan.jobs) == 200
    assert sum(fault.kind.kills for fault in plan.faults) == 10
    assert sum(fault.kind is FaultKind.RESTART_BROKER for fault in plan.faults) == 3
    assert sum(job.kind is JobKind.POISON for job in plan.jobs) == amounts.num_poison
    assert sum(fault.num_jobs_before for fault in plan.faults) <= 200
    bystander = draw_plan(7, Amounts(num_broker_restarts=3, own_servers=False), lease_s=4)
    assert not [f for f in bystander.faults if f.kind.value.startswith("restart")]


def test_extra_faults_happen_as_often_as_they_are_asked_for_and_on_own_servers_only() -> None:
    extra = (*EXTRA, FaultKind.FULL)
    plan = draw_plan(7, Amounts(num_jobs=100, extra=extra), lease_s=4)
    kinds = [fault.kind for fault in plan.faults]
    assert {kind: kinds.count(kind) for kind in EXTRA} == {
        kind: 2 if kind is FaultKind.FULL else 1 for kind in EXTRA
    }
    assert sum(job.kind is JobKind.BRIEF for job in plan.jobs) == 5
    bystander = draw_plan(7, Amounts(num_jobs=100, extra=extra, own_servers=False), lease_s=4)
    assert not {fault.kind for fault in bystander.faults} & set(EXTRA)
    assert not [job for job in bystander.jobs if job.kind is JobKind.BRIEF]


def test_a_brief_jobs_record_may_be_over_once_its_end_was_seen() -> None:
    assert _findings(*GOOD, kind=JobKind.BRIEF, record=None).promises_kept
    assert _findings(*GOOD, kind=JobKind.BRIEF, record=None, seen=None).lost
    assert _findings(*GOOD, record=None).lost


def test_a_broken_stream_breaks_the_promise() -> None:
    assert not check([_outcome()], _events(*GOOD), (), [], ["j: no end"]).promises_kept
