"""How large the KV pool may be: what is free after the weights and a measured peak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from glyph_worker.engine.kv import KVPool
from glyph_worker.errors import ModelUnusable
from glyph_worker.model.attention import AttentionPlan, Causal
from glyph_worker.model.language import StepInput
from glyph_worker.model.memory_plan import (
    PREFILL_TOKENS,
    RESERVE,
    SMALLEST_POOL_TOKENS,
    no_room,
)
from glyph_worker.model.reader import Reader
from glyph_worker.setting_sections import EngineSettings

CPU_KV_BYTES = 1 << 30
"""Default on the CPU, where untouched memory costs nothing."""
CPU_PREFILL_TOKENS = 256
MARGIN = 1.25
"""The peak is measured without the other streams' work."""
WARM_ROWS = (1, 24, 48, 128)
"""Chunks that between them take every kind of tile of the Triton products (`linear_triton`)."""
SMALLEST_ASKED_TOKENS = 64
"""A pool that was asked for in bytes may be small, for tests; this holds no page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FreeMemory:
    """Of a device, with the weights on it."""

    free: int
    total: int

    @classmethod
    def of(cls, device: torch.device) -> Self:
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info(device)
        return cls(free=free, total=total)


def default_prefill_tokens(reader: Reader) -> int:
    """Tokens of a prefill chunk where the settings leave it open."""
    return PREFILL_TOKENS if reader.device.type == "cuda" else CPU_PREFILL_TOKENS


def kv_bytes_of(
    reader: Reader,
    settings: EngineSettings,
    *,
    prefill_tokens: int,
    bytes_per_token: int,
    feature_bytes: int,
) -> int:
    """Bytes for the KV pool on this device, now. `feature_bytes` are still to come there.

    Raises ModelUnusable, with the numbers, where they would hold too few tokens.
    """
    if settings.kv_bytes and settings.kv_bytes < SMALLEST_ASKED_TOKENS * bytes_per_token:
        raise ModelUnusable(
            f"GLYPH_ENGINE_KV_BYTES={settings.kv_bytes} holds "
            f"{settings.kv_bytes // bytes_per_token} tokens of {bytes_per_token} bytes and so no "
            f"page; leave it out, or give it {SMALLEST_POOL_TOKENS * bytes_per_token} at least",
        )
    if reader.device.type != "cuda":
        return settings.kv_bytes or CPU_KV_BYTES
    peak = measured_peak(reader, prefill_tokens=prefill_tokens)
    return planned_kv_bytes(
        FreeMemory.of(reader.device),
        asked=settings.kv_bytes,
        peak=peak,
        feature_bytes=feature_bytes,
        bytes_per_token=bytes_per_token,
    )


def planned_kv_bytes(
    memory: FreeMemory, *, asked: int, peak: int, feature_bytes: int, bytes_per_token: int
) -> int:
    """What is free less a step's measured peak, page features and a reserve; `asked`, if it fits.

    Raises ModelUnusable.
    """
    steps, reserve = int(MARGIN * peak), int(RESERVE * memory.total)
    room = max(0, memory.free - steps - reserve - feature_bytes)
    told = (
        f"of {memory.total / 2**30:.1f} GiB {memory.free / 2**30:.1f} are free after the weights: "
        f"a step {steps / 2**30:.1f}, page features {feature_bytes / 2**30:.1f}, CUDA itself "
        f"{reserve / 2**30:.1f}, which leaves {room / 2**30:.1f}"
    )
    if asked > room:
        raise ModelUnusable(
            f"GLYPH_ENGINE_KV_BYTES={asked} ({asked / 2**30:.1f} GiB) does not fit: {told}",
            room_bytes=room,
        )
    if not asked and room < SMALLEST_POOL_TOKENS * bytes_per_token:
        raise ModelUnusable(no_room(told, room // bytes_per_token), room_bytes=room)
    return asked or room


def measured_peak(reader: Reader, *, prefill_tokens: int) -> int:
    """Most bytes a step needs beside weights and pool: a full chunk while pages are encoded."""
    device = reader.device
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run_full_micro_batch(reader)
    vision = torch.cuda.max_memory_allocated(device) - before
    torch.cuda.reset_peak_memory_stats(device)
    run_full_chunk(reader, prefill_tokens)
    torch.cuda.synchronize(device)
    prefill = torch.cuda.max_memory_allocated(device) - before
    return int(vision + prefill)


def run_full_micro_batch(reader: Reader) -> None:
    """Encode blank pages up to the vision tower's limit."""
    width, height = reader.sample_size
    rows, columns = reader.processor.grid(width, height)
    count = max(1, reader.vision.max_patches // (rows * columns))
    reader.encode_pages([np.full((height, width), 255, dtype=np.uint8)] * count)


@torch.inference_mode()
def run_full_chunk(reader: Reader, num_tokens: int, dtype: torch.dtype | None = None) -> None:
    """Prefill one chunk of blank tokens, in this dtype or the reader's, into a pool of its own."""
    language, dtype = reader.language, dtype or reader.dtype
    pool = KVPool(
        num_layers=language.num_layers,
        num_kv_heads=language.num_kv_heads,
        head_dim=language.head_dim,
        num_blocks=num_tokens,
        num_host_blocks=0,
        block_tokens=1,
        dtype=dtype,
        device=reader.device,
    )
    places = torch.arange(num_tokens, device=reader.device)
    step = StepInput(
        embeds=language.embed(torch.zeros_like(places)).to(dtype),
        positions=places.expand(3, num_tokens),
        places=places,
        logit_rows=places[-1:],
        plan=AttentionPlan(causal=(Causal(slice(0, num_tokens), 0),)),
        deep=places.new_zeros((language.num_deep, num_tokens, language.hidden_size), dtype=dtype),
    )
    language.forward(step, pool.tensor)
