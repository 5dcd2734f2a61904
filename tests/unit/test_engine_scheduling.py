"""Accounting laws of the scheduling half: nothing leaks, nothing starves, budgets hold."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glyph_worker.engine.blocks import BlockPool, split_runs
from glyph_worker.engine.prefix import MoveKind, NodeState, PageKey, PrefixPool
from glyph_worker.engine.scheduled import Scheduled, SequenceState
from glyph_worker.engine.scheduler import Scheduler, SchedulerLimits, StepPlan
from glyph_worker.engine.slots import Slots


def blocks_of(runs: tuple[tuple[int, int], ...]) -> list[int]:
    return [block for start, count in runs for block in range(start, start + count)]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=60), st.integers(0, 100))
def test_blocks_are_conserved_and_never_given_twice(
    steps: list[tuple[bool, int]], size: int
) -> None:
    pool = BlockPool(size)
    held: list[tuple[tuple[int, int], ...]] = []
    for take, number in steps:
        if take:
            free = pool.num_free
            runs = pool.allocate(number)
            assert (runs is None) == (number > free)
            if runs is not None:
                held.append(runs)
        elif held:
            pool.release(held.pop(number % len(held)))
        owned = [block for runs in held for block in blocks_of(runs)]
        free_blocks = blocks_of(pool.free_runs)
        assert sorted(owned + free_blocks) == list(range(size))
        assert pool.num_free == len(free_blocks)
        assert all(
            a[0] + a[1] < b[0] for a, b in zip(pool.free_runs, pool.free_runs[1:], strict=False)
        ), "free runs that touch should be one"


@given(st.lists(st.integers(0, 20), max_size=10), st.integers(0, 5))
def test_splitting_runs_keeps_every_block_in_order(sizes: list[int], seed: int) -> None:
    rng, start = random.Random(seed), 0
    runs, left = [], sum(sizes)
    while left:
        count = rng.randint(1, left)
        start += rng.randint(0, 3)
        runs.append((start, count))
        start, left = start + count, left - count
    parts = split_runs(tuple(runs), sizes)
    assert [len(blocks_of(part)) for part in parts] == sizes
    assert [b for part in parts for b in blocks_of(part)] == blocks_of(tuple(runs))


@dataclass
class House:
    """A scheduler with pretend compute: what a step writes and reads is checked against a map of
    which node's tokens lie in which block."""

    scheduler: Scheduler
    device: dict[int, object] = field(default_factory=dict)
    host: dict[int, object] = field(default_factory=dict)
    finished: list[str] = field(default_factory=list)
    now: float = 0.0

    def identity(self, sequence: Scheduled, index: int) -> object:
        return (sequence.dtype_group, *(page.digest for page in sequence.pages[: index + 1]))

    def carry_out(self, plan: StepPlan) -> None:
        for move in plan.moves:
            here, there = blocks_of(move.runs), blocks_of(move.host_runs)
            assert len(here) == len(there)
            for block, copy in zip(here, there, strict=True):
                if move.kind is MoveKind.OFFLOAD:
                    self.host[copy] = self.device[block]
                else:
                    self.device[block] = self.host[copy]

    def compute(self, plan: StepPlan) -> None:
        self.carry_out(plan)
        for chunk in plan.chunks:
            sequence = chunk.sequence
            for index, node in enumerate(sequence.chain):
                if sequence.starts[index] < chunk.end and chunk.start < sequence.page_end(index):
                    assert node.state is NodeState.FILLING
                    assert node.claimed_by == sequence.ident
                    assert index in sequence.delivered, "computed without its features"
                    for block in blocks_of(node.runs):
                        self.device[block] = self.identity(sequence, index)
                elif sequence.page_end(index) <= chunk.start:
                    self.read(sequence, index)
        for sequence in plan.decodes:
            for index in range(len(sequence.chain)):
                self.read(sequence, index)
            for block in blocks_of(sequence.runs):
                self.device[block] = sequence.ident

    def read(self, sequence: Scheduled, index: int) -> None:
        node = sequence.chain[index]
        assert node.state is NodeState.READY
        for block in blocks_of(node.runs):
            assert self.device[block] == self.identity(sequence, index), "read another's keys"

    def step(self, rng: random.Random, *, slow_fetch: float = 0.0) -> StepPlan:
        scheduler = self.scheduler
        plan = scheduler.plan()
        assert sum(c.end - c.start for c in plan.chunks) <= scheduler.prefill_tokens
        assert len(plan.decodes) <= scheduler.slots.num_slots
        for sequence in [*scheduler.waiting, *scheduler.running]:
            wanted = scheduler.next_fetch(sequence)
            if wanted and rng.random() >= slow_fetch:
                scheduler.delivered(sequence, wanted)
            elif wanted:
                sequence.num_asked = 0  # not brought this time; asked again
        self.compute(plan)
        for chunk in plan.chunks:
            scheduler.computed(chunk)
            if chunk.is_last:
                chunk.sequence.num_answer_tokens = 1
        for sequence in plan.decodes:
            sequence.num_answer_tokens += 1
        for sequence in list(scheduler.running):
            if (
                sequence.state is SequenceState.DECODING
                and sequence.num_answer_tokens >= sequence.max_new_tokens
            ):
                self.finish(sequence)
        self.now += 1.0
        self.check()
        return plan

    def finish(self, sequence: Scheduled) -> None:
        assert sequence.ident not in self.finished
        self.scheduler.remove(sequence)
        self.finished.append(sequence.ident)

    def check(self) -> None:
        scheduler = self.scheduler
        owned = [b for node in scheduler.prefixes for b in blocks_of(node.runs)]
        owned += [b for s in scheduler.running for b in blocks_of(s.runs)]
        free = blocks_of(scheduler.blocks.free_runs)
        assert sorted(owned + free) == list(range(scheduler.blocks.num_blocks))
        kept = [b for node in scheduler.prefixes for b in blocks_of(node.host_runs)]
        free = blocks_of(scheduler.prefixes.host.free_runs)
        assert sorted(kept + free) == list(range(scheduler.prefixes.host.num_blocks))
        assert scheduler.slots.num_used == len(scheduler.running)
        evictable = sum(
            node.num_blocks
            for node in scheduler.prefixes
            if node.state is NodeState.READY and node.pins == 0
        )
        assert scheduler.prefixes.num_evictable_blocks == evictable
        pins: dict[int, int] = {}
        for sequence in scheduler.running:
            for node in sequence.chain:
                pins[node.ident] = pins.get(node.ident, 0) + 1
        assert {n.ident: n.pins for n in scheduler.prefixes if n.pins} == pins


