"""What a chaos run will do, all drawn from one seed: jobs, faults and their order. No I/O."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum


class JobKind(StrEnum):
    PLAIN = "plain"
    """Must succeed."""
    LONG = "long"
    """Must succeed; holds its slot for seconds."""
    DUPLICATED = "duplicated"
    """Must succeed although its message is delivered again and again."""
    CANCELLED = "cancelled"
    """Taken back soon after its submit: cancelled, or succeeded if it was faster."""
    OVERSIZED = "oversized"
    """More pages than a document may have: must fail with its own error."""
    POISON = "poison"
    """Every answer worker that lets it in is killed: must be filed as dead."""
    BRIEF = "brief"
    """Waits longer than its time to live: must succeed, and its record may be gone soon after."""


class FaultKind(StrEnum):
    KILL_RENDER = "kill_render"
    KILL_ANSWER = "kill_answer"
    KILL_CHILD = "kill_child"
    """One child of a render worker, as the kernel's out-of-memory killer picks it."""
    PAUSE_RENDER = "pause_render"
    PAUSE_ANSWER = "pause_answer"
    RESTART_BROKER = "restart_broker"
    RESTART_CACHE = "restart_cache"
    SLOW_LINK = "slow_link"
    DRAIN = "drain"
    """SIGTERM to an answer worker, as a rolling deploy does."""
    READ_ONLY = "read_only"
    """The broker is a replica for a while."""
    NO_REPLICAS = "no_replicas"
    """It waits for a replica that is not there."""
    FULL = "full"
    """It is out of memory."""
    DISK_FULL = "disk_full"
    """Its append-only file finds no room."""
    LOADING = "loading"
    """It is killed and answers for seconds that it is loading its data."""
    SLOW_CACHE = "slow_cache"
    """The link to the cache server is slow and narrow."""
    CUT_BROKER = "cut_broker"
    """A worker's link to the broker drops everything, longer than a lease."""
    CUT_CACHE = "cut_cache"
    CLOCK_OFF = "clock_off"
    """A worker is killed, and the next one's clock is a minute and a half off."""
    KILL_GATEWAY = "kill_gateway"
    """While it streams answers."""
    STARVE = "starve"
    """All workers stand still for longer than a waiting job's time to live."""

    @property
    def kills(self) -> bool:
        return self in (
            FaultKind.KILL_RENDER, FaultKind.KILL_ANSWER, FaultKind.KILL_CHILD, FaultKind.CLOCK_OFF
        )  # fmt: skip

    @property
    def stage(self) -> str:
        """The kind of worker it hits; '' for a server or a link."""
        if self in (FaultKind.KILL_RENDER, FaultKind.KILL_CHILD, FaultKind.PAUSE_RENDER):
            return "render"
        if self in (
            FaultKind.KILL_ANSWER, FaultKind.PAUSE_ANSWER, FaultKind.DRAIN, FaultKind.CLOCK_OFF,
            FaultKind.CUT_BROKER, FaultKind.CUT_CACHE,
        ):  # fmt: skip
            return "answer"
        return ""


EXTRA = (
    FaultKind.READ_ONLY, FaultKind.NO_REPLICAS, FaultKind.FULL, FaultKind.DISK_FULL,
    FaultKind.LOADING, FaultKind.SLOW_CACHE, FaultKind.CUT_BROKER, FaultKind.CUT_CACHE,
    FaultKind.CLOCK_OFF, FaultKind.KILL_GATEWAY, FaultKind.STARVE,
)  # fmt: skip
"""Faults that are chosen by name; all of them need servers of the run's own."""

