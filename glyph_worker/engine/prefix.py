"""Whose keys and values are kept: a tree of page prefixes. Accounting only: no tensors.

A node is one page with the text tokens before it; the path from the root is everything a page's
keys depend on, so documents that begin with the same pages share those nodes. Sequences pin the
nodes they read; what nobody pins stays until its blocks are needed, least recently used first and
leaves before their parents. An evicted node may keep a copy in host memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from glyph_worker.engine.blocks import BlockPool, BlockRange, split_runs


class NodeState(Enum):
    """Where a node's keys and values are."""

    ABSENT = "absent"
    """Nowhere (or only in host memory): to be computed or restored."""
    FILLING = "filling"
    """Blocks are allocated; a sequence is computing them."""
    READY = "ready"
    """On the device, readable by any sequence."""


@dataclass(frozen=True, slots=True)
class PageKey:
    """What tells one page's keys from another's, given all pages before it.

    An earlier turn of a conversation is one as well: text tokens alone, and nothing visual.
    """

    digest: str
    lead: tuple[int, ...]
    """Text tokens before the page."""
    num_visual_tokens: int

    @property
    def num_tokens(self) -> int:
        return len(self.lead) + self.num_visual_tokens


@dataclass(eq=False, slots=True)
class PrefixNode:
    """One page's place in the tree."""

    ident: int
    key: PageKey
    parent: PrefixNode | None
    num_blocks: int
    state: NodeState = NodeState.ABSENT
    runs: tuple[BlockRange, ...] = ()
    pins: int = 0
    """Running sequences that read or fill it."""
    interest: int = 0
    """Sequences, waiting or running, whose document holds it."""
    claimed_by: str | None = None
    """The sequence that will compute it."""
    host_runs: tuple[BlockRange, ...] = ()
    """Blocks of its copy in host memory, if it has one."""
    last_used: int = 0
    children: dict[PageKey, PrefixNode] = field(default_factory=dict)

    @property
    def num_tokens(self) -> int:
        return self.key.num_tokens

    @property
    def in_host(self) -> bool:
        return bool(self.host_runs)


class MoveKind(Enum):
    """What happens to a node's keys outside of a forward."""

    OFFLOAD = "offload"
    """Copy device blocks to host memory; the blocks are free afterwards."""
    RESTORE = "restore"
    """Copy from host memory into new blocks."""


@dataclass(frozen=True, slots=True)
class Move:
    """One transfer, to be carried out in order and before the step it came with."""

    kind: MoveKind
    runs: tuple[BlockRange, ...]
    """On the device."""
    host_runs: tuple[BlockRange, ...]


