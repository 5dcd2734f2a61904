"""One step on the device: a plan's tensors become tokens. Decides nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from glyph_worker.engine.graphs import DecodeGraphs
from glyph_worker.engine.kv import KVPool
from glyph_worker.engine.looked_at import looking
from glyph_worker.engine.pieces import PieceTable, cut_pieces
from glyph_worker.engine.sampler import Draw, choose
from glyph_worker.engine.sequence import (
    Sequence,
    run_places,
)
from glyph_worker.engine.step_inputs import StepInputs, Work, to_device
from glyph_worker.errors import InvalidSchema
from glyph_worker.model.attention import MAX_TILE
from glyph_worker.model.language import LanguageModel
from glyph_worker.model.linear import slow_dtypes

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


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
        max_tile: int = MAX_TILE,
        graphs: Mapping[torch.dtype, DecodeGraphs] = MappingProxyType({}),
    ) -> None:
        """`splits` decodes by pieces of keys (the Triton kernels' way); `graphs` replays that, for
        groups of these dtypes."""
        self.language = language
        self.pool = pool
        self.splits = splits
        self.graphs = graphs
        self._max_tile = max_tile
        self._unread: deque[_ChunkCheck] = deque()
        self.observe: Callable[[list[Sequence], Tensor], None] | None = None
        """Sees the logits of each step, for the self-test."""
        self._size = pool.block_tokens
        self.inputs = StepInputs(language, pool.block_tokens, grouped=grouped)

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
        return to_device(bits, self.language.device), errors

    def _forward(self, work: Work) -> tuple[list[Sequence], Tensor]:
        """Sequences that get a token, and their logits [num_askers, vocab]."""
        dtype = DTYPES[work.dtype_group]
        askers = [*work.decodes, *(live for live, chunk in work.chunks if chunk.is_last)]
        table: PieceTable | None = None
        # Keys and values keep the group's format; a device without its products takes float32.
        wide = dtype != self.language.dtype and dtype in slow_dtypes(self.language.device)
        if self.splits and work.decodes:
            groups = self.inputs.all_groups(work.decodes)
            table = cut_pieces(groups, len(work.decodes), max_tile=self._max_tile)
        graphs = None if wide or work.chunks else self.graphs.get(dtype)
        if table is not None and graphs is not None:
            return askers, graphs.run(self.inputs.decode_rows(work.decodes, table))
        step, ends = self.inputs.build(work, torch.float32 if wide else dtype, table)
        if dtype == torch.float16 and work.chunks:
            step = replace(
                step, row_sums=step.embeds.new_empty(len(step.embeds), dtype=torch.float32)
            )
        with looking(self.language, ends, self._size):
            logits = self.language.forward(step, self.pool.view(dtype))
        if step.row_sums is not None:
            self._unread.append(_ChunkCheck.of(work, step.row_sums))
        return askers, logits

    def take_overflowed(self) -> list[Sequence]:
        """Sequences whose prompt has left float16's range, as far as the device has told. Does not
        wait for it: a chunk that ends no prompt is known of one step late."""
        found: list[Sequence] = []
        while self._unread and self._unread[0].told:
            found += self._unread.popleft().broken
        return found


@dataclass(frozen=True, slots=True)
class _ChunkCheck:
    """Whether a step's chunks stayed finite, on its way to the host."""

    owners: tuple[Sequence, ...]
    finite: Tensor
    """bool [num_chunks], on the host."""
    arrived: torch.cuda.Event | None

    @classmethod
    def of(cls, work: Work, row_sums: Tensor) -> _ChunkCheck:
        sizes = [chunk.end - chunk.start for _, chunk in work.chunks]
        parts = torch.split(row_sums[len(work.decodes) :], sizes)
        finite = torch.stack([part.sum() for part in parts]).isfinite()
        owners = tuple(live for live, _ in work.chunks)
        if finite.device.type != "cuda":
            return cls(owners, finite, None)
        host = torch.empty(finite.shape, dtype=torch.bool, pin_memory=True)
        host.copy_(finite, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record()
        return cls(owners, host, arrived)

    @property
    def told(self) -> bool:
        return self.arrived is None or bool(self.arrived.query())  # type: ignore[no-untyped-call]

    @property
    def broken(self) -> list[Sequence]:
        flags = self.finite.tolist()
        return [live for live, finite in zip(self.owners, flags, strict=True) if not finite]
