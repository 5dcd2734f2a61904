"""Page pixels to page features: micro-batches of equal grids through a family's forward.

What we draw is gray, so the three colour channels, the two copies of the frame, scaling and
normalising fold into one linear map on raw pixels: a page goes up as uint8 and nothing else. Pages
brought as pictures may have colour, and a map of three times the width.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import structlog
import torch
from torch import Tensor

from glyph_worker.errors import EngineFault
from glyph_worker.model.linear import PackedLinear, PlainLinear
from glyph_worker.model.processor import Grid, Page, ProcessorConfig
from glyph_worker.model.vision_parts import PageForward

log = structlog.get_logger(__name__)


class VisionTower:
    """The vision half of a model. Thread-safe: one forward at a time."""

    def __init__(
        self,
        page_forward: PageForward,
        processor: ProcessorConfig,
        *,
        max_patches: int = 16_384,
        compile_forward: bool = False,
        packed: bool = False,
    ) -> None:
        """`page_forward` is the family's; it shares the library's weights.

        `max_patches` bounds one micro-batch; on out-of-memory it is halved and the batch retried.
        """
        self.page_forward = page_forward
        self.processor = processor
        self.max_patches = max_patches
        self.device = page_forward.device
        self.dtype = page_forward.dtype
        self.num_fallbacks = 0
        self._lock = threading.Lock()
        self._stream = (
            torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
            if self.device.type == "cuda"
            else None
        )
        self.lay_out(packed=packed)
        self._forward: Callable[[Tensor, Grid, torch.dtype], Tensor] = page_forward.forward
        self._run: Callable[[Tensor, Grid, torch.dtype], Tensor] = self._forward
        self.refused_compile: str | None = None
        """Why the compiled forward is not used, after it failed once."""
        if compile_forward:
            self.compile()

    def lay_out(self, *, packed: bool) -> None:
        """Take every matrix from the library's module, packed for the CPU or plain."""
        self.page_forward.lay_out(PackedLinear if packed else PlainLinear)

    @property
    def fused_attention(self) -> bool:
        """Off: every score in memory, to measure by."""
        return self.page_forward.fused_attention

    @fused_attention.setter
    def fused_attention(self, value: bool) -> None:
        self.page_forward.fused_attention = value

    def compile(self, **options: Any) -> None:
        """Compile the blocks at their next use: once, for pages of every size and number.

        What cannot be compiled runs plain, for good, and says why in `refused_compile`.
        """
        self.page_forward.compile(**options)

        def run(pixels: Tensor, grid: Grid, dtype: torch.dtype) -> Tensor:
            try:
                return self._forward(pixels, grid, dtype)
            except torch.OutOfMemoryError:
                raise
            except Exception as exc:  # noqa: BLE001  the compiler's faults are not the page's
                self.refused_compile = repr(exc)[:400]
                log.warning("vision.compile_refused", reason=self.refused_compile)
                self.run_plain()
                return self._forward(pixels, grid, dtype)

        self._run = run

    def run_plain(self) -> None:
        """The opposite of `compile`."""
        self.page_forward.run_plain()
        self._run = self._forward

    def warm_up(self) -> None:
        """See blank pages in every dtype that pages may need: nothing is compiled later."""
        width, height = self.processor.sample_size
        blank = np.full((height, width), 255, dtype=np.uint8)
        self.encode([blank, blank])
        if self.dtype == torch.float16:
            patch = self.processor.patch_size
            with self._lock, torch.inference_mode(), self._side_stream():
                pixels = torch.from_numpy(blank[None]).to(self.device)
                self._run(pixels, (height // patch, width // patch), torch.bfloat16)

    def encode(self, pages: Sequence[Page]) -> list[Tensor]:
        """Visual tokens [num_tokens, hidden] of each page, on the device, in the model's dtype.

        Pages (uint8 [height, width], gray, or [height, width, 3]) may have any mix of sizes; equal
        ones run together.
        """
        fitted = [self._fit(page) for page in pages]
        buckets: dict[tuple[int, ...], list[int]] = {}
        for index, page in enumerate(fitted):
            buckets.setdefault(page.shape, []).append(index)
        out: list[Tensor | None] = [None] * len(fitted)
        with self._lock, torch.inference_mode(), self._side_stream():
            for (height, width, *_), members in buckets.items():
                patch = self.processor.patch_size
                grid = (height // patch, width // patch)
                start = 0
                while start < len(members):
                    size = max(1, self.max_patches // (grid[0] * grid[1]))
                    chosen = members[start : start + size]
                    try:
                        features = self._encode_grid([fitted[i] for i in chosen], grid)
                    except torch.OutOfMemoryError as exc:
                        if len(chosen) == 1:
                            raise EngineFault(
                                f"the device has no memory left to encode a page of {width} x "
                                f"{height} px alone; lower GLYPH_ENGINE_KV_BYTES to leave it more",
                                width=width,
                                height=height,
                            ) from exc
                        self.max_patches = max(1, len(chosen) // 2) * grid[0] * grid[1]
                        continue
                    for index, tokens in zip(chosen, features, strict=True):
                        out[index] = tokens
                    start += len(chosen)
        return [tokens for tokens in out if tokens is not None]

    @contextmanager
    def _side_stream(self) -> Iterator[None]:
        """On CUDA, work beside the engine's steps; what comes out is complete when this ends."""
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            yield
            self._stream.synchronize()

    def _fit(self, page: Page) -> Page:
        height, width = page.shape[:2]
        wide, tall = self.processor.fitted_size(width, height)
        if (wide, tall) == (width, height):
            return page
        from PIL import Image  # only pages of foreign sizes are resized, as the library would

        image = Image.fromarray(np.ascontiguousarray(page))
        return np.asarray(image.resize((wide, tall), Image.Resampling.BICUBIC), dtype=np.uint8)

    def _encode_grid(self, pages: Sequence[Page], grid: Grid) -> Sequence[Tensor]:
        stacked = torch.from_numpy(np.stack(pages))  # uint8 [num_pages, height, width (, 3)]
        if self.device.type == "cuda":
            stacked = stacked.pin_memory()
        pixels = stacked.to(self.device, non_blocking=True)
        self.page_forward.prepare(grid)
        features = self._run(pixels, grid, self.dtype)  # [num_pages, num_tokens, hidden]
        if self.dtype == torch.float16:
            features = self._mend(features, pixels, grid)
        if self._stream is not None:
            # The engine reads them on its stream: their memory may not be reused before that.
            features.record_stream(torch.cuda.default_stream(self.device))
        return features.unbind(0)

    def _mend(self, features: Tensor, pixels: Tensor, grid: Grid) -> Tensor:
        """Pages that overflowed float16 again in bfloat16; what is still too large is clamped."""
        broken = (~torch.isfinite(features.sum(dim=(1, 2), dtype=torch.float32))).nonzero()[:, 0]
        if len(broken) == 0:
            return features
        self.num_fallbacks += len(broken)
        again = self._run(pixels[broken], grid, torch.bfloat16)
        largest = torch.finfo(torch.float16).max
        features = features.clone()
        features[broken] = again.float().clamp(-largest, largest).to(torch.float16)
        return features