class PrefixPool:
    """The tree, its blocks and its memory of use."""

    def __init__(
        self, blocks: BlockPool, *, block_tokens: int, host: BlockPool | None = None
    ) -> None:
        """`host` counts the blocks of the tier that evicted nodes are copied to."""
        self.blocks = blocks
        self.host = host or BlockPool(0)
        self.block_tokens = block_tokens
        self.num_evictions = 0
        self.num_restores = 0
        self._roots: dict[str, dict[PageKey, PrefixNode]] = {}
        self._nodes: dict[int, PrefixNode] = {}
        self._next_ident = 0
        self._tick = 0
        self._evictable = 0

    # -- the tree ------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[PrefixNode]:
        return iter(self._nodes.values())

    @property
    def num_ready(self) -> int:
        return sum(node.state is NodeState.READY for node in self._nodes.values())

    @property
    def num_evictable_blocks(self) -> int:
        """Blocks of ready nodes that no running sequence reads."""
        return self._evictable

    @property
    def num_host_blocks(self) -> int:
        return self.host.num_blocks - self.host.num_free

    def blocks_for(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_tokens)

    def enter(self, keys: Sequence[PageKey], *, dtype_group: str = "") -> list[PrefixNode]:
        """The nodes of a document's pages, made where missing; marks interest in them.

        `lane` keeps apart what must never be mixed: another dtype, another tenant.
        """
        parent: PrefixNode | None = None
        level = self._roots.setdefault(dtype_group, {})
        chain: list[PrefixNode] = []
        for key in keys:
            node = level.get(key)
            if node is None:
                node = PrefixNode(self._next_ident, key, parent, self.blocks_for(key.num_tokens))
                self._next_ident += 1
                level[key] = node
                self._nodes[node.ident] = node
            node.interest += 1
            chain.append(node)
            parent, level = node, node.children
        return chain

    def leave(self, chain: Sequence[PrefixNode]) -> None:
        """The opposite of `enter`; nodes that hold nothing and interest nobody vanish."""
        for node in reversed(chain):
            node.interest -= 1
            assert node.interest >= 0
            self._prune(node)

    def _prune(self, node: PrefixNode) -> None:
        while (
            node.state is NodeState.ABSENT
            and not (node.in_host or node.interest or node.pins or node.children)
            and node.ident in self._nodes
        ):
            del self._nodes[node.ident]
            if node.parent is not None:
                del node.parent.children[node.key]
                node = node.parent
                continue
            for dtype_group, level in list(self._roots.items()):
                if level.get(node.key) is node:
                    del level[node.key]
                    if not level:
                        del self._roots[dtype_group]
            return

    # -- pins and use --------------------------------------------------------------------------

    def pin(self, chain: Iterable[PrefixNode]) -> None:
        """Keep these nodes where they are; a use of them."""
        self._tick += 1
        for node in chain:
            if node.pins == 0 and node.state is NodeState.READY:
                self._evictable -= node.num_blocks
            node.pins += 1
            node.last_used = self._tick

    def unpin(self, chain: Iterable[PrefixNode]) -> None:
        self._tick += 1
        for node in chain:
            node.pins -= 1
            assert node.pins >= 0
            node.last_used = self._tick
            if node.pins == 0 and node.state is NodeState.READY:
                self._evictable += node.num_blocks

    # -- filling -------------------------------------------------------------------------------

    def begin_filling(self, nodes: Sequence[PrefixNode]) -> list[Move]:
        """Give pinned, absent nodes their blocks, in one run if there is one.

        Nodes with a host copy become ready by the returned moves; the others are FILLING. The
        caller has made room.
        """
        runs = self.blocks.allocate(sum(node.num_blocks for node in nodes))
        assert runs is not None, "room was made before"
        moves: list[Move] = []
        parts = split_runs(runs, [node.num_blocks for node in nodes])
        for node, part in zip(nodes, parts, strict=True):
            assert node.pins > 0
            assert node.state is NodeState.ABSENT
            node.runs = part
            if node.in_host:
                node.state = NodeState.READY
                self.num_restores += 1
                moves.append(Move(MoveKind.RESTORE, part, node.host_runs))
            else:
                node.state = NodeState.FILLING
        return moves

    def filled(self, node: PrefixNode) -> None:
        """A FILLING node's keys are complete."""
        assert node.state is NodeState.FILLING
        assert node.pins > 0
        node.state = NodeState.READY
        node.claimed_by = None

    def abandon(self, node: PrefixNode) -> None:
        """A FILLING node's sequence gave up: its blocks are free, others may claim it."""
        assert node.state is NodeState.FILLING
        self.blocks.release(node.runs)
        node.runs, node.state, node.claimed_by = (), NodeState.ABSENT, None

    # -- eviction ------------------------------------------------------------------------------

    def make_room(self, num_blocks: int) -> list[Move] | None:
        """Evict until `num_blocks` are free. None, and no change, when that cannot be."""
        if self.blocks.num_free + self._evictable < num_blocks:
            return None
        moves: list[Move] = []
        if self.blocks.num_free >= num_blocks:
            return moves
        # A parent is used whenever its child is: in this order leaves come before their parents.
        candidates = sorted(
            (n for n in self._nodes.values() if n.state is NodeState.READY and n.pins == 0),
            key=lambda node: (node.interest > 0, node.last_used, -node.ident),
        )
        for node in candidates:
            if self.blocks.num_free >= num_blocks:
                break
            moves += self._evict(node)
        assert self.blocks.num_free >= num_blocks
        return moves

    def drop_unused(self, chain: Sequence[PrefixNode]) -> None:
        """Free unpinned nodes at once, without a host copy (sharing is switched off)."""
        for node in reversed(chain):
            if node.state is NodeState.READY and node.pins == 0:
                self._free(node)
            self._prune(node)

    def _free(self, node: PrefixNode) -> None:
        self._evictable -= node.num_blocks
        self.blocks.release(node.runs)
        node.runs, node.state = (), NodeState.ABSENT

    def _evict(self, node: PrefixNode) -> list[Move]:
        self.num_evictions += 1
        moves: list[Move] = []
        if not node.in_host and node.num_blocks <= self.host.num_blocks:
            self._make_host_room(node.num_blocks)
            room = self.host.allocate(node.num_blocks)
            if room is not None:
                node.host_runs = room
                moves.append(Move(MoveKind.OFFLOAD, node.runs, room))
        self._free(node)
        self._prune(node)
        return moves

    def _make_host_room(self, num_blocks: int) -> None:
        kept = sorted(
            # Pinned ones may be about to be restored by the step in the making.
            (n for n in self._nodes.values() if n.in_host and n.pins == 0),
            key=lambda node: (node.interest > 0, node.last_used),
        )
        for node in kept:
            if self.host.num_free >= num_blocks:
                return
            self.host.release(node.host_runs)
            node.host_runs = ()
            self._prune(node)
