"""How each fault is done to the crew, and what its victim held at that moment."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from glyph_worker.chaos.crew import Crew, Worker
from glyph_worker.chaos.history import Blow
from glyph_worker.chaos.plan import FaultKind, PlannedFault
from glyph_worker.chaos.records import Records


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
            case FaultKind.SLOW_LINK:
                for link in self.crew.links:
                    link.delay_s = 0.02 + 0.1 * fault.pick
                self._note(fault.kind, "link", self.records.now(), fault.seconds)
                self._due.append((time.monotonic() + fault.seconds, self._fast_links))
            case _:
                worker = self.victim(fault)
                if worker is None:
                    return False
                self.hit(worker, fault.kind, fault.seconds)
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
                if kind in (FaultKind.PAUSE_ANSWER, FaultKind.PAUSE_RENDER):
                    worker.paused = True
                    process = worker.process
                    self._due.append(
                        (time.monotonic() + seconds, lambda: _wake(worker, process.pid))
                    )
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
        for link in self.crew.links:
            link.delay_s = 0.0


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
