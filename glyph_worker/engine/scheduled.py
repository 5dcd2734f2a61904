"""One generation inside the engine: what it needs and how far it is. Counts only: no tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from glyph_worker.engine.blocks import BlockRange
from glyph_worker.engine.prefix import NodeState, PageKey, PrefixNode


class SequenceState(Enum):
    """Where a sequence is. It only moves down this list, but for FETCHING back to WAITING."""

    WAITING = "waiting"
    """In the queue; holds nothing."""
    FETCHING = "fetching"
    """Has claimed the pages nobody keeps; its caller brings their features."""
    PREFILLING = "prefilling"
    """Has a slot and all its blocks; its prompt is being computed, chunk by chunk."""
    DECODING = "decoding"
    """One token per step."""
    FINISHED = "finished"
    """Left the engine, for whatever reason."""


@dataclass(eq=False, slots=True, kw_only=True)
class Scheduled:
    """The scheduler's view of a request."""

    ident: str
    pages: tuple[PageKey, ...]
    num_tail_tokens: int
    """Question tokens and what surrounds them: everything after the last page."""
    max_new_tokens: int
    priority: int = 0
    """Higher goes first."""
    deadline: float = float("inf")
    """On the engine's clock; the earlier goes first among equals."""
    arrival: float = 0.0
    dtype_group: str = ""
    state: SequenceState = SequenceState.WAITING
    chain: list[PrefixNode] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    """Token offset of each page in the prompt."""
    runs: tuple[BlockRange, ...] = ()
    """Private blocks: the tail and the answer."""
    slot: int = -1
    todo: list[tuple[int, int]] = field(default_factory=list)
    """Token ranges of the prompt still to be computed, in order."""
    num_answer_tokens: int = 0
    num_reused_tokens: int = 0
    wanted: list[int] = field(default_factory=list)
    """Pages whose features are claimed and not yet asked for."""
    num_asked: int = 0
    """Pages asked for and not yet delivered."""
    delivered: set[int] = field(default_factory=set)
    """Pages whose features are here and not yet prefilled."""
    admitted_at: float = 0.0

    @property
    def num_prefix_tokens(self) -> int:
        return sum(page.num_tokens for page in self.pages)

    @property
    def num_prompt_tokens(self) -> int:
        return self.num_prefix_tokens + self.num_tail_tokens

    @property
    def num_private_tokens(self) -> int:
        """Room for the tail and the longest possible answer; its last token is never written."""
        return self.num_tail_tokens + self.max_new_tokens - 1

    @property
    def num_todo_tokens(self) -> int:
        return sum(end - start for start, end in self.todo)

    @property
    def claimed_visual_tokens(self) -> int:
        """Visual tokens whose features this sequence holds or is about to hold."""
        pending = {*self.wanted, *self.delivered}
        return sum(self.pages[index].num_visual_tokens for index in pending)

    def afresh(self, dtype_group: str) -> Scheduled:
        """The same request, nothing of it computed."""
        return Scheduled(
            ident=self.ident,
            pages=self.pages,
            num_tail_tokens=self.num_tail_tokens,
            max_new_tokens=self.max_new_tokens,
            priority=self.priority,
            deadline=self.deadline,
            arrival=self.arrival,
            dtype_group=dtype_group,
        )

    def page_end(self, index: int) -> int:
        """Token offset after page `index`."""
        return self.starts[index] + self.pages[index].num_tokens

    def computable_until(self) -> int:
        """How far the prompt can be prefilled with the features that are here."""
        for index, node in enumerate(self.chain):
            if node.state is not NodeState.READY and index not in self.delivered:
                return self.starts[index]
        return self.num_prompt_tokens


@dataclass(frozen=True, slots=True)
class Chunk:
    """A range of one sequence's prompt, computed in one step."""

    sequence: Scheduled
    start: int
    end: int

    @property
    def is_last(self) -> bool:
        """Whether the first answer token comes out of it."""
        return self.end == self.sequence.num_prompt_tokens
