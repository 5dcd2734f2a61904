"""One prompt through our own forward at once: no engine, no shared cache. For checks at load."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from glyph_worker.model.attention import AttentionPlan, Causal
from glyph_worker.model.kernels import Kernels
from glyph_worker.model.language import StepInput
from glyph_worker.model.processor import Page
from glyph_worker.model.reader import Reader


@torch.inference_mode()
def own_logits(
    reader: Reader,
    pages: Sequence[Page],
    question: str,
    answer: Sequence[int],
    *,
    dtype: torch.dtype,
    kernels: Kernels | None = None,
) -> Tensor:
    """Logits that choose each answer token and the one after, [len(answer) + 1, vocab] in `dtype`.

    `dtype` is that of all activations; `kernels` may watch them.
    """
    language, prompt = reader.language, reader.prompt
    embeds: list[Tensor] = []
    deep: list[Tensor] = []
    parts: list[tuple[int, tuple[int, int]]] = []

    def add_text(ids: Sequence[int]) -> None:
        embeds.append(language.embed(torch.tensor(ids, dtype=torch.int64, device=reader.device)))
        deep.append(embeds[-1].new_zeros((language.num_deep, *embeds[-1].shape)))

    for index, (page, features) in enumerate(zip(pages, reader.encode_pages(pages), strict=True)):
        lead = prompt.page_lead(index)
        parts.append((len(lead), reader.processor.visual_grid(page.shape[1], page.shape[0])))
        add_text(lead)
        seen, deeper = language.visual(features)
        embeds.append(seen)
        deep.append(seen.new_zeros((0, *seen.shape)) if deeper is None else deeper)
    tail = [*prompt.tail(question, num_pages=len(pages)), *answer]
    add_text(tail)
    positions, _ = reader.positions(parts, len(tail))
    count = positions.shape[1]
    places = torch.arange(count, device=reader.device)
    pool = torch.zeros(
        (language.num_layers, 2, language.num_kv_heads, count, language.head_dim),
        dtype=dtype,
        device=reader.device,
    )
    step = StepInput(
        embeds=torch.cat(embeds).to(dtype),
        positions=torch.from_numpy(positions.copy()).to(reader.device),
        places=places,
        logit_rows=places[-len(answer) - 1 :],
        plan=AttentionPlan(causal=(Causal(slice(0, count), 0),)),
        deep=torch.cat(deep, dim=1).to(dtype) if language.num_deep else None,
    )
    before = language.kernels
    if kernels is not None:
        language.kernels = kernels
    try:
        return language.forward(step, pool)
    finally:
        language.kernels = before
