"""One step on the device: a plan's tensors become tokens. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
        graphs: DecodeGraphs | None = None,
    ) -> None:
        """`splits` decodes by pieces of keys (the Triton kernels' way); `graphs` replays that."""
        self.language = language
        self.pool = pool
        self.splits = splits
        self.graphs = graphs
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
        if self.splits and work.decodes and dtype == self.language.dtype:
            table = cut_pieces(self.inputs.all_groups(work.decodes), len(work.decodes))
        if table is not None and self.graphs is not None and not work.chunks:
            return askers, self.graphs.run(self.inputs.decode_rows(work.decodes, table))
        # Keys and values keep the group's format; a device without its products takes float32.
        wide = dtype != self.language.dtype and dtype in slow_dtypes(self.language.device)
        step, ends = self.inputs.build(work, torch.float32 if wide else dtype, table)
        with looking(self.language, ends, self._size):
            return askers, self.language.forward(step, self.pool.view(dtype))