STARVED_TTL_S = 10
"""A waiting job's time to live where one is to outlive it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedJob:
    number: int
    kind: JobKind
    document: int
    """Which of the run's documents; they are shared, as in life."""
    max_new_tokens: int
    bulk: bool
    tenant: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedFault:
    kind: FaultKind
    pick: float
    """Which of the workers in question, as a share of their number."""
    seconds: float
    """How long it lasts: a pause, an outage, a slow link."""
    overlaps: bool
    """Do not wait until the fault before it is overcome."""
    num_jobs_before: int
    """Jobs submitted before it strikes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    seed: int
    num_documents: int
    num_tenants: int
    faults: tuple[PlannedFault, ...]
    jobs: tuple[PlannedJob, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Amounts:
    """How much of everything. `own_servers` False leaves broker and cache alone."""

    num_jobs: int = 120
    num_kills: int = 6
    num_pauses: int = 2
    num_broker_restarts: int = 1
    num_cache_restarts: int = 1
    num_slow_links: int = 1
    num_drains: int = 1
    num_poison: int = 1
    num_oversized: int = 2
    extra: tuple[FaultKind, ...] = ()
    """Of EXTRA, each as often as it is to happen."""
    own_servers: bool = True


def draw_plan(seed: int, amounts: Amounts, *, lease_s: float) -> Plan:
    """The same seed, amounts and lease give the same plan."""
    chance = random.Random(seed)
    faults = _faults(chance, amounts, lease_s)
    num_documents = max(3, amounts.num_jobs // 12)
    jobs = _jobs(chance, amounts, num_documents)
    return Plan(seed=seed, num_documents=num_documents, num_tenants=3, faults=faults, jobs=jobs)


def _faults(chance: random.Random, amounts: Amounts, lease_s: float) -> tuple[PlannedFault, ...]:
    # Answer workers hold most jobs for longest: they are hit most.
    kills = [FaultKind.KILL_ANSWER, FaultKind.KILL_RENDER, FaultKind.KILL_ANSWER,
             FaultKind.KILL_CHILD]  # fmt: skip
    pauses = [FaultKind.PAUSE_ANSWER, FaultKind.PAUSE_RENDER, FaultKind.PAUSE_ANSWER]
    kinds = [kills[n % len(kills)] for n in range(amounts.num_kills)]
    kinds += [pauses[n % len(pauses)] for n in range(amounts.num_pauses)]
    kinds += [FaultKind.SLOW_LINK] * amounts.num_slow_links
    kinds += [FaultKind.DRAIN] * amounts.num_drains
    if amounts.own_servers:
        kinds += [FaultKind.RESTART_BROKER] * amounts.num_broker_restarts
        kinds += [FaultKind.RESTART_CACHE] * amounts.num_cache_restarts
        kinds += amounts.extra
    chance.shuffle(kinds)
    share = amounts.num_jobs / (len(kinds) + 1)
    seconds = {
        FaultKind.PAUSE_RENDER: (lease_s * 1.6, lease_s * 2.5),
        FaultKind.PAUSE_ANSWER: (lease_s * 1.6, lease_s * 2.5),
        FaultKind.RESTART_BROKER: (0.0, 2.0),
        FaultKind.RESTART_CACHE: (0.0, 2.0),
        FaultKind.SLOW_LINK: (3.0, 8.0),
        FaultKind.SLOW_CACHE: (3.0, 8.0),
        FaultKind.READ_ONLY: (1.5, 4.0),
        FaultKind.NO_REPLICAS: (1.5, 4.0),
        FaultKind.FULL: (1.5, 4.0),
        FaultKind.DISK_FULL: (2.5, 4.5),
        FaultKind.LOADING: (1.5, 3.0),
        FaultKind.CUT_BROKER: (lease_s * 1.6, lease_s * 2.5),
        FaultKind.CUT_CACHE: (lease_s * 1.6, lease_s * 2.5),
        FaultKind.STARVE: (STARVED_TTL_S * 1.3, STARVED_TTL_S * 1.5),
    }
    faults, submitted = [], 0
    for number, kind in enumerate(kinds, start=1):
        upto = min(amounts.num_jobs, round(share * number))
        faults.append(
            PlannedFault(
                kind=kind,
                pick=chance.random(),
                seconds=chance.uniform(*seconds.get(kind, (0.0, 0.0))),
                overlaps=chance.random() < 0.15,
                num_jobs_before=upto - submitted,
            )
        )
        submitted = upto
    return tuple(faults)


def _jobs(chance: random.Random, amounts: Amounts, num_documents: int) -> tuple[PlannedJob, ...]:
    special = [JobKind.POISON] * amounts.num_poison + [JobKind.OVERSIZED] * amounts.num_oversized
    rest = [
        chance.choices(
            [JobKind.PLAIN, JobKind.LONG, JobKind.DUPLICATED, JobKind.CANCELLED],
            weights=[70, 16, 8, 6],
        )[0]
        for _ in range(max(0, amounts.num_jobs - len(special)))
    ]
    starved = amounts.own_servers and FaultKind.STARVE in amounts.extra
    brief = [JobKind.BRIEF] * (amounts.num_jobs // 20 if starved else 0)
    # Poison not among the last: it takes three workers' lives and needs time.
    kinds = [*brief, *rest[len(brief) :]]
    chance.shuffle(kinds)
    for kind in special:
        kinds.insert(chance.randint(0, max(0, len(kinds) * 2 // 3)), kind)
    tokens = {JobKind.PLAIN: (2, 40), JobKind.LONG: (150, 400), JobKind.POISON: (1_000, 1_000)}
    return tuple(
        PlannedJob(
            number=number,
            kind=kind,
            document=chance.randrange(num_documents),
            max_new_tokens=chance.randint(*tokens.get(kind, (20, 120))),
            bulk=chance.random() < 0.2,
            tenant=chance.randrange(3),
        )
        for number, kind in enumerate(kinds)
    )
