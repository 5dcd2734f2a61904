"""One step's life: planned, computed, committed; and what its failures mean. Holds, decides not."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from glyph_worker.engine.runner import Sampled, Work
from glyph_worker.engine.scheduled import Chunk
from glyph_worker.engine.scheduler import StepPlan
from glyph_worker.engine.sequence import Sequence


@dataclass(slots=True)
class Step:
    """One step: planned, computed, committed."""

    plan: StepPlan
    dtype_groups: dict[str, Work]
    sampled: list[Sampled] = field(default_factory=list)
    computed: list[tuple[Sequence, Chunk]] = field(default_factory=list)
    failed: list[tuple[Sequence, Exception]] = field(default_factory=list)
    num_decoded: int = 0
    num_retried_parts: int = 0
    num_out_of_memory: int = 0


def is_out_of_memory(exc: BaseException) -> bool:
    """Whether less at once might have fitted."""
    return isinstance(exc, torch.OutOfMemoryError | MemoryError)


def is_device_lost(exc: BaseException) -> bool:
    """Errors after which nothing on the device works any more, in any sequence."""
    if isinstance(exc, torch.OutOfMemoryError):
        return False
    return isinstance(exc, getattr(torch, "AcceleratorError", ())) or "CUDA error" in str(exc)