def make_house(
    *,
    num_blocks: int = 60,
    block_tokens: int = 4,
    host_blocks: int = 0,
    num_slots: int = 4,
    sharing: bool = True,
    affinity: bool = True,
    max_age_s: float = 20.0,
) -> House:
    house: House
    prefixes = PrefixPool(
        BlockPool(num_blocks), block_tokens=block_tokens, host=BlockPool(host_blocks)
    )
    scheduler = Scheduler(
        SchedulerLimits(
            prefill_tokens=16,
            fetch_tokens=40,
            fetch_window_pages=2,
            sharing=sharing,
            affinity=affinity,
            max_age_s=max_age_s,
        ),
        slots=Slots(num_slots),
        prefixes=prefixes,
        clock=lambda: house.now,
    )
    house = House(scheduler)
    return house


def make_sequence(
    name: str, digests: list[str], *, tail: int = 5, new: int = 4, **more: object
) -> Scheduled:
    sizes = {digest: 6 + sum(digest.encode()) % 9 for digest in digests}
    pages = tuple(PageKey(digest, (1, 2), sizes[digest]) for digest in digests)
    return Scheduled(
        ident=name,
        pages=pages,
        num_tail_tokens=tail,
        max_new_tokens=new,
        **more,  # type: ignore[arg-type]
    )


