"""Who may be inside together: a job that killed a worker is alone, and nobody waits for ever."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from waiting import PATIENCE_S, wait_until

from glyph_worker.worker.suspect_gate import Gate


def _nothing() -> None:
    return


class Visitor:
    """One job in a thread, inside until it is told to leave."""

    def __init__(
        self, gate: Gate, name: str, *, alone: bool = False, check: Any = _nothing
    ) -> None:
        self.inside, self.leave = threading.Event(), threading.Event()
        self.mates: list[str] = []
        self.raised: BaseException | None = None
        self._thread = threading.Thread(target=self._visit, args=(gate, name, alone, check))
        self._thread.start()

    def _visit(self, gate: Gate, name: str, alone: bool, check: Any) -> None:
        try:
            with gate.enter(name, alone=alone, check=check) as self.mates:
                self.inside.set()
                self.leave.wait(PATIENCE_S)
        except InterruptedError as exc:
            self.raised = exc

    def go(self) -> None:
        self.leave.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


def test_jobs_are_inside_together_and_know_their_mates() -> None:
    gate = Gate()
    first = Visitor(gate, "a")
    assert first.inside.wait(PATIENCE_S)
    second = Visitor(gate, "b")
    assert second.inside.wait(PATIENCE_S)
    assert (first.mates, second.mates) == ([], ["a"])
    first.go()
    second.go()


def test_a_suspect_waits_for_an_empty_room_and_keeps_it_empty() -> None:
    gate = Gate()
    other = Visitor(gate, "other")
    assert other.inside.wait(PATIENCE_S)
    suspect = Visitor(gate, "suspect", alone=True)
    assert not suspect.inside.wait(0.1)
    late = Visitor(gate, "late")
    assert not late.inside.wait(0.1), "a newcomer went past a waiting suspect"
    other.go()
    assert suspect.inside.wait(PATIENCE_S)
    assert not late.inside.wait(0.1)
    assert suspect.mates == []
    suspect.go()
    assert late.inside.wait(PATIENCE_S)
    late.go()


def test_two_suspects_go_in_one_after_the_other() -> None:
    gate = Gate()
    pair = [Visitor(gate, name, alone=True) for name in "ab"]
    wait_until(lambda: any(one.inside.is_set() for one in pair), description="one is inside")
    assert sum(one.inside.is_set() for one in pair) == 1
    first = next(one for one in pair if one.inside.is_set())
    first.go()
    second = next(one for one in pair if one is not first)
    assert second.inside.wait(PATIENCE_S)
    second.go()


@pytest.mark.parametrize("alone", [True, False])
def test_whoever_waits_can_be_interrupted_and_leaves_no_trace(alone: bool) -> None:
    gate = Gate()
    holder = Visitor(gate, "holder", alone=not alone)
    assert holder.inside.wait(PATIENCE_S)

    def interrupt() -> None:
        raise InterruptedError

    waiting = Visitor(gate, "waiting", alone=alone, check=interrupt)
    wait_until(lambda: waiting.raised, description="the wait was interrupted")
    holder.go()
    after = Visitor(gate, "after")
    assert after.inside.wait(PATIENCE_S)
    after.go()
    waiting.go()
