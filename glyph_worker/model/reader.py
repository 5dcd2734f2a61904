"""A loaded checkpoint: sees pages, holds the prompt, lends its language half. Loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glyph_worker.document import digest
from glyph_worker.model.cores import Cores
from glyph_worker.model.language import LanguageModel, WeightForm
from glyph_worker.model.processor import Page, ProcessorConfig
from glyph_worker.model.prompt import Prompt
from glyph_worker.model.vision import ENCODER_REVISION, VisionTower


class Reader:
    """A loaded checkpoint: sees pages, holds the prompt, and lends its language half to the engine.

    `encode_pages` may be called from any thread; `language` belongs to the engine's thread.
    """

    def __init__(
        self,
        *,
        model: Any,
        folder: Path,
        identity: str,
        processor: ProcessorConfig,
        prompt: Prompt,
        form: WeightForm = "plain",
        compile_vision: bool = False,
        cores: Cores | None = None,
    ) -> None:
        self.model = model
        self.cores = cores or Cores(1, 1)
        """Who of the encoder and the engine computes with how many threads; unused on CUDA."""
        self.folder = folder
        self.identity = identity
        self.processor = processor
        self.processor_digest = digest(
            "processor",
            repr(processor.fitted_size(10_000, 10_000)),
            *(f"{name}={getattr(processor, name)!r}" for name in processor.__slots__),
        )
        self.encoder_revision = ENCODER_REVISION
        self.prompt = prompt
        self.tokenizer = prompt.tokenizer
        self.weights_bytes: int = sum(w.numel() * w.element_size() for w in model.parameters())
        self.probe_reference: dict[str, Tensor] | None = None
        self.language = LanguageModel(model, form=form)
        self.vision = VisionTower(
            model.model.visual,
            processor,
            compile_forward=compile_vision,
            packed=form == "packed",
        )
        self.device: torch.device = self.language.device
        self.dtype: torch.dtype = self.language.dtype
        self.hidden_size: int = self.language.hidden_size
        self.max_positions: int = model.config.text_config.max_position_embeddings

    @property
    def dtype_name(self) -> str:
        """`float32`, `float16` or `bfloat16`."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def render_style_path(self) -> Path | None:
        """The render style this checkpoint was trained on, if its folder holds one."""
        path = self.folder / "render_style.json"
        return path if path.is_file() else None

    def to_plain(self) -> None:
        """Multiply by the library's own matrices from now on, and forget packed copies."""
        if self.language.form == "packed":
            self.language = LanguageModel(self.model)
            self.vision.lay_out(packed=False)

    def to_int8(self) -> None:
        """Keep the language model's matrices in 8 bits from now on, half of 16-bit memory.

        The library's own forward has no matrices after it: ask `library.probe_reference` before.
        """
        if self.language.form == "int8":
            return
        self.language = LanguageModel(self.model, form="int8")
        self.weights_bytes = self.language.num_matrix_bytes + sum(
            w.numel() * w.element_size() for w in self.model.parameters()
        )

    def num_visual_tokens(self, width: int, height: int) -> int:
        """Visual tokens of a page given in pixels."""
        rows, columns = self.processor.visual_grid(width, height)
        return rows * columns

    def encode_pages(self, pages: Sequence[Page]) -> list[Tensor]:
        """Page features [num_visual_tokens, hidden] of gray pages uint8 [height, width].

        Pages of equal grids run as one micro-batch; a page's numbers do not depend on its mates
        beyond rounding.
        """
        with self.cores.encoding():
            return self.vision.encode(pages)
