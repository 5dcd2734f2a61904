"""Made-up pages, and an encoder without a model that counts what it encodes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from glyph_worker.document import digest
from glyph_worker.features.types import PageRequest

Pixels = np.ndarray[Any, Any]
PATCH = 28
MOMENTS = 4


class FakeEncoder:
    """Features that are a fixed function of the pixels and of the identity.

    `ms_per_page` is what an encode takes (asleep, so other threads run); `on_page` sees every
    page and may raise. `num_encoded` counts pages, `batches` the sizes of micro-batches.
    """

    processor_digest = digest("fake-processor")
    encoder_revision = 1
    num_feature_tensors = 1
    sample_size = (448, 392)

    def __init__(
        self,
        *,
        seed: int = 0,
        hidden_size: int = 32,
        dtype: torch.dtype = torch.float32,
        ms_per_page: float = 0.0,
        on_page: Callable[[Pixels], None] | None = None,
    ) -> None:
        self.identity = digest("fake-encoder", seed)
        self.device = torch.device("cpu")
        self.dtype = dtype
        self.hidden_size = hidden_size
        self.ms_per_page = ms_per_page
        self.num_encoded = 0
        self.batches: list[int] = []
        self._on_page = on_page
        generator = torch.Generator().manual_seed(seed)
        self._weight = torch.randn(MOMENTS, hidden_size, generator=generator)
        self._probes = np.random.default_rng(seed).standard_normal((PATCH * PATCH, MOMENTS))

    def num_visual_tokens(self, width: int, height: int) -> int:
        return (width // PATCH) * (height // PATCH)

    def encode_pages(self, pages: list[Pixels]) -> list[torch.Tensor]:
        if all(page.min() == 255 for page in pages):  # the warm-up, which is no page
            num_tokens = self.num_visual_tokens(pages[0].shape[1], pages[0].shape[0])
            if self.ms_per_page:
                time.sleep(self.ms_per_page * num_tokens / 8 / 1e3)  # a page of ours has eight
            return [torch.zeros(num_tokens, self.hidden_size, dtype=self.dtype) for _ in pages]
        for page in pages:
            if self._on_page is not None:
                self._on_page(page)
        if self.ms_per_page:
            time.sleep(self.ms_per_page * len(pages) / 1e3)
        self.num_encoded += len(pages)
        self.batches.append(len(pages))
        return [self.features(page) for page in pages]

    def features(self, page: Pixels) -> torch.Tensor:
        """What encoding this page must give, `[num_tokens, hidden]`."""
        rows, columns = page.shape[0] // PATCH, page.shape[1] // PATCH
        patches = page[: rows * PATCH, : columns * PATCH].reshape(rows, PATCH, columns, PATCH)
        flat = patches.transpose(0, 2, 1, 3).reshape(rows * columns, PATCH * PATCH)
        # A few moments of each patch: cheap, and no sum depends on how many tokens there are.
        moments = np.stack([(row[:, None] * self._probes).sum(0) for row in flat / 255])
        mixed = torch.from_numpy(moments.astype(np.float32))[:, :, None] * self._weight
        return mixed.sum(dim=1).to(self.dtype)


def fake_page(number: int, *, width: int = 112, height: int = 56) -> Pixels:
    """The pixels of one made-up page, uint8[height, width]."""
    return np.random.default_rng(number).integers(0, 256, (height, width), dtype=np.uint8)


def fake_request(
    number: int, *, width: int = 112, height: int = 56, on_draw: Callable[[], None] | None = None
) -> PageRequest:
    """A request for that page."""

    def draw() -> Pixels:
        if on_draw is not None:
            on_draw()
        return fake_page(number, width=width, height=height)

    return PageRequest(
        page_digest=digest("fake-page", number, width, height),
        width=width,
        height=height,
        pixels=draw,
    )
