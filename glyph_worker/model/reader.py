"""A loaded checkpoint: sees pages, holds the prompt, lends its language half. Loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glyph_worker.model.cores import Cores
from glyph_worker.model.families.family import Family
from glyph_worker.model.language import LanguageModel, WeightForm
from glyph_worker.model.language_parts import LanguageParts
from glyph_worker.model.positions import Positions, prompt_positions
from glyph_worker.model.processor import Page, ProcessorConfig
from glyph_worker.model.prompt import Prompt
from glyph_worker.model.vision import VisionTower


class PageFigures:
    """How large pages are and where a prompt's tokens stand, whoever computes."""

    family: Family
    processor: ProcessorConfig
    dtype: torch.dtype

    @property
    def dtype_name(self) -> str:
        """`float32`, `float16` or `bfloat16`."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def sample_size(self) -> tuple[int, int]:
        """Width and height in pixels of a page that the tower sees as it is."""
        return self.processor.sample_size

    def num_visual_tokens(self, width: int, height: int) -> int:
        """Visual tokens of a page given in pixels."""
        rows, columns = self.processor.visual_grid(width, height)
        return rows * columns

    def positions(
        self, parts: Sequence[tuple[int, tuple[int, int] | None]], num_tail_tokens: int
    ) -> tuple[Positions, int]:
        """Where a prompt's tokens stand, and the first answer token; see `prompt_positions`."""
        return prompt_positions(parts, num_tail_tokens, planar=self.family.planar_positions)


class Reader(PageFigures):
    """A loaded checkpoint: sees pages, holds the prompt, and lends its language half to the engine.

    `encode_pages` may be called from any thread; `language` belongs to the engine's thread.
    """

    def __init__(
        self,
        *,
        model: Any,
        family: Family,
        folder: Path,
        identity: str,
        processor: ProcessorConfig,
        prompt: Prompt,
        form: WeightForm = "plain",
        compile_vision: bool = False,
        cores: Cores | None = None,
    ) -> None:
        self.model = model
        self.family = family
        self.cores = cores or Cores(1, 1)
        """Who of the encoder and the engine computes with how many threads; unused on CUDA."""
        self.folder = folder
        self.identity = identity
        self.processor = processor
        self.processor_digest = processor.digest
        self.encoder_revision = family.revision
        self.prompt = prompt
        self.tokenizer = prompt.tokenizer
        self.weights_bytes: int = sum(w.numel() * w.element_size() for w in model.parameters())
        self.probe_reference: dict[str, Tensor] | None = None
        self.format_reason = "as asked for"
        """Why its numbers have the format they have, for people."""
        self.language = LanguageModel(family.language(model), form=form)
        self.vision = VisionTower(
            family.tower(model, processor),
            processor,
            compile_forward=compile_vision,
            packed=form == "packed",
        )
        self.device: torch.device = self.language.device
        self.dtype: torch.dtype = self.language.dtype
        self.hidden_size: int = self.language.hidden_size
        self.vocab_size: int = self.language.vocab_size
        self.num_feature_tensors: int = 1 + self.language.num_deep
        """Of one page: what is embedded, and what is added after each of the first layers."""
        self.feature_width: int = self.language.feature_width
        self.max_positions: int = model.config.text_config.max_position_embeddings

    def to_plain(self) -> None:
        """Multiply by the library's own matrices from now on, and forget packed copies."""
        if self.language.form == "packed":
            self.language = LanguageModel(self.language.parts)
            self.vision.lay_out(packed=False)

    def rescale(self, parts: LanguageParts) -> None:
        """Take over language weights that were scaled in place.

        The library's own forward is no yardstick after it: ask `library.probe_reference` before.
        """
        self.language = LanguageModel(parts, form=self.language.form)

    def encode_pages(self, pages: Sequence[Page]) -> list[Tensor]:
        """Page features [num_visual_tokens, feature_width] of gray pages uint8 [height, width].

        Pages of equal grids run as one micro-batch; a page's numbers do not depend on its mates
        beyond rounding.
        """
        with self.cores.encoding():
            return self.vision.encode(pages)
