"""Who runs, and which tokens the next step computes. Accounting only: no tensors, no threads.

A sequence waits until every page of its document is kept or claimed by itself. Claiming means: its
caller brings the features, it computes the keys, and all others on the same document wait for that
one. Admission takes a slot and all blocks the sequence can ever need, so a running sequence always
finishes. Each step decodes all running answers and prefills at most `prefill_tokens` beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from glyph_worker.engine.blocks import BlockRange
from glyph_worker.engine.prefix import Move, NodeState, PrefixPool
from glyph_worker.engine.scheduled import Chunk, Scheduled, SequenceState
from glyph_worker.engine.slots import Slots

SMALL_PREFILL = 128
"""Tokens; questions on resident documents are smaller and go before long documents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerLimits:
    """Budgets of the running batch."""

    prefill_tokens: int
    fetch_tokens: int = 65_536
    fetch_window_pages: int = 16
    affinity: bool = True
    sharing: bool = True
    max_age_s: float = 10.0


@dataclass(slots=True)
class StepPlan:
    """What the next step does. Moves come first, in order."""

    moves: list[Move] = field(default_factory=list)
    decodes: list[Scheduled] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    admitted: list[Scheduled] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        return len(self.decodes) + sum(chunk.end - chunk.start for chunk in self.chunks)

    @property
    def empty(self) -> bool:
        return not (self.moves or self.decodes or self.chunks)


