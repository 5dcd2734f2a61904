"""The engine without threads: pools, scheduler and runner, one step at a time.

`plan` and `commit` change the accounting and belong under the engine's lock; `compute` touches only
the device and what the step holds, and runs without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import torch

from glyph_worker.engine.backend import TORCH, Backend
from glyph_worker.engine.blocks import BlockPool
from glyph_worker.engine.chunk_size import SMALLEST_CHUNK, ChunkSize
from glyph_worker.engine.dtype_groups import FALLBACK_DTYPE, DtypeGroups
from glyph_worker.engine.graphs import DecodeGraphs, decode_graphs
from glyph_worker.engine.kv import KVPool
from glyph_worker.engine.kv_budget import (
    WARM_ROWS,
    default_prefill_tokens,
    kv_bytes_of,
    run_full_chunk,
)
from glyph_worker.engine.prefix import PrefixPool
from glyph_worker.engine.request import RequestChecker
from glyph_worker.engine.runner import Runner, Sampled
from glyph_worker.engine.scheduled import SequenceState
from glyph_worker.engine.scheduler import Scheduler, SchedulerLimits
from glyph_worker.engine.sequence import FinishReason, Sequence
from glyph_worker.engine.slots import Slots
from glyph_worker.engine.stats import Counters
from glyph_worker.engine.step import Step, is_device_lost, is_out_of_memory, retry_in_parts
from glyph_worker.engine.step_inputs import Work
from glyph_worker.errors import EngineFault, InvalidSchema
from glyph_worker.model.checkpoint import device_uuid
from glyph_worker.model.reader import Reader
from glyph_worker.setting_sections import EngineSettings


class Settle(Protocol):
    """How a sequence's end reaches its caller."""

    def __call__(
        self, live: Sequence, reason: FinishReason | None, error: Exception | None
    ) -> None: ...