documents = st.sampled_from([["a"], ["a", "b"], ["a", "b", "c"], ["a", "d"], ["x", "y"], ["z"]])


@settings(max_examples=120, deadline=None)
@given(
    asked=st.lists(
        st.tuples(documents, st.integers(1, 12), st.integers(1, 9), st.integers(0, 2)), max_size=14
    ),
    seed=st.integers(0, 10_000),
    num_blocks=st.sampled_from([24, 40, 90]),
    block_tokens=st.sampled_from([1, 4]),
    host_blocks=st.sampled_from([0, 20, 200]),
    num_slots=st.integers(1, 4),
    sharing=st.booleans(),
    affinity=st.booleans(),
)
def test_every_sequence_finishes_once_and_nothing_leaks(
    asked: list[tuple[list[str], int, int, int]],
    seed: int,
    num_blocks: int,
    block_tokens: int,
    host_blocks: int,
    num_slots: int,
    sharing: bool,
    affinity: bool,
) -> None:
    rng = random.Random(seed)
    house = make_house(
        num_blocks=num_blocks if block_tokens > 1 else num_blocks * 3,
        block_tokens=block_tokens,
        host_blocks=host_blocks,
        num_slots=num_slots,
        sharing=sharing,
        affinity=affinity,
    )
    pending = [
        make_sequence(str(number), pages, tail=tail, new=new, priority=priority)
        for number, (pages, tail, new, priority) in enumerate(asked)
    ]
    pending = [sequence for sequence in pending if fits(house.scheduler, sequence)]
    names = [sequence.ident for sequence in pending]
    cancelled = 0
    for _ in range(3_000):
        if pending and rng.random() < 0.5:
            sequence = pending.pop(0)
            sequence.arrival = house.now
            house.scheduler.add(sequence)
        inside = [*house.scheduler.waiting, *house.scheduler.running]
        if inside and rng.random() < 0.03:  # cancelled at any point of its life
            house.finish(rng.choice(inside))
            cancelled += 1
        house.step(rng, slow_fetch=0.3)
        if not pending and not inside:
            break
    assert sorted(house.finished) == sorted(names)
    assert house.scheduler.slots.num_used == 0
    for node in house.scheduler.prefixes:
        assert node.pins == node.interest == 0
        assert node.claimed_by is None
        assert node.state is NodeState.READY or node.in_host
    if not sharing:
        assert house.scheduler.blocks.num_free == house.scheduler.blocks.num_blocks


def run_until_idle(house: House, limit: int = 500) -> None:
    rng = random.Random(0)
    for _ in range(limit):
        house.step(rng)
        if not house.scheduler.waiting and not house.scheduler.running:
            return
    pytest.fail(f"still busy after {limit} steps")


def test_prefix_is_computed_once_for_all_its_questions() -> None:
    house = make_house(num_blocks=200)
    for name in "pqrs":
        house.scheduler.add(make_sequence(name, ["a", "b", "c"]))
    computed: list[tuple[str, int, int]] = []
    rng = random.Random(0)
    while house.scheduler.waiting or house.scheduler.running:
        plan = house.step(rng)
        computed += [(c.sequence.ident, c.start, c.end) for c in plan.chunks]
    prefix = make_sequence("p", ["a", "b", "c"]).num_prefix_tokens
    by_prefix = [who for who, start, _ in computed if start < prefix]
    assert set(by_prefix) == {"p"}


