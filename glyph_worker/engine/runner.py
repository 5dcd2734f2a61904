"""One step on the device: a plan becomes tensors, tensors become tokens. Decides nothing."""

from __future__ import annotations

from collections import abc
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glyph_worker.engine.graphs import DecodeGraphs, DecodeRows
from glyph_worker.engine.kv import KVPool
from glyph_worker.engine.looked_at import looking
from glyph_worker.engine.pieces import Group, PieceTable, cut_pieces
from glyph_worker.engine.prefix import PrefixNode
from glyph_worker.engine.sampler import Draw, choose
from glyph_worker.engine.scheduled import Chunk
from glyph_worker.engine.sequence import (
    Places,
    Sequence,
    node_extents,
    run_extents,
    run_places,
)
from glyph_worker.errors import InvalidSchema
from glyph_worker.model.attention import (
    AttentionPlan,
    Causal,
    Extent,
    Private,
    Shared,
    Splits,
)
from glyph_worker.model.language import LanguageModel, StepInput
from glyph_worker.model.linear import slow_dtypes

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
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


@dataclass(frozen=True, slots=True)
class Sampled:
    """The next token of one sequence."""

    live: Sequence
    token: int
    finite: bool
    log_prob: float
    error: Exception | None = None
    """Why it has none that fits its form."""


class Runner:
    """Turns work into one forward of the language model. Single-threaded."""

    def __init__(
        self,
        language: LanguageModel,
        pool: KVPool,
        *,
        grouped: bool = True,
        splits: bool = False,
        graphs: DecodeGraphs | None = None,
    ) -> None:
        """`splits` decodes by pieces of keys (the Triton kernels' way); `graphs` replays that."""
        self.language = language
        self.pool = pool
        self.grouped = grouped
        self.splits = splits
        self.graphs = graphs
        self.observe: Callable[[list[Sequence], Tensor], None] | None = None
        """Sees the logits of each step, for the self-test."""
        self._size = pool.block_tokens

    def start(self, live: Sequence) -> None:
        """A sequence was admitted: lay out its private places."""
        live.private_places = run_places(
            live.scheduled.runs, self._size, live.scheduled.num_private_tokens
        )

    @torch.inference_mode()
    def run(self, work: Work) -> list[Sampled]:
        """Compute the work; returns a token for every decode and every last chunk."""
        askers, logits = self._forward(work)
        if not askers:
            return []
        if self.observe is not None:
            self.observe(askers, logits)
        draws = [Draw(sampling=live.request.sampling, index=len(live.token_ids)) for live in askers]
        # After the forward has been given to the device, which computes it meanwhile.
        bits, errors = self._allowed(askers)
        made = choose(logits, draws, bits)
        rows = zip(askers, made.tokens, made.finite, made.log_probs, strict=True)
        return [Sampled(*row, error=errors.get(index)) for index, row in enumerate(rows)]

    def _allowed(self, askers: list[Sequence]) -> tuple[Tensor | None, dict[int, Exception]]:
        """Bits of what may come next, None where that is anything; and why, where nothing can."""
        rows = [row for row, live in enumerate(askers) if live.phases.follows_form]
        errors: dict[int, Exception] = {}
        if not rows:
            return None, errors
        bits = np.full((len(askers), (self.language.vocab_size + 31) // 32), -1, dtype=np.int32)
        for row in rows:
            try:
                askers[row].phases.fill(bits[row])
            except InvalidSchema as exc:
                errors[row] = exc
                bits[row] = -1
        return _tensor(bits, self.language.device), errors

    def _forward(self, work: Work) -> tuple[list[Sequence], Tensor]:
        """Sequences that get a token, and their logits [num_askers, vocab]."""
        dtype = DTYPES[work.dtype_group]
        askers = [*work.decodes, *(live for live, chunk in work.chunks if chunk.is_last)]
        table: PieceTable | None = None
        if self.splits and work.decodes and dtype == self.language.dtype:
            table = cut_pieces(self._all_groups(work.decodes), len(work.decodes))
        if table is not None and self.graphs is not None and not work.chunks:
            return askers, self.graphs.run(self._decode_rows(work.decodes, table))
        # Keys and values keep the group's format; a device without its products takes float32.
        wide = dtype != self.language.dtype and dtype in slow_dtypes(self.language.device)
        step = self._build(work, torch.float32 if wide else dtype, table)
        assert step.logit_rows is not None
        ends = askers[len(work.decodes) :]
        rows = list(zip(step.logit_rows[len(work.decodes) :].tolist(), ends, strict=True))
        with looking(self.language, rows, self._size):
            return askers, self.language.forward(step, self.pool.view(dtype))

    # -- tensors of a step ---------------------------------------------------------------------

    def _decode_rows(self, decodes: tuple[Sequence, ...], table: PieceTable) -> DecodeRows:
        return DecodeRows(
            token_ids=np.array([live.token_ids[-1] for live in decodes], dtype=np.int64),
            positions=np.array([_decode_position(live) for live in decodes], dtype=np.int32),
            places=np.array([self._last_place(live) for live in decodes], dtype=np.int64),
            table=table,
        )

    def _build(self, work: Work, dtype: torch.dtype, table: PieceTable | None) -> StepInput:
        count, device = len(work.decodes), self.language.device
        positions: list[np.ndarray] = []
        places: list[Places] = []
        pieces: list[Tensor] = []
        deep: list[tuple[int, Tensor]] = []
        logit_rows = list(range(count))
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
                splits, offset = _to_device(table, device), count
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
        levels = max([1, *(item.level + item.num_levels for item in shared)])
        return StepInput(
            embeds=(torch.cat(pieces) if len(pieces) > 1 else pieces[0]).to(dtype),
            positions=_tensor(np.concatenate(positions, axis=1), device),
            places=_tensor(np.concatenate(places), device),
            logit_rows=torch.tensor(logit_rows, dtype=torch.int64, device=device),
            plan=AttentionPlan(tuple(shared), tuple(causal), private, levels, splits),
            deep=self._deep(deep, start, dtype) if deep else None,
        )

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
            _tensor(index, device),
            _tensor(bias, device).to(dtype)[:, None, None],
            0,
        )

    def _all_groups(self, decodes: tuple[Sequence, ...]) -> list[Group]:
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
        return Shared(rows, (), level, _tensor(places, self.language.device))

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


def _chains(decodes: tuple[Sequence, ...]) -> list[list[PrefixNode]]:
    return [live.scheduled.chain for live in decodes]


def _decode_position(live: Sequence) -> int:
    """Where the newest token of a decoding sequence stands (t = h = w)."""
    return live.next_position + len(live.token_ids) - 1


def _to_device(table: PieceTable, device: torch.device) -> Splits:
    return Splits(
        pieces=_tensor(table.pieces, device),
        row_starts=_tensor(table.row_starts, device),
        row_pieces=_tensor(table.row_pieces, device),
        tile=table.tile,
    )


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    made = torch.from_numpy(np.ascontiguousarray(array))
    return made if device.type == "cpu" else made.to(device, non_blocking=True)
