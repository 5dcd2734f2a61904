"""What one forward computes, as tensors: rows, places, and whom each row attends to. No forward."""

from __future__ import annotations

from collections import abc
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glyph_worker.engine.graphs import DecodeRows
from glyph_worker.engine.pieces import Group, PieceTable
from glyph_worker.engine.prefix import PrefixNode
from glyph_worker.engine.scheduled import Chunk
from glyph_worker.engine.sequence import (
    Places,
    Sequence,
    node_extents,
    run_extents,
    run_places,
)
from glyph_worker.model.attention import (
    AttentionPlan,
    Causal,
    Extent,
    Private,
    Shared,
    Splits,
)
from glyph_worker.model.language import LanguageModel, StepInput

MAX_EXTENTS = 4
"""More pieces of a shared prefix than this are gathered into one."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one forward computes: sequences that decode, and chunks with their sequences."""

    decodes: tuple[Sequence, ...]
    chunks: tuple[tuple[Sequence, Chunk], ...]

    @property
    def dtype_group(self) -> str:
        """The dtype that all of it runs in."""
        first = self.decodes[0] if self.decodes else self.chunks[0][0]
        return first.scheduled.dtype_group


class StepInputs:
    """Makes them for one model and one pool. Single-threaded."""

    def __init__(self, language: LanguageModel, block_tokens: int, *, grouped: bool) -> None:
        self.language = language
        self.grouped = grouped
        self._size = block_tokens

    def decode_rows(self, decodes: tuple[Sequence, ...], table: PieceTable) -> DecodeRows:
        return DecodeRows(
            token_ids=np.array([live.token_ids[-1] for live in decodes], dtype=np.int64),
            positions=np.array([_decode_position(live) for live in decodes], dtype=np.int32),
            places=np.array([self._last_place(live) for live in decodes], dtype=np.int64),
            table=table,
        )

    def build(
        self, work: Work, dtype: torch.dtype, table: PieceTable | None
    ) -> tuple[StepInput, list[tuple[int, Sequence]]]:
        """A forward's tensors, and which of its rows ends which sequence's prompt."""
        count, device = len(work.decodes), self.language.device
        positions: list[np.ndarray] = []
        places: list[Places] = []
        pieces: list[Tensor] = []
        deep: list[tuple[int, Tensor]] = []
        logit_rows = list(range(count))
        ends: list[tuple[int, Sequence]] = []
        shared: list[Shared] = []
        causal: list[Causal] = []
        private: Private | None = None
        splits: Splits | None = None
        levels, offset = 1, 0
        if count:
            row = np.array([_decode_position(live) for live in work.decodes], dtype=np.int32)
            positions.append(np.broadcast_to(row, (3, count)))
            places.append(np.array([self._last_place(live) for live in work.decodes]))
            pieces.append(self._embed([live.token_ids[-1] for live in work.decodes]))
            if table is not None:
                splits, offset = _splits_on(table, device), count
            else:
                private = self._private(work.decodes, dtype)
                for level, group in self._groups(_chains(work.decodes)):
                    rows = slice(group.first, group.first + group.count)
                    shared.append(self._shared(rows, group.extents, 1 + level))
        start = count
        for live, chunk in work.chunks:
            size = chunk.end - chunk.start
            rows = slice(start - offset, start - offset + size)
            positions.append(live.positions[:, chunk.start : chunk.end])
            places.append(self._prompt_places(live, chunk.start, chunk.end))
            for embeds, added in self._inputs(live, chunk.start, chunk.end):
                if added is not None:
                    deep.append((sum(map(len, pieces)), added))
                pieces.append(embeds)
            causal.append(Causal(rows, 0))
            earlier = self._extents_before(live, chunk.start)
            if earlier:
                shared.append(self._shared(rows, tuple(earlier), 1))
            start += size
            if chunk.is_last:
                logit_rows.append(start - 1)
                ends.append((start - 1, live))
        levels = max([1, *(item.level + item.num_levels for item in shared)])
        step = StepInput(
            embeds=(torch.cat(pieces) if len(pieces) > 1 else pieces[0]).to(dtype),
            positions=to_device(np.concatenate(positions, axis=1), device),
            places=to_device(np.concatenate(places), device),
            logit_rows=torch.tensor(logit_rows, dtype=torch.int64, device=device),
            plan=AttentionPlan(tuple(shared), tuple(causal), private, levels, splits),
            deep=self._deep(deep, start, dtype) if deep else None,
        )
        return step, ends

    def _deep(self, parts: list[tuple[int, Tensor]], num_rows: int, dtype: torch.dtype) -> Tensor:
        """What is added after the first layers, by first row: [num_deep, num_rows, hidden]."""
        first = parts[0][1]
        out = first.new_zeros((first.shape[0], num_rows, first.shape[2]), dtype=dtype)
        for row, added in parts:
            out[:, row : row + added.shape[1]] = added
        return out

    def _embed(self, token_ids: abc.Sequence[int]) -> Tensor:
        return self.language.embed(torch.tensor(token_ids, device=self.language.device))

    def _last_place(self, live: Sequence) -> int:
        assert live.private_places is not None
        return int(live.private_places[len(live.tail) + len(live.token_ids) - 1])

    def _private(self, decodes: tuple[Sequence, ...], dtype: torch.dtype) -> Private:
        lengths = [len(live.tail) + len(live.token_ids) for live in decodes]
        longest = max(lengths)
        index = np.zeros((len(decodes), longest), dtype=np.int64)
        bias = np.full((len(decodes), longest), -np.inf, dtype=np.float32)
        for row, (live, length) in enumerate(zip(decodes, lengths, strict=True)):
            assert live.private_places is not None
            index[row, :length] = live.private_places[:length]
            index[row, length:] = live.private_places[0]
            bias[row, :length] = 0
        device = self.language.device
        return Private(
            slice(0, len(decodes)),
            to_device(index, device),
            to_device(bias, device).to(dtype)[:, None, None],
            0,
        )

    def all_groups(self, decodes: tuple[Sequence, ...]) -> list[Group]:
        """Shared prefixes and each row's own tokens, for the split kernels."""
        groups = [group for _, group in self._groups(_chains(decodes))]
        for row, live in enumerate(decodes):
            length = len(live.tail) + len(live.token_ids)
            own = run_extents(live.scheduled.runs, self._size, length)
            groups.append(Group(row, 1, tuple(own)))
        return groups

    def _groups(
        self, chains: list[list[PrefixNode]], first: int = 0, depth: int = 0, level: int = 0
    ) -> list[tuple[int, Group]]:
        """Neighbouring rows grouped by the nodes they share, with the parts each lies behind.

        With grouping off every row reads its whole prefix alone.
        """
        out: list[tuple[int, Group]] = []
        row = 0
        while row < len(chains):
            if depth >= len(chains[row]):
                row += 1
                continue
            end = row + 1
            node = chains[row][depth]
            while (
                self.grouped
                and end < len(chains)
                and depth < len(chains[end])
                and chains[end][depth] is node
            ):
                end += 1
            members = chains[row:end]
            common = depth + 1
            shortest = min(len(chain) for chain in members)
            while common < shortest and all(c[common] is members[0][common] for c in members):
                common += 1
            extents = node_extents(members[0][depth:common], self._size)
            out.append((level, Group(first + row, end - row, tuple(extents))))
            if len(members) > 1 and any(len(chain) > common for chain in members):
                parts = 1 if len(extents) > MAX_EXTENTS else len(extents)
                out += self._groups(members, first + row, common, level + parts)
            row = end
        return out

    def _shared(self, rows: slice, extents: tuple[Extent, ...], level: int) -> Shared:
        if len(extents) <= MAX_EXTENTS:
            return Shared(rows, extents, level)
        places = np.concatenate([np.arange(*extent, dtype=np.int64) for extent in extents])
        return Shared(rows, (), level, to_device(places, self.language.device))

    def _extents_before(self, live: Sequence, offset: int) -> list[Extent]:
        """Pool ranges of the prompt's tokens before `offset`."""
        sequence, nodes, clip = live.scheduled, [], None
        for index, node in enumerate(sequence.chain):
            if sequence.starts[index] >= offset:
                break
            nodes.append(node)
            clip = min(offset - sequence.starts[index], node.num_tokens)
        out = node_extents(nodes, self._size, last_tokens=clip)
        before_tail = offset - sequence.num_prefix_tokens
        if before_tail > 0:
            out += run_extents(sequence.runs, self._size, before_tail)
        return out

    def _prompt_places(self, live: Sequence, start: int, end: int) -> Places:
        sequence, parts = live.scheduled, []
        for index, node in enumerate(sequence.chain):
            first = sequence.starts[index]
            if first < end and start < sequence.page_end(index):
                places = run_places(node.runs, self._size, node.num_tokens)
                parts.append(places[max(0, start - first) : end - first])
        tail = sequence.num_prefix_tokens
        if end > tail:
            assert live.private_places is not None
            parts.append(live.private_places[max(0, start - tail) : end - tail])
        return np.concatenate(parts)

    def _inputs(self, live: Sequence, start: int, end: int) -> list[tuple[Tensor, Tensor | None]]:
        """Embeddings of prompt tokens [start, end), in pieces [num_tokens, hidden], and what is
        added to those of pages after the first layers, [num_deep, num_tokens, hidden]."""
        sequence = live.scheduled
        pieces: list[tuple[Tensor, Tensor | None]] = []
        for index, page in enumerate(sequence.pages):
            first = sequence.starts[index]
            if first >= end or start >= sequence.page_end(index):
                continue
            low, high = max(start, first) - first, min(end, sequence.page_end(index)) - first
            lead = len(page.lead)
            if low < lead:
                pieces.append((self._embed(page.lead[low : min(high, lead)]), None))
            if high > lead:
                seen = live.features[index][max(low - lead, 0) : high - lead]
                pieces.append(self.language.visual(seen))
        tail = sequence.num_prefix_tokens
        if end > tail:
            pieces.append((self._embed(live.tail[max(0, start - tail) : end - tail]), None))
        return pieces


def decode_step(language: LanguageModel, rows: DecodeRows, dtype: torch.dtype) -> StepInput:
    """A decode-only step by pieces, in tensors of its own."""
    device, count = language.device, len(rows.token_ids)
    return StepInput(
        embeds=language.embed(to_device(rows.token_ids, device)).to(dtype),
        positions=to_device(rows.positions, device).expand(3, count),
        places=to_device(rows.places, device),
        logit_rows=None,
        plan=AttentionPlan(splits=_splits_on(rows.table, device)),
    )


def _chains(decodes: tuple[Sequence, ...]) -> list[list[PrefixNode]]:
    return [live.scheduled.chain for live in decodes]


def _decode_position(live: Sequence) -> int:
    """Where the newest token of a decoding sequence stands (t = h = w)."""
    return live.next_position + len(live.token_ids) - 1


def _splits_on(table: PieceTable, device: torch.device) -> Splits:
    return Splits(
        pieces=to_device(table.pieces, device),
        row_starts=to_device(table.row_starts, device),
        row_pieces=to_device(table.row_pieces, device),
        tile=table.tile,
    )


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    made = torch.from_numpy(np.ascontiguousarray(array))
    return made if device.type == "cpu" else made.to(device, non_blocking=True)