def test_questions_on_a_resident_document_go_first_but_not_for_ever() -> None:
    house = make_house(num_slots=1, max_age_s=30.0)
    house.scheduler.add(make_sequence("warm-up", ["a", "b"], new=1))
    run_until_idle(house)
    cold = make_sequence("cold", ["x"], new=3, arrival=house.now)
    house.scheduler.add(cold)
    rng = random.Random(0)
    order: list[str] = []
    for number in range(60):
        house.scheduler.add(make_sequence(f"warm{number}", ["a", "b"], new=3, arrival=house.now))
        order += [s.ident for s in house.step(rng).admitted]
        if "cold" in order:
            break
    assert order[0].startswith("warm"), "the resident document goes first"
    assert "cold" in order, "but only within the age limit"
    assert house.now < 45


def test_higher_priority_then_earlier_deadline_then_arrival() -> None:
    house = make_house(num_slots=1)
    for name, more in (
        ("late", {"deadline": 90.0}),
        ("soon", {"deadline": 50.0}),
        ("vip", {"priority": 1}),
        ("plain", {}),
    ):
        house.scheduler.add(make_sequence(name, [name], new=1, **more))
    rng, order = random.Random(0), []
    while house.scheduler.waiting or house.scheduler.running:
        order += [s.ident for s in house.step(rng).admitted]
    assert order == ["vip", "soon", "late", "plain"]


def test_long_prefill_goes_in_chunks_between_decode_steps() -> None:
    house = make_house(num_blocks=400, num_slots=2)
    house.scheduler.add(make_sequence("running", ["a"], new=60))
    rng = random.Random(0)
    while not any(s.state is SequenceState.DECODING for s in house.scheduler.running):
        house.step(rng)
    house.scheduler.add(make_sequence("long", [f"p{i}" for i in range(20)], new=1))
    chunks = 0
    while "long" not in house.finished:
        plan = house.step(rng)
        if "running" not in house.finished:
            assert [s.ident for s in plan.decodes if s.ident == "running"] == ["running"]
        chunks += len(plan.chunks)
    assert chunks > 10


def test_waiters_take_over_when_the_one_who_fills_gives_up() -> None:
    house = make_house(num_blocks=200)
    first, second = make_sequence("first", ["a", "b", "c"]), make_sequence("second", ["a", "b"])
    house.scheduler.add(first)
    house.scheduler.add(second)
    rng = random.Random(0)
    while first.state is not SequenceState.PREFILLING:
        house.step(rng)
    house.finish(first)
    run_until_idle(house)
    assert house.finished == ["first", "second"]


def test_two_that_claim_what_the_other_needs_do_not_wait_for_ever() -> None:
    house = make_house(num_blocks=200)
    pool = house.scheduler.prefixes
    first = make_sequence("first", ["a", "b"])
    house.scheduler.add(first)
    house.scheduler.plan()  # first claims a and b
    second = make_sequence("second", ["a", "b"])
    house.scheduler.add(second)
    # As after an eviction at a bad moment: the halves are claimed by different ones.
    first.chain[0].claimed_by = "second"
    first.wanted = [1]
    second.state, second.wanted = SequenceState.FETCHING, [0]
    run_until_idle(house)
    assert sorted(house.finished) == ["first", "second"]
    assert pool.num_ready == 2


def test_least_recently_used_leaves_are_evicted_before_their_parents() -> None:
    house = make_house(num_blocks=13)
    for name, pages in (("1", ["a", "b"]), ("2", ["x"]), ("3", ["a", "b"])):
        house.scheduler.add(make_sequence(name, pages, new=1, tail=2))
        run_until_idle(house)
    house.scheduler.add(make_sequence("4", ["z"], new=1, tail=2))
    run_until_idle(house)
    left = {node.key.digest for node in house.scheduler.prefixes if node.state is NodeState.READY}
    assert "x" not in left, "the oldest document goes first"
    assert {"a", "z"} <= left


