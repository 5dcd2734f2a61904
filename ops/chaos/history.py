"""What a run's events and records say about the promise. Pure: everything comes in as values."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.plan import JobKind
from glyph_worker.job import FINAL, JobStatus

FINAL_EVENTS = frozenset(status.value for status in FINAL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One entry of the events stream."""

    at: float
    """Seconds since the epoch, by the broker's clock."""
    job_id: str
    what: str
    attempt: int
    owner: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Blow:
    """One fault as it happened."""

    at: float
    """By the broker's clock; for a kill, the moment the victim stopped."""
    kind: str
    stage: str
    """The kind of worker that was hit, or ''."""
    held: tuple[str, ...] = ()
    """Jobs that the victim was at work on."""
    num_survivors: int = 0
    """Workers of the same kind that were serving at that moment."""
    num_free: int = 0
    """Places with the survivors that no other unfinished job can want."""
    seconds: float = 0.0


@dataclass(kw_only=True, slots=True)
class Outcome:
    """One accepted job: what was promised, what its producer saw, what its record says."""

    job_id: str
    kind: JobKind
    accepted_at: float
    seen: tuple[JobStatus, str] | None = None
    """The first final status its producer saw, and the answer's text or the error's code."""
    seen_at: float = 0.0
    changed: bool = False
    """A later look showed something else than `seen`."""
    record: Mapping[str, str] | None = None
    """Fields at the end; None when there is no record."""

    @property
    def as_promised(self) -> bool:
        """Whether it ended as a job of its kind must."""
        if self.seen is None:
            return False
        status, detail = self.seen
        match self.kind:
            case JobKind.OVERSIZED:
                return (status, detail) == (JobStatus.FAILED, "document_too_large")
            case JobKind.POISON:
                return (status, detail) == (JobStatus.FAILED, "poisonous")
            case JobKind.CANCELLED:
                return status in (JobStatus.CANCELLED, JobStatus.SUCCEEDED)
            case _:
                return status is JobStatus.SUCCEEDED


@dataclass(kw_only=True, slots=True)
class Findings:
    """Each list holds one line per finding; all empty is the promise kept."""

    lost: list[str] = field(default_factory=list)
    """Accepted, and not final in time, or without a record."""
    double_commits: list[str] = field(default_factory=list)
    stale_writes: list[str] = field(default_factory=list)
    """An attempt that was fenced off, or a job that was final, was written to."""
    changed_ends: list[str] = field(default_factory=list)
    """A final status or answer that a producer had seen became another."""
    innocents_dead: list[str] = field(default_factory=list)
    broken_promises: list[str] = field(default_factory=list)
    """Ended, but not as a job of its kind must."""
    leaked_keys: list[str] = field(default_factory=list)
    broken_streams: list[str] = field(default_factory=list)
    """Followed over HTTP through the gateway's deaths, and not to the end, or with other text."""
    recoveries_s: list[float] = field(default_factory=list)
    """From the end of a holder to the next claim (or end) of each job it held."""
    recovered: list[tuple[str, str]] = field(default_factory=list)
    """The blow and the job of each of these."""
    crowded_s: list[float] = field(default_factory=list)
    """The same where the survivors had not room for all: these wait for others' ends as well."""
    num_disturbed: int = 0
    """Recoveries left out: no survivor, or a further blow before the next claim."""
    num_fenced: int = 0
    """Commits of old attempts that were refused: the fence at work."""
    events: dict[str, int] = field(default_factory=dict)

    @property
    def promises_kept(self) -> bool:
        return not any(
            (self.lost, self.double_commits, self.stale_writes, self.changed_ends,
             self.innocents_dead, self.broken_promises, self.leaked_keys, self.broken_streams)
        )  # fmt: skip

    def slowest(self, number: int) -> list[tuple[float, str, str]]:
        """Seconds, blow and job of the slowest recoveries."""
        rows = zip(self.recoveries_s, self.recovered, strict=True)
        return sorted(((round(s, 2), *what) for s, what in rows), reverse=True)[:number]

    def recovery_s(self, share: float) -> float | None:
        """A quantile, by the nearest rank; None where nothing was measured."""
        if not self.recoveries_s:
            return None
        ordered = sorted(self.recoveries_s)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def check(
    outcomes: Sequence[Outcome],
    events: Sequence[Event],
    blows: Sequence[Blow],
    leaked_keys: Sequence[str],
    broken_streams: Sequence[str] = (),
) -> Findings:
    """Read the history of these jobs. `events` in the order of the stream."""
    findings = Findings(leaked_keys=list(leaked_keys), broken_streams=list(broken_streams))
    by_job: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_job[event.job_id].append(event)
    for outcome in outcomes:
        _check_job(findings, outcome, by_job[outcome.job_id])
    ids = {outcome.job_id for outcome in outcomes}
    findings.events = dict(Counter(event.what for event in events if event.job_id in ids))
    findings.num_fenced = findings.events.get("fenced", 0)
    for blow in blows:
        _measure(findings, blow, blows, by_job)
    return findings


