"""Makes a plan happen: submits, breaks, watches as a producer would, and keeps the history."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from chaos.before import submit
from chaos.crew import Crew
from chaos.faults import Faults
from chaos.follow import MAX_FOLLOWED, Follower
from chaos.history import Blow, Event, Findings, Outcome, check
from chaos.plan import STARVED_TTL_S, FaultKind, JobKind, Plan, PlannedFault, PlannedJob
from chaos.records import Records
from glyph_worker.client import Client
from glyph_worker.errors import (
    ConfigurationError,
    JobFinished,
    RefusedError,
    TransientError,
    UnknownJob,
)
from glyph_worker.job import JobStatus

MAX_UNFINISHED = 4
"""Per answer worker: more would measure how long a full house takes, not how soon it recovers."""

TTL_S = 3_600
"""Of a record: longer than the run, whatever the workers' own setting is."""

TICK_S = 0.03
LOOK_S = 0.15
MAX_DUPLICATES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What happened."""

    plan: Plan
    outcomes: list[Outcome]
    blows: list[Blow]
    events: list[Event]
    findings: Findings
    num_duplicates: int
    num_retried_submits: int
    unexpected: list[str]
    """Workers that ended by themselves."""
    seconds: float
    left_out: dict[FaultKind, str]
    """Faults that this machine does not allow, and why."""
    upgraded_from: str
    num_followed: int
    num_interrupted: int


@dataclass(frozen=True, slots=True)
class Upgrade:
    ref: str
    code: Path
    """Its tree."""


def tenants(plan: Plan) -> list[str]:
    return [f"chaos-{number}" for number in range(plan.num_tenants)]


@dataclass(slots=True)
class Watched:
    """An accepted job that its producer has not yet seen final."""

    outcome: Outcome
    tenant: int
    cancel_at: float = 0.0
    num_duplicates: int = 0
    next_duplicate: float = 0.0


@dataclass(slots=True)
class Driver:
    """Used once: `run`."""

    plan: Plan
    crew: Crew
    patience_s: float
    say: Callable[[str], None] = lambda line: None
    own_limits: bool = True
    """The workers have our limits, so that an oversized document can be made."""
    left_out: dict[FaultKind, str] = field(default_factory=dict)
    before: Upgrade | None = None
    """Begin with the version before, and replace its workers one by one."""
    _watched: dict[str, Watched] = field(default_factory=dict)
    _outcomes: list[Outcome] = field(default_factory=list)
    _producers: list[tuple[Outcome, Client]] = field(default_factory=list)
    _events: list[Event] = field(default_factory=list)
    _num_duplicates: int = 0
    _num_retried: int = 0
    _looked_at: float = 0.0
    _records: Records = field(init=False)
    _faults: Faults = field(init=False)
    _clients: list[Client] = field(init=False)
    _run_id: str = ""
    _followers: list[Follower] = field(default_factory=list)

    def run(self) -> Run:
        """Raises ConfigurationError when the workers do not come up."""
        settings = self.crew.settings
        self._records = Records(settings)
        self._faults = Faults(self.crew, self._records, lambda: list(self._watched))
        self._clients = [Client(settings, tenant=name) for name in tenants(self.plan)]
        # Faults and documents have chances of their own: a race must not shift what comes later.
        chance = random.Random(f"driver-{self.plan.seed}")
        self._run_id = f"{self.plan.seed}-{time.time_ns():x}"
        self._records.start_tail()
        if self.before is not None:
            for worker in self.crew.workers:
                worker.code = self.before.code
        self.crew.start()
        if not self._until(self._whole, 240.0):
            raise ConfigurationError(f"the workers do not come up; their logs: {self.crew.folder}")
        began = time.monotonic()
        if self.before is not None:
            self._upgrade(self.before, chance)
        jobs = iter(self.plan.jobs)
        for number, fault in enumerate(self.plan.faults, start=1):
            if not fault.overlaps:
                self._until(lambda fault=fault: self._bearable(fault), 120.0)  # type: ignore[misc]
            for _, job in zip(range(fault.num_jobs_before), jobs, strict=False):
                self._submit(job, chance)
            self._until(lambda fault=fault: self._ripe(fault), 3.0)  # type: ignore[misc]
            with contextlib.suppress(TransientError):
                done = self._faults.strike(fault)
                mark = "" if done else " (nobody to hit)"
                self.say(f"{number}/{len(self.plan.faults)} {fault.kind}{mark}; "
                         f"{len(self._watched)} jobs unfinished")  # fmt: skip
        for job in jobs:
            self._submit(job, chance)
        self._until(lambda: not self._watched, self.patience_s)
        return self._finish(began)

    def _upgrade(self, before: Upgrade, chance: random.Random) -> None:
        """Jobs of the old version's producers and of ours, while worker after worker is replaced:
        first all that render, so that both versions stand on both sides of a handover."""
        crew = self.crew
        places = sorted(crew.workers, key=lambda worker: worker.kind == "answer")
        for turn, worker in enumerate(places):
            rows = [
                (f"upgrade {turn}.{n} of run {self._run_id}\n" + "key: value\n" * 9, "what?", 60)
                for n in range(4)
            ]
            client = self._clients[0]
            environ = crew.environ(crew.broker_url, crew.cache_url)
            for job_id in submit(before.code, environ, rows, tenant=client.tenant):
                self._watch(job_id, JobKind.PLAIN, 0)
            for n in range(2):
                job = PlannedJob(number=-2 * turn - n - 1, kind=JobKind.PLAIN, document=n,
                                 max_new_tokens=60, bulk=False, tenant=0)  # fmt: skip
                self._submit(job, chance)
            worker.code = None
            self._faults.hit(worker, FaultKind.DRAIN)
            self.say(f"upgrade: {worker.kind} worker {worker.index} is replaced")
            self._until(lambda worker=worker: worker in crew.serving(), 120.0)  # type: ignore[misc]
        self._until(lambda: not self._watched, self.patience_s)

    # What the producers do -----------------------------------------------------------------------

    def _submit(self, job: PlannedJob, chance: random.Random) -> None:
        """Until it is accepted: the idempotency key makes that safe."""
        most = MAX_UNFINISHED * sum(worker.kind == "answer" for worker in self.crew.workers)
        self._until(lambda: len(self._watched) < most, self.patience_s)
        cancel_after_s = chance.uniform(0.0, 1.5)
        give_up_at = time.monotonic() + self.patience_s
        while True:
            try:
                accepted = self._clients[job.tenant].submit(
                    self._document(job),
                    f"question {job.number}?",
                    max_new_tokens=job.max_new_tokens,
                    priority="bulk" if job.bulk else "interactive",
                    ttl_s=STARVED_TTL_S if job.kind is JobKind.BRIEF else TTL_S,
                    idempotency_key=f"{self._run_id}-{job.number}",
                    overflow="refuse" if job.kind is JobKind.OVERSIZED else "segments",
                )
                break
            except (TransientError, RefusedError):
                if time.monotonic() > give_up_at:
                    return
                self._num_retried += 1
                self._tick()
        watched = self._watch(accepted.id, job.kind, job.tenant)
        if job.kind is JobKind.CANCELLED:
            watched.cancel_at = time.monotonic() + cancel_after_s
        self._follow(accepted.id, job)
        self._tick()

    def _watch(self, job_id: str, kind: JobKind, tenant: int) -> Watched:
        outcome = Outcome(job_id=job_id, kind=kind, accepted_at=time.time())
        self._outcomes.append(outcome)
        self._producers.append((outcome, self._clients[tenant]))
        self._watched[job_id] = Watched(outcome, tenant)
        return self._watched[job_id]

    def _follow(self, job_id: str, job: PlannedJob) -> None:
        """Some of the longer ones are read over HTTP as they grow."""
        open_now = sum(not follower.ended for follower in self._followers)
        if self.crew.gateway is None or job.kind is not JobKind.LONG or open_now >= MAX_FOLLOWED:
            return
        tenant = self._clients[job.tenant].tenant
        follower = Follower(self.crew.gateway.port, tenant, job_id)
        self._followers.append(follower)
        follower.start()

    def _document(self, job: PlannedJob) -> str:
        name = f"document {job.document} of run {self.plan.seed}\n"
        if job.kind is JobKind.OVERSIZED and self.own_limits:
            return name + "word " * (4_000 * self.crew.settings.limits.max_pages)
        lines = 6 + 40 * (job.document % 4 == 0) + job.document % 7
        return name + "".join(f"key {n}: value {n * 31 + job.document}\n" for n in range(lines))

    def _look(self) -> None:
        """Which jobs are final now, and how they ended."""
        for tenant, client in enumerate(self._clients):
            ids = [i for i, watched in self._watched.items() if watched.tenant == tenant]
            for job_id, job in zip(ids, client.status_many(ids), strict=True):
                if job is not None and job.status.final:
                    outcome = self._watched[job_id].outcome
                    outcome.seen, outcome.seen_at = self._end(client, job_id), time.time()
                    del self._watched[job_id]

    @staticmethod
    def _end(client: Client, job_id: str) -> tuple[JobStatus, str]:
        job = client.status(job_id)
        if job.status is JobStatus.FAILED:
            return job.status, (job.error or {}).get("code", "")
        answer = client.result(job_id) if job.status is JobStatus.SUCCEEDED else None
        return job.status, "" if answer is None else answer.text

    def _cancel_and_repeat(self) -> None:
        now = time.monotonic()
        for job_id, watched in list(self._watched.items()):
            if watched.cancel_at and now > watched.cancel_at:
                with contextlib.suppress(JobFinished):
                    self._clients[watched.tenant].cancel(job_id)
                watched.cancel_at = 0.0
            if (
                watched.outcome.kind is JobKind.DUPLICATED
                and watched.num_duplicates < MAX_DUPLICATES
                and now > watched.next_duplicate
            ):
                # To the stage it is in, and to the one it is not in.
                self._records.repeat(job_id, rendered=watched.num_duplicates % 2 == 0)
                watched.num_duplicates += 1
                watched.next_duplicate = now + 0.3
                self._num_duplicates += 1

    def _poison(self) -> None:
        """A poisonous job kills the answer worker that has let it in."""
        ids = [i for i, w in self._watched.items() if w.outcome.kind is JobKind.POISON]
        rows = self._records.fields(ids, "admitted", "stage", "owner") if ids else []
        for row in rows:
            if row is None or row["status"] != "running" or row["admitted"] != "1":
                continue
            pid = int(row["owner"].split(":")[-2])
            for worker in self.crew.serving("answer"):
                if worker.holds(pid):
                    self._faults.hit(worker, "poison")
                    self.say("a poisonous job ends its worker")

    # The loop ------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._faults.settle()
        self.crew.revive()
        try:
            self._poison()
            if time.monotonic() - self._looked_at > LOOK_S:
                self._looked_at = time.monotonic()
                self._look()
                self._cancel_and_repeat()
                self._events += self._records.new_events()
        except (TransientError, OSError):
            pass  # the broker is away; the next tick looks again
        time.sleep(TICK_S)

    def _until(self, true: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                return False
            self._tick()
        return True

    def _whole(self) -> bool:
        return not self._faults.lasting and len(self.crew.serving()) == len(self.crew.workers)

    def _bearable(self, fault: PlannedFault) -> bool:
        """The faults before it are overcome so far that somebody can take the victim's work."""
        kinds: list[str] = [worker.kind for worker in self.crew.serving()]
        there: Counter[str] = Counter(worker.kind for worker in self.crew.workers)
        stage = fault.kind.stage
        needed = {stage: there[stage]} if stage else {"render": 1, "answer": 1}
        return all(kinds.count(kind) >= number for kind, number in needed.items())

    def _ripe(self, fault: PlannedFault) -> bool:
        """Somebody of that kind is at work, so that the blow hurts."""
        try:
            return not fault.kind.stage or any(
                self._faults.held_by(worker) for worker in self.crew.serving(fault.kind.stage)
            )
        except TransientError:
            return False

    # The end -------------------------------------------------------------------------------------

    def _finish(self, began: float) -> Run:
        self._until(self._whole, 90.0)
        own_servers = self.crew.broker is not None
        if own_servers:
            # Duplicates that found their job held come round once more before they end.
            self._until(self._no_messages, 4.0 * self.crew.settings.queue.lease_s)
        seconds = time.monotonic() - began
        self._events += self._records.new_events()
        ids = [outcome.job_id for outcome in self._outcomes]
        rows = self._records.fields(ids, "stage", "num_commits", "attempt", "strikes")
        for outcome, row in zip(self._outcomes, rows, strict=True):
            outcome.record = row
        self._compare_with_what_was_seen()
        leaked = self._records.leaks() + self._records.leftovers(
            [o.job_id for o in self._outcomes if o.seen is not None]
        )
        if own_servers and not self._no_messages():
            leaked += [f"message of a final job: {m}" for m in self._records.messages()]
        return Run(
            plan=self.plan,
            outcomes=self._outcomes,
            blows=self._faults.blows,
            events=self._events,
            findings=check(
                self._outcomes, self._events, self._faults.blows, leaked, self._broken_streams()
            ),
            num_duplicates=self._num_duplicates,
            num_retried_submits=self._num_retried,
            unexpected=self.crew.unexpected,
            seconds=seconds,
            left_out=self.left_out,
            upgraded_from="" if self.before is None else self.before.ref,
            num_followed=len(self._followers),
            num_interrupted=sum(follower.num_breaks > 0 for follower in self._followers),
        )

    def _no_messages(self) -> bool:
        try:
            return not self._records.messages()
        except TransientError:
            return False

    def _broken_streams(self) -> list[str]:
        """Each must have ended, with the answer's text."""
        self._until(lambda: all(follower.ended for follower in self._followers), 30.0)
        broken = []
        by_tenant = {client.tenant: client for client in self._clients}
        for follower in self._followers:
            follower.stop()
            status, text = self._end(by_tenant[follower.tenant], follower.job_id)
            joins = follower.text == text or status is not JobStatus.SUCCEEDED
            if not follower.ended or not joins:
                what = f"{follower.text!r}, not {text!r}," if follower.ended else "no end"
                broken.append(f"{follower.job_id}: {what} after {follower.num_breaks} breaks")
        return broken

    def _compare_with_what_was_seen(self) -> None:
        for outcome, client in self._producers:
            if outcome.seen is not None:
                # A record that is gone is reported as lost.
                with contextlib.suppress(UnknownJob):
                    outcome.changed = self._end(client, outcome.job_id) != outcome.seen
