"""Ideal visual tokens, made of the characters themselves: what the vision tower must learn."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from glyph_worker.nano import vocabulary as v
from glyph_worker.nano.geometry import PAGE_LINES, TOKEN_COLUMNS

CONTEXT = 4  # characters seen left and right of the token's own four
SPAN = 4 + 2 * CONTEXT
SLOTS = 2 * SPAN  # two lines
PLACE_NORM = 2.5  # of a row's or a column's vector; a character's own grows to about 2.2


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
    """Sum of one learned vector per (slot, character) and three fixed ones for the token's place:
    its column, its row counted from the top, and its height as a share of the page. Features
    [tokens, hidden].

    Rotary attention knows distances only. A question's word that is found in the document can tell
    the answer where that was only if the place is in what a visual token says. The share is what
    the tower's interpolated position table gives at once; the count it must work out.
    """

    rows: Tensor
    columns: Tensor
    waves: Tensor

    def __init__(self, hidden: int) -> None:
        super().__init__()
        half = PAGE_LINES // 2
        drawn = torch.randn(3 * half + TOKEN_COLUMNS, hidden, generator=_seeded())
        places = torch.linalg.qr(drawn.T).Q.T.contiguous() * PLACE_NORM  # orthogonal rows
        rows, columns, waves = places.split([half, TOKEN_COLUMNS, 2 * half])
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)
        self.register_buffer("waves", waves / half**0.5, persistent=False)
        self.table = nn.Parameter(torch.randn(SLOTS, v.VOCAB_SIZE, hidden) * 0.02)
        with torch.no_grad():  # the context whispers, the token's own characters speak
            self.table[:, v.SPACE] = 0
            near = torch.tensor([0.5] * CONTEXT + [1.0] * 4 + [0.5] * CONTEXT).repeat(2)
            self.table.mul_(near[:, None, None])

    def forward(self, cells: Tensor) -> Tensor:
        seen = windows(cells).flatten(0, 1)  # [tokens, 24]
        flat = seen + torch.arange(SLOTS, device=seen.device) * v.VOCAB_SIZE
        table = self.table.view(-1, self.table.shape[-1])
        said = torch.nn.functional.embedding_bag(flat, table, mode="sum")
        return said + self.places(cells.shape[1] // 2).repeat(len(cells), 1)

    def places(self, rows: int) -> Tensor:
        """The place's share of every token of a page of so many rows: [rows * 16, hidden]."""
        share = (torch.arange(rows, device=self.rows.device) + 0.5) / rows
        turns = share[:, None] * torch.pi * torch.arange(1, PAGE_LINES // 2 + 1).to(share)
        height = torch.cat((turns.cos(), turns.sin()), -1) @ self.waves  # [rows, hidden]
        where = (self.rows[:rows] + height)[:, None] + self.columns
        return where.flatten(0, 1)

    def misplaced(self, features: Tensor, ideal: Tensor) -> Tensor:
        """Squared error of features [tokens, hidden] where places are told, over its scale."""
        told = torch.cat((self.rows, self.columns, self.waves))
        told = torch.nn.functional.normalize(told, dim=-1)
        error: Tensor = ((features - ideal) @ told.T).pow(2).mean()
        return error / (ideal @ told.T).pow(2).mean()


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)
