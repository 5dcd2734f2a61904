"""Products of 16-bit numbers in float32, in code that is not ours, where a device lacks the former.

Our own matrices widen by themselves (`linear`). What is left is the library's forward, which is the
self-test's yardstick, and torch's Muon, which turns every gradient into bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from glyph_worker.model.linear import slow_dtypes

_PRODUCTS = frozenset(
    {
        torch.mm, torch.bmm, torch.matmul, torch.addmm, torch.baddbmm,
        Tensor.mm, Tensor.bmm, Tensor.matmul, Tensor.addmm, Tensor.baddbmm,
        Tensor.__matmul__, Tensor.__rmatmul__,
        F.linear, F.conv2d, F.conv3d, F.scaled_dot_product_attention,
    }
)  # fmt: skip


_NORMS = frozenset({F.layer_norm, F.rms_norm})


def wide_products(device: torch.device) -> AbstractContextManager[Any]:
    """Inside, products of the device's slow dtypes are float32's, rounded back to their dtype."""
    slow = slow_dtypes(device)
    return _WideProducts(slow) if slow else nullcontext()


def float_forward() -> AbstractContextManager[Any]:
    """Inside, a 16-bit model's forward keeps every activation in float32: the yardstick of formats
    whose range a model may leave. Its weights stay as they are, one is widened at a time."""
    return _WideProducts((torch.float16, torch.bfloat16), keep_wide=True)


class _WideProducts(TorchFunctionMode):
    def __init__(self, slow: Sequence[torch.dtype], *, keep_wide: bool = False) -> None:
        super().__init__()
        self._slow = slow
        self._keep_wide = keep_wide

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if self._keep_wide:
            if func in _PRODUCTS or func in _NORMS:
                wide = {name: self._widened(value) for name, value in kwargs.items()}
                return func(*map(self._widened, args), **wide)
            out = func(*args, **kwargs)
            return self._widened(out) if func is F.embedding else out
        if func in _PRODUCTS and args[0].dtype in self._slow:
            wide = {name: self._widened(value) for name, value in kwargs.items()}
            return func(*map(self._widened, args), **wide).to(args[0].dtype)
        return func(*args, **kwargs)

    def _widened(self, value: Any) -> Any:
        return value.float() if isinstance(value, Tensor) and value.dtype in self._slow else value
