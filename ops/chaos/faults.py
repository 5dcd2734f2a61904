"""How each fault is done to the crew, and what its victim held at that moment."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chaos import clock
from chaos.crew import Crew, Worker
from chaos.history import Blow
from chaos.plan import FaultKind, PlannedFault
from chaos.records import Records
from glyph_worker.store.connection import connect

_SETTINGS = {
    FaultKind.NO_REPLICAS: ("min-replicas-to-write", 1),
    FaultKind.FULL: ("maxmemory", 1),
}
"""Settings of the broker, and the value with which it takes no writes; 0 is the good one."""

_COMMANDS = {
    FaultKind.READ_ONLY: (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
}
"""What begins and what ends it."""


@dataclass(slots=True)
class Faults:
    """Does faults, keeps what happened, and ends those that last when their time is over."""

    crew: Crew
    records: Records
    unfinished: Callable[[], Sequence[str]]
    """Ids of jobs that may be running."""
    blows: list[Blow] = field(default_factory=list)
    _due: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def held_by(self, worker: Worker) -> tuple[str, ...]:
        """Jobs whose record says that this family is at work on them."""
        ids = list(self.unfinished())
        rows = self.records.fields(ids, "owner")
        return tuple(
            job_id
            for job_id, row in zip(ids, rows, strict=True)
            if row is not None
            and row["status"] == "running"
            and (pid := _pid(row["owner"]))
            and worker.holds(pid)
        )

    def victim(self, fault: PlannedFault) -> Worker | None:
        """One that holds jobs if there is one, so that the blow hurts."""
        serving = self.crew.serving(fault.kind.stage)
        busy = [worker for worker in serving if self.held_by(worker)]
        choice = busy or serving
        return choice[int(fault.pick * len(choice))] if choice else None

    def strike(self, fault: PlannedFault) -> bool:
        """Do it. False when there is nobody to do it to; raises StoreUnavailable."""
        match fault.kind:
            case FaultKind.RESTART_BROKER | FaultKind.RESTART_CACHE:
                broker = fault.kind is FaultKind.RESTART_BROKER
                server = self.crew.broker if broker else self.crew.cache
                if server is None:
                    return False
                # Without the broker nothing is claimed: what waits when it goes, waits anew.
                stage = "" if broker else "cache"
                self._note(fault.kind, stage, self.records.now(), fault.seconds)
                self.crew.restart(server, after_s=fault.seconds)
                if broker:
                    self._note("broker_back", stage, self.records.now())
            case FaultKind.SLOW_LINK | FaultKind.SLOW_CACHE:
                cache = fault.kind is FaultKind.SLOW_CACHE
                for link in self.crew.cache_links if cache else self.crew.links:
                    link.delay_s = 0.02 + (0.4 if cache else 0.1) * fault.pick
                    link.bytes_per_s = 400_000 if cache else None
                self._note(fault.kind, "link", self.records.now(), fault.seconds)
                self._later(fault.seconds, self._fast_links)
            case FaultKind.LOADING:
                if self.crew.broker is None:
                    return False
                self._note(fault.kind, "", self.records.now(), fault.seconds)
                self.crew.load_slowly(fault.seconds)
                self._note("broker_back", "", self.records.now())
            case kind if kind in _SETTINGS or kind in _COMMANDS or kind is FaultKind.DISK_FULL:
                return self._trouble_broker(kind, fault.seconds)
            case FaultKind.KILL_GATEWAY:
                if self.crew.gateway is None:
                    return False
                self._note(fault.kind, "gateway", self.records.now())
                self.crew.gateway.kill()
            case FaultKind.STARVE:
                for worker in self.crew.serving():
                    self.hit(worker, fault.kind, fault.seconds)
            case FaultKind.CUT_BROKER | FaultKind.CUT_CACHE:
                return self._cut(fault)
            case _:
                victim = self.victim(fault)
                if victim is None:
                    return False
                if fault.kind is FaultKind.CLOCK_OFF:
                    off_s = 90.0 if fault.pick < 0.5 else -90.0
                    victim.next_environ = clock.environment(off_s, code=victim.code)
                self.hit(victim, fault.kind, fault.seconds)
        return True

    def _later(self, seconds: float, end: Callable[[], None]) -> None:
        self._due.append((time.monotonic() + seconds, end))

    def _trouble_broker(self, kind: FaultKind, seconds: float) -> bool:
        """The broker takes no writes for a while, for one reason or another."""
        if self.crew.broker is None or (kind is FaultKind.DISK_FULL and self.crew.disk is None):
            return False
        self._note(kind, "", self.records.now(), seconds)
        if kind is FaultKind.DISK_FULL:
            assert self.crew.disk is not None
            self.crew.disk.fill()
        else:
            self._change(kind, begin=True)
        self._later(seconds, lambda: self._calm_broker(kind))
        return True

    def _calm_broker(self, kind: FaultKind) -> None:
        if kind is FaultKind.DISK_FULL:
            assert self.crew.disk is not None
            self.crew.disk.free()
        else:
            self._change(kind, begin=False)
        self._note("broker_back", "", self.records.now())

    def _change(self, kind: FaultKind, *, begin: bool) -> None:
        with connect(self.crew.broker_url) as client:
            if kind in _COMMANDS:
                client.execute_command(*_COMMANDS[kind][0 if begin else 1])
            else:
                name, bad = _SETTINGS[kind]
                client.config_set(name, bad if begin else 0)

    def _cut(self, fault: PlannedFault) -> bool:
        """The link of the worker that has a network of its own drops everything for a while."""
        cut_off = self.crew.cut_off
        found = [worker for worker in self.crew.serving() if worker.prefix]
        if cut_off is None or not found:
            return False
        server = "broker" if fault.kind is FaultKind.CUT_BROKER else "cache"
        (worker,) = found
        if server == "broker":
            self.hit(worker, fault.kind, fault.seconds)
        else:
            self._note(fault.kind, "cache", self.records.now(), fault.seconds)
            cut_off.set(server, "down")
            self._later(fault.seconds, lambda: cut_off.set(server, "up"))
        return True

    def hit(self, worker: Worker, kind: FaultKind | str, seconds: float = 0.0) -> None:
        """Stop a worker, note what it held, and do to it what `kind` says."""
        survivors = [other for other in self.crew.serving(worker.kind) if other is not worker]
        num_survivors, capacity = len(survivors), self.crew.capacity(survivors)
        if kind == FaultKind.DRAIN:
            held: tuple[str, ...] = ()  # it hands back in order: no lease to wait for
            at = self.records.now()
            worker.expected_to_end = True
            worker.process.terminate()
        else:
            # Stopped first, so that what it holds is known exactly.
            worker.signal(signal.SIGSTOP)
            try:
                at, held = self.records.now(), self.held_by(worker)
            finally:
                cut_off = self.crew.cut_off
                if kind in (FaultKind.PAUSE_ANSWER, FaultKind.PAUSE_RENDER, FaultKind.STARVE):
                    worker.paused = True
                    process = worker.process
                    self._later(seconds, lambda: _wake(worker, process.pid))
                elif kind == FaultKind.CUT_BROKER and cut_off is not None:
                    cut_off.set("broker", "down")
                    worker.signal(signal.SIGCONT)
                    self._later(seconds, lambda: cut_off.set("broker", "up"))
                elif kind == FaultKind.KILL_CHILD:
                    for pid in _children(worker.process.pid):
                        os.kill(pid, signal.SIGKILL)
                    worker.signal(signal.SIGCONT)
                    num_survivors, capacity = num_survivors + 1, capacity + 1  # a new child
                else:
                    worker.kill()
        # Every other unfinished job may want a place to be answered; one to render is soon free.
        others = len(self.unfinished()) - len(held) if worker.kind == "answer" else 0
        num_free = capacity - others
        self.blows.append(
            Blow(at=at, kind=kind, stage=worker.kind, held=held, num_survivors=num_survivors,
                 num_free=num_free, seconds=seconds)
        )  # fmt: skip

    def _note(self, kind: str, stage: str, at: float, seconds: float = 0.0) -> None:
        self.blows.append(Blow(at=at, kind=kind, stage=stage, seconds=seconds))

    def settle(self) -> None:
        """End what has lasted long enough."""
        now = time.monotonic()
        for entry in [entry for entry in self._due if entry[0] <= now]:
            self._due.remove(entry)
            entry[1]()

    @property
    def lasting(self) -> bool:
        return bool(self._due)

    def _fast_links(self) -> None:
        for link in (*self.crew.links, *self.crew.cache_links):
            link.delay_s, link.bytes_per_s = 0.0, None


def _wake(worker: Worker, pid: int) -> None:
    if worker.process.pid == pid:
        worker.signal(signal.SIGCONT)
        worker.paused = False


def _pid(owner: str) -> int:
    """Of the process that an owner's name names: host:pid:hex."""
    parts = owner.split(":")
    return int(parts[-2]) if len(parts) >= 3 and parts[-2].isdigit() else 0


def _children(pid: int) -> list[int]:
    """Direct children, from the kernel's list; empty where there is none (not Linux)."""
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in found.read_text().split()] if found.exists() else []
