"""One step's life: planned, computed, committed; after a failure in parts, to find the culprit.

Steps may be repeated: they write the same keys to the same places and change nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from glyph_worker.engine.runner import Sampled
from glyph_worker.engine.scheduled import Chunk
from glyph_worker.engine.scheduler import StepPlan
from glyph_worker.engine.sequence import Sequence
from glyph_worker.engine.step_inputs import Work


@dataclass(slots=True)
class Step:
    """One step: planned, computed, committed."""

    plan: StepPlan
    dtype_groups: dict[str, Work]
    sampled: list[Sampled] = field(default_factory=list)
    computed: list[tuple[Sequence, Chunk]] = field(default_factory=list)
    failed: list[tuple[Sequence, Exception]] = field(default_factory=list)
    overflowed: list[Sequence] = field(default_factory=list)
    """Whose prompt's chunk, of this step or one before it, left float16's range."""
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


RunStep = Callable[[Work], list[Sampled]]


@dataclass(slots=True)
class PartsResult:
    """What could be computed after all, and who could not."""

    sampled: list[Sampled] = field(default_factory=list)
    computed: list[tuple[Sequence, Chunk]] = field(default_factory=list)
    failed: list[tuple[Sequence, Exception]] = field(default_factory=list)
    num_decoded: int = 0
    num_parts: int = 0


def retry_in_parts(run: RunStep, work: Work) -> PartsResult:
    """Run the parts of a failed step alone, halving the decodes until the culprit is alone."""
    out = PartsResult()
    _decodes(run, work.decodes, out)
    for item in work.chunks:
        out.num_parts += 1
        try:
            out.sampled += run(Work((), (item,)))
        except Exception as exc:  # noqa: BLE001  it is settled with its sequence
            out.failed.append((item[0], exc))
        else:
            out.computed.append(item)
    return out


def _decodes(run: RunStep, decodes: tuple[Sequence, ...], out: PartsResult) -> None:
    if not decodes:
        return
    out.num_parts += 1
    try:
        sampled = run(Work(decodes, ()))
    except Exception as exc:  # noqa: BLE001  it is settled with its sequence
        if len(decodes) == 1:
            out.failed.append((decodes[0], exc))
            return
        half = len(decodes) // 2
        _decodes(run, decodes[:half], out)
        _decodes(run, decodes[half:], out)
    else:
        out.sampled += sampled
        out.num_decoded += len(decodes)
