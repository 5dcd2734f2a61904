"""Greedy answers to many questions on one document, by transformers' own language model.

For evaluation: the document's keys and values are computed once and shared by its questions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, Glm4vForConditionalGeneration

from train import vocabulary as v
from train.geometry import TOKEN_COLUMNS
from train.packing import question_tokens


def prompt_head(grids: Sequence[tuple[int, int]]) -> tuple[list[int], Tensor]:
    """Tokens of the prompt up to the question, and positions int64 [3, tokens].

    `grids` holds the visual tokens of each page, (rows, columns).
    """
    tokens = list(v.PROMPT_HEAD)
    positions = [(i, i, i) for i in range(len(tokens))]
    here = len(tokens)
    for height, width in grids:
        tokens += [v.PAGE_OPEN, *[v.IMAGE] * (height * width), v.PAGE_CLOSE]
        positions.append((here, here, here))
        here += 1
        positions += [
            (here, here + row, here + column) for row in range(height) for column in range(width)
        ]
        here += max(height, width)
        positions.append((here, here, here))
        here += 1
    return tokens, torch.tensor(positions).T


@torch.inference_mode()
def answer(
    model: Glm4vForConditionalGeneration,
    features: Sequence[Tensor],
    questions: Sequence[str],
    *,
    columns: int = TOKEN_COLUMNS,
    max_tokens: int = 100,
) -> list[str]:
    """One answer per question; `features` are the pages' visual tokens [tokens, hidden] each,
    on pages `columns` visual tokens wide."""
    text = model.model.language_model
    device, dtype = text.embed_tokens.weight.device, text.embed_tokens.weight.dtype
    head, places = prompt_head([(len(page) // columns, columns) for page in features])
    tokens = torch.tensor(head, device=device)
    embeds = text.embed_tokens(tokens)
    if features:
        embeds[tokens == v.IMAGE] = torch.cat(list(features)).to(device, dtype)
    cache = DynamicCache(config=model.config.text_config)
    # By position: what transformers 5.23 calls `past_key_values` is `cache` from 5.24 on.
    text(None, None, places[:, None].to(device), cache, embeds[None], use_cache=True)
    cache.batch_repeat_interleave(len(questions))
    asked = [question_tokens(question) for question in questions]
    width = max(map(len, asked))
    rows = np.full((len(asked), width), v.PAD)
    for row, question in zip(rows, asked, strict=True):
        row[width - len(question) :] = question  # padded on the left, behind the shared document
    ids = torch.from_numpy(rows).to(device)
    pads = torch.tensor([width - len(ids) for ids in asked], device=device)
    order = torch.arange(width, device=device)
    seen = torch.cat(
        (
            torch.ones(len(asked), len(head), dtype=torch.long, device=device),
            (order[None] >= pads[:, None]).long(),
        ),
        dim=1,
    )
    start = int(places.max()) + 1
    position = start + (order[None] - pads[:, None]).clamp(min=0)  # [questions, width]
    written: list[list[int]] = [[] for _ in asked]
    open_rows = set(range(len(asked)))
    for _ in range(max_tokens):
        out = text(
            None, seen, position[None].expand(3, -1, -1), cache, text.embed_tokens(ids),
            use_cache=True,
        )  # fmt: skip
        ids = model.lm_head(out.last_hidden_state[:, -1:]).argmax(-1)
        for number, token in enumerate(ids[:, 0].tolist()):
            if number in open_rows:
                written[number].append(token)
                if token in v.END:
                    open_rows.discard(number)
        if not open_rows:
            break
        position = position[:, -1:] + 1
        seen = torch.cat((seen, seen.new_ones(len(asked), 1)), dim=1)
    return [v.decode(row) for row in written]


def edit_distance(left: str, right: str) -> int:
    """Fewest insertions, deletions and substitutions that make one text the other."""
    before = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        now = [i]
        for j, b in enumerate(right, 1):
            now.append(min(before[j] + 1, now[-1] + 1, before[j - 1] + (a != b)))
        before = now
    return before[-1]
