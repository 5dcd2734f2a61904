"""Where the model looks as it begins an answer: attention of one row to the visual tokens.

Taken once for a sequence, in the step that ends its prompt, so that decoding costs what it did.
What is looked at then is where the answer's first token is read, which is where it stands.
"""

from __future__ import annotations

from collections import abc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glyph_worker.engine.sequence import Places, Sequence, run_places
from glyph_worker.model.attention import AttentionPlan
from glyph_worker.model.kernels import Kernels
from glyph_worker.model.language import LanguageModel


@contextmanager
def looking(
    language: LanguageModel, rows: abc.Sequence[tuple[int, Sequence]], block_tokens: int
) -> Iterator[None]:
    """Note for each of these rows of the next forward what it looks at, in its sequence."""
    watched = [
        (row, live, torch.from_numpy(places).to(language.device))
        for row, live in rows
        if len(places := visual_places(live, block_tokens))
    ]
    if not watched:
        yield
        return
    kernels = language.kernels
    watch = _Watch(kernels, watched)
    language.kernels = watch
    try:
        yield
    finally:
        language.kernels = kernels
    watch.finish()


def visual_places(live: Sequence, block_tokens: int) -> Places:
    """Pool places of the document's visual tokens in order, int64 [num_visual_tokens]."""
    parts = [
        run_places(node.runs, block_tokens, node.num_tokens)[len(page.lead) :]
        for page, node in zip(live.scheduled.pages, live.scheduled.chain, strict=True)
    ]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


class _Watch:
    """The kernels, which also sum up over layers and heads what the watched rows look at."""

    def __init__(self, kernels: Kernels, watched: list[tuple[int, Sequence, Tensor]]) -> None:
        self._kernels = kernels
        self._watched = watched
        self._sums: list[Tensor | None] = [None] * len(watched)
        self.name = kernels.name
        self.rotate_and_store = kernels.rotate_and_store
        self.add_norms = kernels.add_norms
        self.gate = kernels.gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernels, name)

    def attend(
        self, heads: Tensor, keys: Tensor, values: Tensor, plan: AttentionPlan, scale: float
    ) -> Tensor:
        try:
            for at, (row, _, places) in enumerate(self._watched):
                share = _shares(heads[row], keys, places, scale)
                known = self._sums[at]
                self._sums[at] = share if known is None else known + share
        except torch.OutOfMemoryError:
            # An answer that is cited by its question's words is worth more than none.
            self._watched = []
        return self._kernels.attend(heads, keys, values, plan, scale)

    def finish(self) -> None:
        for (_, live, _), total in zip(self._watched, self._sums, strict=False):
            if total is not None:
                live.page_attention = (total / total.sum()).cpu().numpy()


def _shares(heads: Tensor, keys: Tensor, places: Tensor, scale: float) -> Tensor:
    """Attention of one row to these places among themselves, mean of all heads: [num_places].

    heads [num_heads + 2 * num_kv_heads, dim]; keys [num_kv_heads, pool_tokens, dim].
    """
    num_kv, _, dim = keys.shape
    query = (heads[: -2 * num_kv] * scale).view(num_kv, -1, dim)
    seen = keys.index_select(1, places).to(query.dtype)  # [num_kv_heads, num_places, dim]
    scores = query @ seen.transpose(1, 2)
    return torch.softmax(scores.float(), dim=-1).mean(dim=(0, 1))
