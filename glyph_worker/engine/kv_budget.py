"""How large the KV pool may be: what is free after the weights and a measured peak."""

from __future__ import annotations

import numpy as np
import torch

from glyph_worker.engine.kv import KVPool
from glyph_worker.model.attention import AttentionPlan, Causal
from glyph_worker.model.language import StepInput
from glyph_worker.model.reader import Reader

CPU_KV_BYTES = 1 << 30
"""Default on the CPU, where untouched memory costs nothing."""
CUDA_PREFILL_TOKENS = 2_048
CPU_PREFILL_TOKENS = 256
MARGIN = 1.25
"""The peak is measured without the other streams' work."""
RESERVE = 0.02
"""Share of the device left to CUDA itself: graphs, library workspaces."""


def default_prefill_tokens(reader: Reader) -> int:
    """Tokens of a prefill chunk where the settings leave it open."""
    return CUDA_PREFILL_TOKENS if reader.device.type == "cuda" else CPU_PREFILL_TOKENS


def default_kv_bytes(reader: Reader, *, prefill_tokens: int) -> int:
    """Bytes for the KV pool on this device, now."""
    if reader.device.type != "cuda":
        return CPU_KV_BYTES
    peak = measured_peak(reader, prefill_tokens=prefill_tokens)
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(reader.device)
    return max(0, int(free - MARGIN * peak - RESERVE * total))


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
def run_full_chunk(reader: Reader, num_tokens: int) -> None:
    """Prefill one chunk of blank tokens into a pool of its own."""
    language = reader.language
    pool = KVPool(
        num_layers=language.num_layers,
        num_kv_heads=language.num_kv_heads,
        head_dim=language.head_dim,
        num_blocks=num_tokens,
        num_host_blocks=0,
        block_tokens=1,
        dtype=reader.dtype,
        device=reader.device,
    )
    places = torch.arange(num_tokens, device=reader.device)
    step = StepInput(
        embeds=language.embed(torch.zeros_like(places)),
        positions=places.expand(3, num_tokens),
        places=places,
        logit_rows=places[-1:],
        plan=AttentionPlan(causal=(Causal(slice(0, num_tokens), 0),)),
        deep=places.new_zeros(
            (language.num_deep, num_tokens, language.hidden_size), dtype=reader.dtype
        ),
    )
    language.forward(step, pool.tensor)