class EngineCore:
    """Continuous batching over one Reader, driven from outside."""

    def __init__(
        self,
        reader: Reader,
        settings: EngineSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        settle: Settle,
        backend: Backend = TORCH,
        feature_bytes: int = 0,
    ) -> None:
        """`feature_bytes` of the device belong to page features, some of them not there yet."""
        self.reader = reader
        self.settings = settings
        self.counters = Counters()
        self.live: dict[str, Sequence] = {}
        self._clock = clock
        self._settle = settle
        self.dtype_groups = DtypeGroups(reader.dtype, guarded=settings.finite_guard)
        self.device_uuid = device_uuid(reader.device)
        language = reader.language
        self.bytes_per_token = KVPool.bytes_per_token(
            num_layers=language.num_layers,
            num_kv_heads=language.num_kv_heads,
            head_dim=language.head_dim,
            dtype=reader.dtype,
        )
        block_tokens = settings.block_tokens or 1
        self._chunk_size = ChunkSize(settings.prefill_tokens or default_prefill_tokens(reader))
        kv_bytes = kv_bytes_of(
            reader,
            settings,
            prefill_tokens=self._chunk_size.most,
            bytes_per_token=self.bytes_per_token,
            feature_bytes=feature_bytes,
        )
        num_blocks = max(1, kv_bytes // (self.bytes_per_token * block_tokens))
        num_host_blocks = settings.kv_host_bytes // (self.bytes_per_token * block_tokens)
        self.kv = KVPool(
            num_layers=language.num_layers,
            num_kv_heads=language.num_kv_heads,
            head_dim=language.head_dim,
            num_blocks=num_blocks,
            num_host_blocks=num_host_blocks,
            block_tokens=block_tokens,
            dtype=reader.dtype,
            device=reader.device,
        )
        self.prefixes = PrefixPool(
            BlockPool(num_blocks),
            block_tokens=block_tokens,
            host=BlockPool(num_host_blocks),
        )
        self.scheduler = Scheduler(
            SchedulerLimits(
                prefill_tokens=self._chunk_size.most,
                fetch_tokens=settings.fetch_tokens,
                fetch_window_pages=settings.fetch_window_pages,
                affinity=settings.affinity,
                sharing=settings.prefix_sharing,
                max_age_s=settings.max_age_s,
            ),
            slots=Slots(settings.max_slots),
            prefixes=self.prefixes,
            clock=clock,
        )
        self.backend = backend
        language.kernels = backend.kernels
        graphs: dict[torch.dtype, DecodeGraphs] = {}
        if backend.buffers != "none":
            scratch = self.prefixes.blocks.allocate(1)
            assert scratch is not None, "a pool has at least one block"
            graphs = decode_graphs(
                language,
                {dtype: self.kv.view(dtype) for dtype in self.dtype_groups.dtypes},
                max_rows=settings.max_slots,
                scratch_place=scratch[0][0] * block_tokens,
                capture=backend.buffers == "graphs",
                max_tile=backend.max_tile,
            )
        self.runner = Runner(
            language,
            self.kv,
            grouped=settings.grouped_decode,
            splits=backend.splits,
            max_tile=backend.max_tile,
            graphs=graphs,
        )
        self.entry = RequestChecker(
            reader,
            window_tokens=settings.window_tokens or reader.max_positions,
            pool_blocks=self.prefixes.blocks.num_free,
            block_tokens=block_tokens,
        )

    def warm_up(self) -> None:
        """Compile and capture whatever steps may need, before the first job."""
        if self.reader.device.type == "cuda":
            for dtype in self.dtype_groups.dtypes:
                for num_rows in WARM_ROWS:
                    run_full_chunk(self.reader, num_rows, dtype)
        for graphs in self.runner.graphs.values():
            graphs.warm_up()

    # -- sequences -----------------------------------------------------------------------------

    def add(self, live: Sequence) -> None:
        """Queue a live sequence made by `entry`."""
        live.scheduled.dtype_group = self.dtype_groups.of(live.scheduled.pages)
        if live.scheduled.dtype_group != self.reader.dtype_name:
            live.fallback = "an earlier question on this document overflowed"
        self.live[live.request.sequence_id] = live
        self.scheduler.add(live.scheduled)

    def end(
        self,
        live: Sequence,
        reason: FinishReason | None = None,
        error: Exception | None = None,
    ) -> None:
        """Take a sequence out and settle it, exactly once."""
        live.finished_at = self._clock()
        self.scheduler.remove(live.scheduled)
        live.features.clear()
        self.live.pop(live.request.sequence_id, None)
        if error is not None:
            self.counters.failed += 1
        elif reason == "cancelled":
            self.counters.cancelled += 1
        else:
            self.counters.finished += 1
        self._settle(live, reason, error)

    # -- one step ------------------------------------------------------------------------------

    def plan(self) -> Step:
        """Admit and choose the next step's work. Cancelled sequences leave first."""
        for live in [live for live in self.live.values() if live.cancelled]:
            self.end(live, "cancelled")
        plan = self.scheduler.plan()
        for sequence in plan.admitted:
            live = self.live[sequence.ident]
            self.runner.start(live)
            if live.first_admitted_at is None:
                live.first_admitted_at = sequence.admitted_at
                live.num_first_reused = sequence.num_reused_tokens
                self.counters.reused_tokens += sequence.num_reused_tokens
        dtype_groups: dict[str, Work] = {}
        for dtype_group in sorted(
            {s.dtype_group for s in plan.decodes} | {c.sequence.dtype_group for c in plan.chunks}
        ):
            dtype_groups[dtype_group] = Work(
                tuple(self.live[s.ident] for s in plan.decodes if s.dtype_group == dtype_group),
                tuple(
                    (self.live[c.sequence.ident], c)
                    for c in plan.chunks
                    if c.sequence.dtype_group == dtype_group
                ),
            )
        return Step(plan, dtype_groups)

    def compute(self, step: Step) -> None:
        """Do the transfers and the forwards. A step that fails is taken apart.

        Raises what says that the device itself is lost.
        """
        with self.reader.cores.step(step.plan.num_tokens):
            self._compute(step)

    def _compute(self, step: Step) -> None:
        self.kv.carry_out(step.plan.moves)
        for work in step.dtype_groups.values():
            try:
                step.sampled += self.runner.run(work)
                step.computed += work.chunks
                step.num_decoded += len(work.decodes)
                step.overflowed += self.runner.take_overflowed()
            except Exception as exc:
                if is_device_lost(exc):
                    raise
                step.num_out_of_memory += is_out_of_memory(exc)
                self._release_cache()
                saved = retry_in_parts(self.runner.run, work)
                step.num_retried_parts += 1
                step.sampled += saved.sampled
                step.computed += saved.computed
                step.failed += saved.failed
                step.num_decoded += saved.num_decoded

    def _release_cache(self) -> None:
        if self.reader.device.type == "cuda":
            torch.cuda.empty_cache()  # only here, after a failure: the allocator may be in pieces

    def commit(self, step: Step, seconds: float) -> None:
        """Take over what was computed: tokens, finished pages, failures."""
        counters = self.counters
        for live, chunk in step.computed:
            for page in self.scheduler.computed(chunk):
                live.features.pop(page, None)
            counters.prefill_tokens += chunk.end - chunk.start
        for item in step.sampled:
            self._take(item)
        if self.settings.finite_guard:
            for live in step.overflowed:
                if not live.done and live.scheduled.dtype_group == self.reader.dtype_name:
                    self._overflow(live)
        for live, error in step.failed:
            self._failed(live, error, step)
        self.scheduler.prefill_tokens = self._chunk_size.after(
            out_of_memory=bool(step.num_out_of_memory)
        )
        counters.isolations += step.num_retried_parts
        counters.decode_tokens += step.num_decoded
        counters.step(
            seconds,
            num_tokens=step.num_decoded + sum(c.end - c.start for _, c in step.computed),
            num_answer_tokens=len(step.sampled),
        )

    def _failed(self, live: Sequence, error: Exception, step: Step) -> None:
        chunk = next((c for c in step.plan.chunks if c.sequence is live.scheduled), None)
        if (
            is_out_of_memory(error)
            and chunk is not None
            and chunk.end - chunk.start > SMALLEST_CHUNK
        ):
            return  # it stays, and comes again in a smaller chunk
        if is_out_of_memory(error):
            fault = EngineFault(
                "the device ran out of memory for this sequence alone, even in the smallest "
                f"chunk of {SMALLEST_CHUNK} tokens; lower GLYPH_ENGINE_KV_BYTES to leave more for "
                "the step itself",
                num_prompt_tokens=live.scheduled.num_prompt_tokens,
            )
        else:
            fault = EngineFault(f"a step failed for this sequence alone: {error!r}")
        fault.__cause__ = error
        self.end(live, error=fault)

    # -- tokens --------------------------------------------------------------------------------

    def _take(self, item: Sampled) -> None:
        live, token = item.live, item.token
        if item.error is not None:
            self.end(live, error=item.error)
            return
        if not item.finite and self.settings.finite_guard:
            self._overflow(live)
            return
        if live.first_token_at is None:
            live.first_token_at = self._clock()
            live.wake_caller()
        try:
            reason = live.take(token, item.log_prob)
        except InvalidSchema as exc:
            self.end(live, error=exc)
            return
        if reason is not None:
            self.end(live, reason)

    def _overflow(self, live: Sequence) -> None:
        """Start a sequence again in bfloat16, whose range is float32's, and keep its tokens."""
        old = live.scheduled
        if old.dtype_group != "float16":
            self.end(
                live,
                error=EngineFault(
                    f"the model's logits are not finite in {old.dtype_group}; its weights or this "
                    "page's features are damaged",
                    dtype=old.dtype_group,
                ),
            )
            return
        self.counters.fallbacks += 1
        self.dtype_groups.overflowed(old.pages)
        self.scheduler.remove(old)
        live.start_again(FALLBACK_DTYPE)
        live.fallback = "float16 overflowed"
        self.scheduler.add(live.scheduled)

    @property
    def beyond_weights_bytes(self) -> int:
        """Peak device memory less the weights on CUDA; the KV pool's size elsewhere."""
        if self.reader.device.type != "cuda":
            return self.kv.num_bytes
        peak: int = torch.cuda.max_memory_allocated(self.reader.device)
        return peak - self.reader.weights_bytes

    def num_in(self, state: SequenceState) -> int:
        return sum(live.scheduled.state is state for live in self.live.values())
