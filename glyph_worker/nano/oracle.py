"""Ideal visual tokens, made of the characters themselves: what the vision tower must learn."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from glyph_worker.nano import vocabulary as v

CONTEXT = 4  # characters seen left and right of the token's own four
SPAN = 4 + 2 * CONTEXT
SLOTS = 2 * SPAN  # two lines


def windows(cells: Tensor) -> Tensor:
    """Character ids around each visual token: int64 [pages, tokens, 24] from [pages, lines, 64].

    The first twelve are the upper line, four columns left of the token to four right of it.
    """
    pages, lines, columns = cells.shape
    padded = torch.nn.functional.pad(cells, (CONTEXT, CONTEXT), value=v.SPACE)
    spans = padded.unfold(2, SPAN, 4)  # [pages, lines, columns / 4, 12]
    pairs = spans.view(pages, lines // 2, 2, columns // 4, SPAN)
    return pairs.permute(0, 1, 3, 2, 4).reshape(pages, -1, SLOTS)


class Oracle(nn.Module):
    """Sum of one learned vector per (slot, character): features [tokens, hidden]."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(SLOTS, v.VOCAB_SIZE, hidden) * 0.02)
        with torch.no_grad():  # the context whispers, the token's own characters speak
            self.table[:, v.SPACE] = 0
            near = torch.tensor([0.5] * CONTEXT + [1.0] * 4 + [0.5] * CONTEXT).repeat(2)
            self.table.mul_(near[:, None, None])

    def forward(self, cells: Tensor) -> Tensor:
        seen = windows(cells).flatten(0, 1)  # [tokens, 24]
        flat = seen + torch.arange(SLOTS, device=seen.device) * v.VOCAB_SIZE
        table = self.table.view(-1, self.table.shape[-1])
        return torch.nn.functional.embedding_bag(flat, table, mode="sum")
