"""Evicted keys go to host memory and come back as they were, in whole contiguous copies."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from glyph_worker.engine import host_tier
from glyph_worker.engine.host_tier import HostTier
from glyph_worker.engine.prefix import Move, MoveKind


class Copies(TorchDispatchMode):
    """Notes which copies touch a tensor's storage, and whether both ends are contiguous."""

    def __init__(self, arena: Tensor) -> None:
        super().__init__()
        self._arena = arena.untyped_storage().data_ptr()
        self.contiguous: list[bool] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.aten.copy_.default:
            ends = args[:2]
            if any(end.untyped_storage().data_ptr() == self._arena for end in ends):
                self.contiguous.append(all(end.is_contiguous() for end in ends))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("block_tokens", [1, 4])
def test_keys_survive_the_way_to_the_host_and_back(
    block_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over scattered runs, longer than the staging buffer, into other blocks."""
    torch.manual_seed(0)
    pool = torch.randn(3, 2, 2, 40 * block_tokens, 8)
    monkeypatch.setattr(host_tier, "STAGED_BYTES", 5 * block_tokens * 3 * 2 * 2 * 8 * 4)
    tier = HostTier(pool, block_tokens=block_tokens, num_blocks=20)
    before = pool.clone()
    out = ((3, 9), (20, 4))
    there = ((2, 6), (11, 7))
    back = ((0, 3), (30, 10))

    def tokens(tensor: Tensor, runs: tuple[tuple[int, int], ...]) -> Tensor:
        size = block_tokens
        return torch.cat([tensor[:, :, :, a * size : (a + n) * size] for a, n in runs], dim=3)

    with Copies(tier._arena) as seen:
        tier.carry_out([Move(MoveKind.OFFLOAD, out, there)])
        pool.zero_()
        tier.carry_out([Move(MoveKind.RESTORE, back, there)])
    assert torch.equal(tokens(pool, back), tokens(before, out))
    assert pool.count_nonzero() == tokens(before, out).count_nonzero()
    assert len(seen.contiguous) >= 6, "in turns through the staging buffers"
    assert all(seen.contiguous)


def test_a_move_out_and_another_into_its_blocks_keep_their_order() -> None:
    pool = torch.arange(2 * 8, dtype=torch.float32).view(1, 2, 1, 8, 1).clone()
    tier = HostTier(pool, block_tokens=1, num_blocks=4)
    first, second = pool[:, :, :, :2].clone(), pool[:, :, :, 4:6].clone()
    tier.carry_out([Move(MoveKind.OFFLOAD, ((4, 2),), ((0, 2),))])
    tier.carry_out(
        [
            Move(MoveKind.OFFLOAD, ((0, 2),), ((2, 2),)),
            Move(MoveKind.RESTORE, ((0, 2),), ((0, 2),)),
            Move(MoveKind.RESTORE, ((6, 2),), ((2, 2),)),
        ]
    )
    assert torch.equal(pool[:, :, :, :2], second)
    assert torch.equal(pool[:, :, :, 6:8], first)


def test_no_host_tier_takes_no_memory() -> None:
    tier = HostTier(torch.zeros(1, 2, 1, 8, 4), block_tokens=1, num_blocks=0)
    assert tier._arena.numel() == 0
    tier.carry_out([])
