"""What the engine tells about itself: counters and a snapshot. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from glyph_worker.engine.scheduled import SequenceState

if TYPE_CHECKING:
    from glyph_worker.engine.core import EngineCore


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineStats:
    """A snapshot. Counters grow from the engine's start."""

    slots_used: int
    slots_total: int
    waiting: int
    fetching: int
    prefilling: int
    decoding: int
    resident_pages: int
    kv_blocks_used: int
    kv_blocks_total: int
    kv_bytes_used: int
    kv_bytes_total: int
    kv_host_bytes: int
    memory_beyond_weights_bytes: int
    """Peak on CUDA; the KV pool's size elsewhere."""
    steps: int
    last_batch: int
    """Tokens computed by the last step."""
    prefill_tokens: int
    decode_tokens: int
    reused_tokens: int
    tokens_per_s: float
    """Answer tokens, mean over the last seconds in which any were made."""
    evictions: int
    restores: int
    fallbacks: int
    isolations: int
    """Failed steps that were taken apart to find the culprit."""
    prefill_chunk_tokens: int
    """Present size; smaller than set after running out of memory."""
    finished: int
    failed: int
    cancelled: int
    step_ms: float
    """Mean of the last steps."""
    backend: str
    """Kernels in use, with `+graphs` where decode steps are replayed."""
    device_uuid: str = ""
    """Of a CUDA device, whatever its number here; empty elsewhere."""


@dataclass(slots=True)
class Counters:
    """Mutable half, written by the engine's thread alone."""

    steps: int = 0
    last_batch: int = 0
    prefill_tokens: int = 0
    decode_tokens: int = 0
    reused_tokens: int = 0
    fallbacks: int = 0
    isolations: int = 0
    finished: int = 0
    failed: int = 0
    cancelled: int = 0
    step_ms: float = 0.0
    tokens_per_s: float = 0.0

    def step(self, seconds: float, *, num_tokens: int, num_answer_tokens: int) -> None:
        """Account for one step, with an exponential mean over about twenty."""
        self.steps += 1
        self.last_batch = num_tokens
        weight = 0.05 if self.steps > 20 else 1 / self.steps
        self.step_ms += weight * (seconds * 1e3 - self.step_ms)
        if seconds > 0:
            self.tokens_per_s += weight * (num_answer_tokens / seconds - self.tokens_per_s)


def snapshot(core: EngineCore) -> EngineStats:
    """The numbers of this moment; the caller holds the engine's lock."""
    scheduler, prefixes, counters, kv = core.scheduler, core.prefixes, core.counters, core.kv
    blocks = prefixes.blocks
    used = blocks.num_blocks - blocks.num_free
    return EngineStats(
        slots_used=scheduler.slots.num_used,
        slots_total=scheduler.slots.num_slots,
        waiting=core.num_in(SequenceState.WAITING),
        fetching=core.num_in(SequenceState.FETCHING),
        prefilling=core.num_in(SequenceState.PREFILLING),
        decoding=core.num_in(SequenceState.DECODING),
        resident_pages=prefixes.num_ready,
        kv_blocks_used=used,
        kv_blocks_total=blocks.num_blocks,
        kv_bytes_used=used * core.bytes_per_token * kv.block_tokens,
        kv_bytes_total=kv.num_bytes,
        kv_host_bytes=prefixes.num_host_blocks * core.bytes_per_token * kv.block_tokens,
        memory_beyond_weights_bytes=core.beyond_weights_bytes,
        steps=counters.steps,
        last_batch=counters.last_batch,
        prefill_tokens=counters.prefill_tokens,
        decode_tokens=counters.decode_tokens,
        reused_tokens=counters.reused_tokens,
        tokens_per_s=counters.tokens_per_s,
        evictions=prefixes.num_evictions,
        restores=prefixes.num_restores,
        fallbacks=counters.fallbacks,
        isolations=counters.isolations,
        prefill_chunk_tokens=scheduler.prefill_tokens,
        finished=counters.finished,
        failed=counters.failed,
        cancelled=counters.cancelled,
        step_ms=counters.step_ms,
        backend=core.backend.name,
        device_uuid=core.device_uuid,
    )
