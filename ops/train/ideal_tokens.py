"""Ideal visual tokens, made of the characters themselves: what the vision tower must learn."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train import vocabulary as v
from train.geometry import PAGE_LINES, TOKEN_COLUMNS

SLOTS = 8  # characters of a visual token, four of the upper line and four of the lower
ROWS = PAGE_LINES // 2
CHARACTER_NORM, PLACE_NORM = 2.0, 2.5
CASELESS = 0.8  # of a letter's code is shared by its two cases: questions often differ in case


def windows(cells: Tensor) -> Tensor:
    """Character ids under each visual token: int64 [pages, tokens, 8] from [pages, lines, 64]."""
    pages, lines, _ = cells.shape
    pairs = cells.view(pages, lines // 2, 2, TOKEN_COLUMNS, 4)
    return pairs.permute(0, 1, 3, 2, 4).reshape(pages, -1, SLOTS)


class Oracle(nn.Module):
    """What a perfect tower would say of a page: features [tokens, hidden], nothing learned.

    A sum of orthogonal parts, drawn once: one for each of the token's eight characters, and three
    for its place: its column, its row counted from the top, and its height as a share of the page.
    Orthogonal, because attention heads read a feature through a narrow linear map. Places, because
    rotary attention knows distances only: a word that is found in the document can tell the answer
    where that was only if the token says it. The share is what the tower's interpolated position
    table gives at once; the count it must work out.
    """

    table: Tensor
    rows: Tensor
    columns: Tensor
    waves: Tensor
    told: Tensor

    def __init__(self, hidden: int) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        width = (hidden - 2 * ROWS - TOKEN_COLUMNS) // SLOTS
        *slots, rows, columns, rest = torch.linalg.qr(
            torch.randn(hidden, hidden, generator=random)
        ).Q.split(
            [*[width] * SLOTS, ROWS, TOKEN_COLUMNS, hidden - SLOTS * width - ROWS - TOKEN_COLUMNS]
        )
        tables = [_codes(width, random) @ slot for slot in slots]
        waves = torch.randn(2 * ROWS, len(rest), generator=random)
        waves = torch.nn.functional.normalize(waves, dim=-1) @ rest / ROWS**0.5
        self.register_buffer("table", torch.stack(tables) * CHARACTER_NORM)
        self.register_buffer("rows", rows * PLACE_NORM)
        self.register_buffer("columns", columns * PLACE_NORM)
        self.register_buffer("waves", waves * PLACE_NORM)
        self.register_buffer("told", torch.cat((rows, columns, rest)))

    def forward(self, cells: Tensor) -> Tensor:
        seen = windows(cells).flatten(0, 1)  # [tokens, 8]
        flat = seen + torch.arange(SLOTS, device=seen.device) * v.VOCAB_SIZE
        table = self.table.view(-1, self.table.shape[-1])
        said = torch.nn.functional.embedding_bag(flat, table, mode="sum")
        return said + self.places(cells.shape[1] // 2).repeat(len(cells), 1)

    def places(self, rows: int) -> Tensor:
        """The place's share of every token of a page of so many rows: [rows * 16, hidden]."""
        share = (torch.arange(rows, device=self.rows.device) + 0.5) / rows
        turns = share[:, None] * torch.pi * torch.arange(1, ROWS + 1).to(share)
        height = torch.cat((turns.cos(), turns.sin()), -1) @ self.waves  # [rows, hidden]
        where = (self.rows[:rows] + height)[:, None] + self.columns
        return where.flatten(0, 1)

    def misplaced(self, features: Tensor, ideal: Tensor) -> Tensor:
        """Squared error of features [tokens, hidden] where places are told, over its scale."""
        error: Tensor = ((features - ideal) @ self.told.T).pow(2).mean()
        return error / (ideal @ self.told.T).pow(2).mean()


def _codes(width: int, random: torch.Generator) -> Tensor:
    """A vector of length one for each token of the alphabet: [256, width]."""
    own = torch.nn.functional.normalize(torch.randn(v.VOCAB_SIZE, width, generator=random), dim=-1)
    folded = [v.ID.get(token.lower(), index) for index, token in enumerate(v.TOKENS)]
    folded += range(len(v.TOKENS), v.VOCAB_SIZE)
    mixed = CASELESS**0.5 * own[folded] + (1 - CASELESS) ** 0.5 * own.roll(1, 0)
    return torch.nn.functional.normalize(mixed, dim=-1)