class Scheduler:
    """Waiting and running sequences over one prefix pool."""

    def __init__(
        self,
        limits: SchedulerLimits,
        *,
        slots: Slots,
        prefixes: PrefixPool,
        clock: Callable[[], float],
    ) -> None:
        self.limits = limits
        self.slots = slots
        self.prefixes = prefixes
        self.blocks = prefixes.blocks
        self.waiting: list[Scheduled] = []
        self.running: list[Scheduled] = []
        self.prefill_tokens = limits.prefill_tokens
        self._clock = clock

    # -- entering and leaving ------------------------------------------------------------------

    def add(self, sequence: Scheduled) -> None:
        """Queue a sequence. The caller has checked `fits_at_all`."""
        offset = 0
        sequence.starts = []
        for page in sequence.pages:
            sequence.starts.append(offset)
            offset += page.num_tokens
        dtype_group = (
            sequence.dtype_group
            if self.limits.sharing
            else f"{sequence.dtype_group}/{sequence.ident}"
        )
        sequence.chain = self.prefixes.enter(sequence.pages, dtype_group=dtype_group)
        sequence.state = SequenceState.WAITING
        self.waiting.append(sequence)

    def remove(self, sequence: Scheduled) -> None:
        """Take a sequence out, whatever it was doing; nodes it was filling are up for others."""
        if sequence.state is SequenceState.FINISHED:
            return
        if sequence.state in (SequenceState.WAITING, SequenceState.FETCHING):
            self.waiting.remove(sequence)
            self._unclaim(sequence)
        else:
            self.running.remove(sequence)
            for node in sequence.chain:
                if node.claimed_by == sequence.ident:
                    if node.state is NodeState.FILLING:
                        self.prefixes.abandon(node)
                    node.claimed_by = None
            self.prefixes.unpin(sequence.chain)
            self.blocks.release(sequence.runs)
            self.slots.give_back(sequence.slot)
            sequence.runs, sequence.slot = (), -1
        sequence.state = SequenceState.FINISHED
        self.prefixes.leave(sequence.chain)
        if not self.limits.sharing:
            self.prefixes.drop_unused(sequence.chain)
        sequence.chain = []
        sequence.wanted, sequence.delivered = [], set()

    def _unclaim(self, sequence: Scheduled) -> None:
        for node in sequence.chain:
            if node.claimed_by == sequence.ident:
                node.claimed_by = None
        sequence.wanted, sequence.delivered = [], set()
        sequence.num_asked = 0

    # -- features ------------------------------------------------------------------------------

    def next_fetch(self, sequence: Scheduled) -> list[int]:
        """Pages whose features the caller should bring now; marks them as asked for."""
        if sequence.state not in (SequenceState.FETCHING, SequenceState.PREFILLING):
            return []
        held = sequence.num_asked + sum(
            sequence.pages[index].num_visual_tokens > 0 for index in sequence.delivered
        )
        room = 2 * self.limits.fetch_window_pages - held
        if sequence.num_asked or not sequence.wanted or room <= 0:
            return []
        pages = sequence.wanted[: min(room, self.limits.fetch_window_pages)]
        sequence.num_asked = len(pages)
        return pages

    def delivered(self, sequence: Scheduled, pages: list[int]) -> list[int]:
        """Features of these pages are here; returns those that are still wanted."""
        sequence.num_asked = max(0, sequence.num_asked - len(pages))
        useful = [index for index in pages if index in sequence.wanted]
        sequence.wanted = [index for index in sequence.wanted if index not in useful]
        sequence.delivered.update(useful)
        return useful

    # -- planning ------------------------------------------------------------------------------

    def rank(self, sequence: Scheduled, now: float) -> tuple[float, bool, float, float]:
        """Sort key of the queue: lowest goes first."""
        age_bonus = int((now - sequence.arrival) / self.limits.max_age_s)
        cold = self.limits.affinity and not self._is_warm(sequence)
        return (-sequence.priority - age_bonus, cold, sequence.deadline, sequence.arrival)

    @staticmethod
    def _is_warm(sequence: Scheduled) -> bool:
        return bool(sequence.chain) and all(
            node.state is not NodeState.ABSENT or node.in_host
            for node in sequence.chain
            if node.key.num_visual_tokens
        )

    def plan(self) -> StepPlan:
        """Claim, admit, and choose the tokens of the next step."""
        now = self._clock()
        plan = StepPlan()
        queue = sorted(self.waiting, key=lambda sequence: self.rank(sequence, now))
        self._claim(queue, now)
        self._admit(queue, plan, now)
        # Neighbours in the batch share the longest possible prefix.
        plan.decodes = sorted(
            (s for s in self.running if s.state is SequenceState.DECODING),
            key=lambda s: ([node.ident for node in s.chain], s.slot),
        )
        self._choose_chunks(plan)
        return plan

    def _claim(self, queue: list[Scheduled], now: float) -> None:
        budget = self.limits.fetch_tokens - sum(
            s.claimed_visual_tokens for s in (*self.waiting, *self.running)
        )
        any_held = any(s.state is SequenceState.FETCHING for s in self.waiting)
        for sequence in queue:
            missing = self._missing(sequence)
            if missing is None:  # somebody else computes a page of it
                if sequence.state is SequenceState.FETCHING:
                    # Two that each claim what the other needs would wait for ever.
                    self._unclaim(sequence)
                    sequence.state = SequenceState.WAITING
                continue
            fresh = [index for index in missing if sequence.chain[index].claimed_by is None]
            if not fresh:
                continue
            cost = sum(sequence.pages[index].num_visual_tokens for index in fresh)
            if sequence.state is SequenceState.WAITING and cost > budget and any_held:
                if now - sequence.arrival >= self.limits.max_age_s:
                    return  # smaller documents may overtake a large one only so long
                continue
            for index in fresh:
                sequence.chain[index].claimed_by = sequence.ident
            # An earlier turn has no features: nobody need bring any.
            sequence.delivered.update(
                index for index in fresh if not sequence.pages[index].num_visual_tokens
            )
            sequence.wanted = sorted({*sequence.wanted, *fresh} - sequence.delivered)
            sequence.state = SequenceState.FETCHING
            budget -= cost
            any_held = True

    def _missing(self, sequence: Scheduled) -> list[int] | None:
        """Pages to compute for this sequence; None while another sequence computes one of them."""
        missing: list[int] = []
        for index, node in enumerate(sequence.chain):
            if node.state is NodeState.READY or (node.state is NodeState.ABSENT and node.in_host):
                continue
            if node.claimed_by not in (None, sequence.ident):
                return None
            missing.append(index)
        return missing

    def _admit(self, queue: list[Scheduled], plan: StepPlan, now: float) -> None:
        for sequence in queue:
            if not self.slots.num_free:
                return
            missing = self._missing(sequence)
            if missing is None or any(
                sequence.chain[index].claimed_by != sequence.ident for index in missing
            ):
                continue
            if missing and missing[0] not in sequence.delivered:
                continue
            if self._take_room(sequence, plan):
                self._start(sequence, missing, plan, now)
            elif now - sequence.arrival >= self.limits.max_age_s:
                return  # smaller ones may overtake it only so long

    def _take_room(self, sequence: Scheduled, plan: StepPlan) -> bool:
        absent = [node for node in sequence.chain if node.state is NodeState.ABSENT]
        private = self.prefixes.blocks_for(sequence.num_private_tokens)
        self.prefixes.pin(sequence.chain)
        moves = self.prefixes.make_room(private + sum(node.num_blocks for node in absent))
        if moves is None:
            self.prefixes.unpin(sequence.chain)
            return False
        plan.moves += moves
        plan.moves += self.prefixes.begin_filling(absent)
        runs: tuple[BlockRange, ...] | None = self.blocks.allocate(private)
        assert runs is not None, "room was made for it"
        sequence.runs = runs
        return True

    def _start(self, sequence: Scheduled, missing: list[int], plan: StepPlan, now: float) -> None:
        slot = self.slots.take(sequence.ident)
        assert slot is not None, "a slot was free"
        sequence.slot = slot
        self.waiting.remove(sequence)
        self.running.append(sequence)
        sequence.state = SequenceState.PREFILLING
        sequence.admitted_at = now
        spans = [(sequence.starts[index], sequence.page_end(index)) for index in missing]
        spans.append((sequence.num_prefix_tokens, sequence.num_prompt_tokens))
        sequence.todo = _join(spans)
        sequence.num_reused_tokens = sequence.num_prompt_tokens - sequence.num_todo_tokens
        plan.admitted.append(sequence)

    def _choose_chunks(self, plan: StepPlan) -> None:
        budget = self.prefill_tokens
        for sequence in sorted(
            (s for s in self.running if s.state is SequenceState.PREFILLING),
            key=lambda s: (s.num_todo_tokens > SMALL_PREFILL, s.admitted_at, s.arrival),
        ):
            if budget <= 0:
                return
            start, end = sequence.todo[0]
            end = min(end, sequence.computable_until(), start + budget)
            if end > start:
                plan.chunks.append(Chunk(sequence, start, end))
                budget -= end - start

    # -- after a step --------------------------------------------------------------------------

    def computed(self, chunk: Chunk) -> list[int]:
        """A chunk's keys are in the pool. Returns pages that are complete: drop their features."""
        sequence = chunk.sequence
        start, end = sequence.todo[0]
        assert start == chunk.start
        assert chunk.end <= end
        sequence.todo[0] = (chunk.end, end)
        if chunk.end == end:
            sequence.todo.pop(0)
        done: list[int] = []
        for index, node in enumerate(sequence.chain):
            if sequence.page_end(index) > chunk.end:
                break
            if node.state is NodeState.FILLING and node.claimed_by == sequence.ident:
                self.prefixes.filled(node)
                sequence.delivered.discard(index)
                done.append(index)
        if not sequence.todo:
            sequence.state = SequenceState.DECODING
        return done


def _join(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge touching ranges."""
    out: list[tuple[int, int]] = []
    for start, end in spans:
        if out and out[-1][1] == start:
            out[-1] = (out[-1][0], end)
        elif end > start:
            out.append((start, end))
    return out
