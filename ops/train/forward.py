"""The reader's forward pass over packed rows: the same weights and results as transformers' own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Glm4vForConditionalGeneration
from transformers.models.glm4v.modeling_glm4v import apply_rotary_pos_emb

CHUNK, CHUNKS = 128, 8  # tokens at least, and chunks at most, of a row's queries on a CPU
HIDDEN = -1e4  # added to the score of what a token may not see: its share of a softmax is zero


def packed_mask(document: Tensor, segment: Tensor) -> Tensor:
    """What each token may see: bool [rows, 1, length, length], True where it may.

    Earlier tokens of its own document that belong to the document itself or to its own question.
    Padding sees itself, so that no row of the softmax is empty.
    """
    length = document.shape[1]
    same = document[:, :, None] == document[:, None, :]
    shared = (segment[:, None, :] == 0) | (segment[:, :, None] == segment[:, None, :])
    causal = torch.ones(length, length, dtype=torch.bool, device=document.device).tril()
    return (same & shared & causal)[:, None]


def block(
    layer: Any,
    hidden: Tensor,
    cos: Tensor,
    sin: Tensor,
    bias: Tensor,
    asked: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor, Tensor | None]:
    """One layer: hidden states [rows, length, hidden], and if its first heads are `asked` at some
    positions [rows, asked] about their goals (row indices [rows, heads, asked, places], -1 for
    none), the log-probability [rows, heads, asked] with which they look at one of them.
    """
    normed = layer.input_layernorm(hidden)
    attention = layer.self_attn
    shape = (*normed.shape[:2], -1, attention.head_dim)
    query = attention.q_proj(normed).view(shape).transpose(1, 2)
    key = attention.k_proj(normed).view(shape).transpose(1, 2)
    value = attention.v_proj(normed).view(shape).transpose(1, 2)
    query, key = apply_rotary_pos_emb(query, key, cos, sin)
    query, key = query.to(value.dtype), key.to(value.dtype)
    look = None if asked is None else _look(query, key, bias, *asked)
    mixed = _attend(query, key, value, bias)
    mixed = mixed.transpose(1, 2).reshape(*normed.shape[:2], -1)
    hidden = hidden + layer.post_self_attn_layernorm(attention.o_proj(mixed))
    inner = layer.mlp(layer.post_attention_layernorm(hidden))
    return hidden + layer.post_mlp_layernorm(inner), look


Block = Callable[..., tuple[Tensor, Tensor | None]]


def read(
    model: Glm4vForConditionalGeneration,
    embeds: Tensor,
    cos: Tensor,
    sin: Tensor,
    mask: Tensor,
    asked: dict[int, tuple[Tensor, Tensor]],
    block: Block = block,
) -> tuple[Tensor, dict[int, Tensor]]:
    """Hidden states [rows, length, hidden], and what each taught layer is `asked` (see `block`)."""
    text = model.model.language_model
    fast = torch.is_autocast_enabled(embeds.device.type)
    dtype = torch.get_autocast_dtype(embeds.device.type) if fast else embeds.dtype
    bias = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, HIDDEN)
    hidden, looks = embeds, {}
    for index, layer in enumerate(text.layers):
        hidden, look = block(layer, hidden, cos, sin, bias, asked.get(index))
        if look is not None:
            looks[index] = look
    return text.norm(hidden), looks


def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """On a CPU in chunks of queries, each against the keys up to its end: nobody sees later ones,
    and a chunk's scores stay in the cache. Forward and back, SDPA takes 2.5 times as long on rows
    of 1,024 tokens and 2.8 on 2,048; a mask of booleans instead of `bias`, 1.3 and 1.6.
    """
    if query.is_cuda:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    length = query.shape[2]
    step = max(CHUNK, length // CHUNKS)
    query = query * query.shape[-1] ** -0.5
    mixed = []
    for start in range(0, length, step):
        end = min(start + step, length)
        scores = torch.matmul(query[:, :, start:end], key[:, :, :end].transpose(2, 3))
        scores = scores + bias[..., start:end, :end]
        mixed.append(torch.matmul(scores.softmax(-1).to(value.dtype), value[:, :, :end]))
    return torch.cat(mixed, dim=2)


def _look(query: Tensor, key: Tensor, bias: Tensor, where: Tensor, goals: Tensor) -> Tensor:
    heads, here = goals.shape[1], where[:, None, :, None]
    asking = query[:, :heads].take_along_dim(here, 2)
    scores = torch.matmul(asking, key[:, :heads].transpose(2, 3)).float() * query.shape[-1] ** -0.5
    logs = (scores + bias.take_along_dim(here, 2)).log_softmax(-1)
    there = logs.gather(-1, goals.clamp(min=0)).masked_fill(goals < 0, HIDDEN)
    return torch.logsumexp(there, -1)


def see(model: Glm4vForConditionalGeneration, pages: Tensor) -> Tensor:
    """Visual tokens [pages * tokens_per_page, hidden] of gray pages [pages, height, 448], already
    normalised. Same weights as `get_image_features`, with channels and frames folded into one.
    """
    tower = model.model.visual
    count, height, width = pages.shape
    rows, columns = height // 14, width // 14
    patches = pages.view(count, rows // 2, 2, 14, columns // 2, 2, 14)
    patches = patches.permute(0, 1, 4, 2, 5, 3, 6).reshape(count * rows * columns, 196)
    weight = tower.patch_embed.proj.weight.sum((1, 2)).flatten(1)
    hidden = tower.post_conv_layernorm(F.linear(patches, weight, tower.patch_embed.proj.bias))

    h, w = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    order = torch.stack((h, w), -1).view(rows // 2, 2, columns // 2, 2, 2).permute(0, 2, 1, 3, 4)
    place = order.reshape(rows * columns, 2).to(pages.device)  # [patches of a page, (h, w)]
    hidden = hidden.view(count, rows * columns, -1) + _page_positions(tower, place, rows, columns)

    angles = place[..., None].float() * tower.rotary_pos_emb.inv_freq
    angles = torch.cat((angles[:, 0], angles[:, 1]), -1)
    cos, sin = torch.cat((angles, angles), -1).cos(), torch.cat((angles, angles), -1).sin()
    for block in tower.blocks:
        attention = block.attn
        qkv = attention.qkv(block.norm1(hidden))
        query, key, value = qkv.view(count, rows * columns, 3, attention.num_heads, -1).unbind(2)
        query, key = (_turn(part.transpose(1, 2), cos, sin) for part in (query, key))
        mixed = F.scaled_dot_product_attention(
            query.to(value.dtype), key.to(value.dtype), value.transpose(1, 2)
        )
        hidden = hidden + attention.proj(mixed.transpose(1, 2).reshape(hidden.shape))
        hidden = hidden + block.mlp(block.norm2(hidden))
    hidden = tower.post_layernorm(hidden)
    groups = hidden.reshape(count * rows * columns // 4, 4, -1)  # the 2 x 2 patches of a token
    kernel = tower.downsample.weight.permute(0, 2, 3, 1).flatten(1)
    merged = F.linear(groups.flatten(1), kernel, tower.downsample.bias)
    tokens: Tensor = tower.merger(merged)
    return tokens


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


def _page_positions(tower: Any, place: Tensor, rows: int, columns: int) -> Tensor:
    """The learned position table, sampled for a page of this size: [patches of a page, width]."""
    table = tower.embeddings.position_embedding.weight
    side = int(table.shape[0] ** 0.5)
    grid = table.view(1, side, side, -1).permute(0, 3, 1, 2).float()
    at_h = (place[:, 0] + 0.5) / rows * 2 - 1
    at_w = (place[:, 1] + 0.5) / columns * 2 - 1
    where = torch.stack((at_w, at_h), -1)[None, None]
    sampled = F.grid_sample(grid, where, mode="bicubic", align_corners=False, padding_mode="border")
    return sampled[0, :, 0].T
