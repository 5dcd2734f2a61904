"""Which number format a document's sequences run in."""

from __future__ import annotations

import torch

from glyph_worker.engine.prefix import PageKey

FALLBACK_DTYPE = "bfloat16"
MAX_OVERFLOWED = 1_024
"""Documents that are remembered."""


class DtypeGroups:
    """The model's own format, and bfloat16, whose range is float32's, for documents that float16
    could not hold."""

    def __init__(self, dtype: torch.dtype, *, guarded: bool) -> None:
        """`guarded`: logits that are not finite are noticed."""
        self._own = str(dtype).removeprefix("torch.")
        self.may_overflow = guarded and dtype == torch.float16
        self.dtypes = [dtype, *([torch.bfloat16] if self.may_overflow else [])]
        """All that steps may run in."""
        self._overflowed: dict[tuple[PageKey, ...], None] = {}

    def of(self, pages: tuple[PageKey, ...]) -> str:
        """The model's, unless the document overflowed before."""
        return FALLBACK_DTYPE if _document(pages) in self._overflowed else self._own

    def overflowed(self, pages: tuple[PageKey, ...]) -> None:
        """Later questions on this document begin in bfloat16."""
        self._overflowed[_document(pages)] = None
        if len(self._overflowed) > MAX_OVERFLOWED:
            del self._overflowed[next(iter(self._overflowed))]


def _document(pages: tuple[PageKey, ...]) -> tuple[PageKey, ...]:
    """The pages alone, without a conversation's earlier turns."""
    return tuple(page for page in pages if page.num_visual_tokens)