def test_evicted_pages_come_back_from_host_memory_without_being_computed() -> None:
    house = make_house(num_blocks=12, host_blocks=100)
    for name, pages in (("1", ["a", "b"]), ("2", ["x", "y"])):
        house.scheduler.add(make_sequence(name, pages, new=1, tail=2))
        run_until_idle(house)
    again = make_sequence("3", ["a", "b"], new=1, tail=2)
    house.scheduler.add(again)
    rng, chunks = random.Random(0), []
    while house.scheduler.waiting or house.scheduler.running:
        chunks += house.step(rng).chunks
    assert [(c.start, c.end) for c in chunks] == [
        (again.num_prefix_tokens, again.num_prompt_tokens)
    ]
    assert house.scheduler.prefixes.num_restores > 0


def test_features_in_waiting_stay_within_their_budget() -> None:
    house = make_house(num_blocks=400, num_slots=1)
    for name in "pqrst":
        house.scheduler.add(make_sequence(name, [name, name * 2, name * 3], new=2))
    rng = random.Random(0)
    budget = house.scheduler.limits.fetch_tokens
    largest = max(s.num_prefix_tokens for s in house.scheduler.waiting)
    while house.scheduler.waiting or house.scheduler.running:
        house.step(rng)
        held = sum(
            s.claimed_visual_tokens for s in (*house.scheduler.waiting, *house.scheduler.running)
        )
        assert held <= budget + largest


def test_large_document_is_not_starved_by_a_stream_of_small_ones() -> None:
    house = make_house(num_blocks=400, num_slots=2, max_age_s=20.0)
    rng = random.Random(0)
    house.scheduler.add(make_sequence("s", ["s1", "s2"], new=9))
    large = make_sequence("large", [f"p{i}" for i in range(8)], new=1, priority=-1)
    house.scheduler.add(large)
    for number in range(120):
        # Always a small one being fetched, always one more behind it.
        arrival = house.now
        house.scheduler.add(make_sequence(f"{number}", [f"x{number}"], new=6, arrival=arrival))
        house.step(rng, slow_fetch=0.5)
        if "large" in house.finished:
            return
    pytest.fail("the large document never ran")


def test_slots_give_the_lowest_first_and_none_when_full() -> None:
    slots = Slots(2)
    assert (slots.take("a"), slots.take("b"), slots.take("c")) == (0, 1, None)
    slots.give_back(0)
    assert slots.take("d") == 0


def test_scheduling_half_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['numpy'] = None\n"
        "import glyph_worker.engine.scheduler, glyph_worker.engine.slots\n"
        "import glyph_worker.engine.scheduled, glyph_worker.engine.prefix"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def fits(scheduler: Scheduler, sequence: Scheduled) -> bool:
    """Whether an otherwise empty pool could hold it."""
    blocks_for = scheduler.prefixes.blocks_for
    pages = sum(blocks_for(page.num_tokens) for page in sequence.pages)
    return pages + blocks_for(sequence.num_private_tokens) <= scheduler.blocks.num_blocks


@pytest.mark.parametrize("seed", range(6))
def test_heavy_load_on_a_small_pool_drains(seed: int) -> None:
    rng = random.Random(seed)
    house = make_house(num_blocks=30, host_blocks=rng.choice([0, 15, 60]), num_slots=3)
    pool = ["a", "b", "c", "d"]
    pending = []
    for number in range(60):
        pages = [rng.choice("ab"), *rng.sample(pool, rng.randint(0, 2))]
        sequence = make_sequence(str(number), pages, new=rng.randint(1, 9), tail=rng.randint(1, 9))
        if fits(house.scheduler, sequence):
            pending.append(sequence)
    names = [sequence.ident for sequence in pending]
    waits: list[float] = []
    for _ in range(5_000):
        for _ in range(rng.randint(0, 2)):
            if pending:
                pending[0].arrival = house.now
                house.scheduler.add(pending.pop(0))
        plan = house.step(rng, slow_fetch=0.3)
        waits += [house.now - sequence.arrival for sequence in plan.admitted]
        if not (pending or house.scheduler.waiting or house.scheduler.running):
            break
    assert sorted(house.finished) == sorted(names)
    assert house.scheduler.prefixes.num_evictions > 10, "a pool this small must evict"