def _check_job(findings: Findings, outcome: Outcome, events: Sequence[Event]) -> None:
    name, record = f"{outcome.job_id} ({outcome.kind})", outcome.record
    if record is None:
        # One that was to live no longer than seconds may be over when all else is.
        if not (outcome.kind is JobKind.BRIEF and outcome.seen is not None):
            findings.lost.append(f"{name}: no record")
    elif record["status"] not in FINAL_EVENTS or outcome.seen is None:
        findings.lost.append(f"{name}: still {record['status']}, {record.get('stage', '')}")
    ends = [event for event in events if event.what in FINAL_EVENTS]
    num_commits = int((record or {}).get("num_commits", 0))
    if len(ends) > 1 or num_commits > 1:
        findings.double_commits.append(f"{name}: {len(ends)} ends, num_commits {num_commits}")
    if record is not None and len(ends) == 1 and ends[0].what != record["status"]:
        findings.changed_ends.append(f"{name}: ended {ends[0].what}, is {record['status']}")
    if outcome.changed:
        findings.changed_ends.append(f"{name}: its producer saw two different ends")
    findings.stale_writes += [f"{name}: {line}" for line in _stale(events)]
    if outcome.seen is not None and not outcome.as_promised:
        findings.broken_promises.append(f"{name}: {outcome.seen[0]}, {outcome.seen[1][:60]}")
        if outcome.seen[1] == "poisonous":
            findings.innocents_dead.append(name)


def _stale(events: Sequence[Event]) -> list[str]:
    """Writes by anyone but the holder of the moment, or after the end."""
    lines = []
    attempt, owner, ended = 0, "", False
    for event in events:
        who = f"{event.what} by attempt {event.attempt} of {event.owner or 'nobody'}"
        if event.what in ("fenced", "strike", "queued"):
            continue  # refused, or about another's write
        if ended:
            lines.append(f"{who} after its end")
        elif event.what == "claimed":
            if event.attempt < attempt:
                lines.append(f"{who} after attempt {attempt}")
            attempt, owner = event.attempt, event.owner
        elif event.what in ("handed_over", "handed_back"):
            if (event.attempt, event.owner) != (attempt, owner):
                lines.append(f"{who}, held by attempt {attempt} of {owner or 'nobody'}")
            owner = ""
        elif event.what in FINAL_EVENTS:
            if event.attempt != attempt or event.owner not in ("", owner):
                lines.append(f"{who}, held by attempt {attempt} of {owner or 'nobody'}")
            ended = True
    return lines


def _measure(
    findings: Findings,
    blow: Blow,
    blows: Sequence[Blow],
    by_job: Mapping[str, Sequence[Event]],
) -> None:
    """Recovery of what the victim held, unless something else got in between."""
    # A later blow to the same kind of worker, or to the broker, is a new wait of its own.
    later = [b.at for b in blows if b.at > blow.at and (not b.stage or b.stage == blow.stage)]
    next_blow = min(later, default=math.inf)
    for job_id in blow.held:
        after = [
            event.at
            for event in by_job.get(job_id, ())
            if event.at > blow.at and event.what in FINAL_EVENTS | {"claimed"}
        ]
        if not after:
            continue  # never claimed again: the checks above speak of it
        if blow.num_survivors == 0 or after[0] > next_blow:
            findings.num_disturbed += 1
        elif blow.num_free < len(blow.held):
            findings.crowded_s.append(after[0] - blow.at)
        else:
            findings.recoveries_s.append(after[0] - blow.at)
            findings.recovered.append((blow.kind, job_id))


def event_of(seq: str, fields: Mapping[bytes, bytes]) -> Event:
    """One entry as it comes from Redis."""
    found: dict[str, Any] = {name.decode(): value.decode() for name, value in fields.items()}
    return Event(
        at=int(seq.partition("-")[0]) / 1e3,
        job_id=found.get("id", ""),
        what=found.get("event", ""),
        attempt=int(found.get("attempt") or 0),
        owner=found.get("owner", ""),
    )
