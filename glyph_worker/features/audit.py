"""How far two versions of a page's features are apart, and how far they may be. Arithmetic only."""

from __future__ import annotations

import torch

TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 5e-2}
"""Largest drift between two honest encodes: other micro-batch, other GPU. A wrong page's is ~1."""


def tolerance(dtype: torch.dtype) -> float:
    return TOLERANCE.get(dtype, 5e-2)


def drift(fresh: torch.Tensor, other: torch.Tensor) -> float:
    """Worst token's relative error, ‖fresh − other‖ / ‖fresh‖ in float32; infinite when not
    comparable. Both `[num_tokens, hidden]`."""
    if fresh.shape != other.shape:
        return float("inf")
    first, second = fresh.float(), other.to(fresh.device).float()
    if torch.equal(first, second):
        return 0.0
    scale = first.norm(dim=-1).clamp_min(1e-12)
    worst = float(((first - second).norm(dim=-1) / scale).max())
    return worst if worst == worst else float("inf")  # NaN compares to nothing
