"""Logits to tokens. A sampled token depends on its own logits and seed, never on batch-mates."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glyph_worker.job_options import Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """How one row is turned into a token."""

    sampling: Sampling
    index: int
    """Which token of its answer this is."""


def uniform(seed: int, index: int) -> float:
    """A number in [0, 1) that depends on seed and index alone, equal on every machine."""
    raw = hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(raw, "big") / 2.0**64


@dataclass(frozen=True, slots=True)
class Choice:
    """What became of the rows, one entry each."""

    tokens: list[int]
    finite: list[bool]
    """Whether all logits of the row are numbers."""
    log_probs: list[float]
    """Natural logarithm of the model's own probability of the token: of its raw logits, before
    masks, temperature, top-k and top-p."""


def allowed(bits: Tensor, vocabulary: int) -> Tensor:
    """bool [num_rows, vocabulary]: tokens that a row may have.

    `bits`: int32 [num_rows, ceil(vocabulary / 32)], bit t % 32 of word t // 32 set where it may.
    """
    if bits.device.type == "cpu":  # a tenth of the time of shifts
        raw = np.unpackbits(bits.numpy().view(np.uint8), axis=1, bitorder="little")
        return torch.from_numpy(raw.view(np.bool_))[:, :vocabulary]
    places = torch.arange(32, dtype=torch.int32, device=bits.device)
    return ((bits.unsqueeze(-1) >> places) & 1).flatten(1)[:, :vocabulary].bool()


def choose(logits: Tensor, draws: Sequence[Draw], bits: Tensor | None = None) -> Choice:
    """Tokens of rows [num_rows, vocab]. One device sync.

    `bits`, as `allowed` has them, are the tokens that rows may have; they overwrite the logits.

    Greedy rows take the largest logit. Sampled rows sort their probabilities, keep top-k and then
    the smallest set whose mass reaches top-p, and invert the cumulative distribution at the row's
    own uniform number.
    """
    logits = logits.float()
    # An infinity or NaN anywhere makes the sum so; a finite float32 row cannot overflow a float64.
    finite = torch.isfinite(logits.sum(dim=-1, dtype=torch.float64))
    total = torch.logsumexp(logits, dim=-1)
    if bits is not None:
        # In place and not by masked_fill_: together a fifth of the time at 150,000 tokens.
        never = torch.tensor(-torch.inf, device=logits.device)
        torch.where(allowed(bits, logits.shape[-1]), logits, never, out=logits)
    tokens = logits.argmax(dim=-1)
    sampled = [row for row, draw in enumerate(draws) if draw.sampling.temperature > 0]
    if sampled:
        at = torch.tensor(sampled, device=logits.device)
        tokens[at] = _sample(logits[at], [draws[row] for row in sampled])
    log_probs = logits.gather(1, tokens.unsqueeze(1)).squeeze(1) - total
    # Three kinds of number in one float64, which holds every token id exactly: one transfer.
    rows = torch.stack([tokens.double(), finite.double(), log_probs.double()]).tolist()
    return Choice([int(token) for token in rows[0]], [flag > 0 for flag in rows[1]], rows[2])


def _sample(logits: Tensor, draws: list[Draw]) -> Tensor:
    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=logits.device).unsqueeze(1)

    vocabulary = logits.shape[-1]
    temperature = column([draw.sampling.temperature for draw in draws])
    top_k = column([float(draw.sampling.top_k or vocabulary) for draw in draws])
    top_p = column([draw.sampling.top_p for draw in draws])
    point = column([uniform(draw.sampling.seed, draw.index) for draw in draws])
    ordered, order = torch.nan_to_num(logits).sort(dim=-1, descending=True, stable=True)
    mass = torch.softmax(ordered.double() / temperature, dim=-1)
    rank = torch.arange(vocabulary, device=logits.device)
    mass = mass.masked_fill(rank >= top_k, 0.0)
    mass = mass / mass.sum(dim=-1, keepdim=True)
    before = mass.cumsum(dim=-1) - mass
    mass = mass.masked_fill(before >= top_p, 0.0)  # the first one always stays: before is 0
    mass = mass / mass.sum(dim=-1, keepdim=True)
    index = torch.searchsorted(mass.cumsum(dim=-1), point, right=True)
    last = (mass > 0).sum(dim=-1, keepdim=True) - 1  # rounding may leave the sum just under 1
    return order.gather(1, torch.minimum(index, last)).squeeze(1)
