"""What stands before a language model that runs elsewhere: prompt, page sizes, the vision tower.

For engines that are not ours: they are handed token ids and page features, or pages, and the
language half of the checkpoint, by far the larger one, is not loaded here a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from glyph_worker.errors import ModelUnusable
from glyph_worker.model.checkpoint import (
    DTYPES,
    declared_dtype,
    pick_device,
    prepare_cuda,
    read_config,
    read_processor,
    read_prompt,
)
from glyph_worker.model.cores import Cores
from glyph_worker.model.families.known import family_of
from glyph_worker.model.identity import checkpoint_digest
from glyph_worker.model.linear import can_pack
from glyph_worker.model.processor import Page
from glyph_worker.model.reader import PageFigures
from glyph_worker.model.survey import empty_model
from glyph_worker.model.vision import VisionTower

_TOWER = "visual."
"""What the names of a tower's weights have in common, in every revision of the library."""


class FrontHalf(PageFigures):
    """A checkpoint without its language half. Encodes pages where it was loaded with a tower."""

    def __init__(
        self,
        folder: Path,
        *,
        device: str = "cpu",
        dtype: str = "auto",
        tower: bool,
        threads: int | None = None,
    ) -> None:
        """`dtype` `auto`: float32 on the CPU, else what the checkpoint declares. Without `tower`
        no weights are read, and `device` need not be there. Raises ModelUnusable."""
        self.folder = folder
        self.config = read_config(folder)
        self.family = family_of(self.config, folder)
        self.device = pick_device(device) if tower else torch.device(_kind(device))
        if dtype == "auto":
            on_cpu = self.device.type == "cpu"
            self.dtype = torch.float32 if on_cpu else declared_dtype(self.config)
        else:
            self.dtype = DTYPES[dtype]
        empty = empty_model(folder, self.config, self.family)
        language = self.family.language(empty)
        text = empty.config.text_config
        self.identity = checkpoint_digest(folder)
        self.processor = read_processor(folder, self.family, self.config)
        self.processor_digest = self.processor.digest
        self.encoder_revision = self.family.revision
        self.prompt = read_prompt(folder, self.family, self.config, empty.config.image_token_id)
        self.hidden_size = language.hidden_size
        self.vocab_size = language.vocab_size
        self.num_feature_tensors = 1 + language.num_deep
        self.feature_width = self.num_feature_tensors * self.hidden_size
        self.max_positions: int = text.max_position_embeddings
        self.cores: Cores | None = None
        self._tower: VisionTower | None = None
        if tower:
            if self.device.type == "cuda":
                prepare_cuda()
            elif threads is not None:
                self.cores = Cores.share(threads)
            visual = _load_tower(folder, empty, self.dtype).to(self.device)
            shell = SimpleNamespace(model=SimpleNamespace(visual=visual), config=empty.config)
            self._tower = VisionTower(
                self.family.tower(shell, self.processor),
                self.processor,
                packed=can_pack(self.device, self.dtype),
            )

    def encode_pages(self, pages: Sequence[Page]) -> list[Tensor]:
        """Page features [num_visual_tokens, feature_width] of gray pages uint8 [height, width]."""
        assert self._tower is not None, "loaded without its tower"
        if self.cores is None:
            return self._tower.encode(pages)
        with self.cores.encoding():
            return self._tower.encode(pages)


def _kind(device: str) -> str:
    """Where another's engine runs, as feature digests name it; a GPU where nobody says."""
    return "cpu" if device == "cpu" else "cuda"


def _load_tower(folder: Path, empty: Any, dtype: torch.dtype) -> Any:
    """The library's vision model with this checkpoint's weights. Raises ModelUnusable."""
    from safetensors import SafetensorError, safe_open

    visual = getattr(empty.model, "visual", None)
    if visual is None:
        raise ModelUnusable(
            f"{folder} has no vision tower of its own that could run without the rest of it; "
            "GLYPH_BACKEND=own reads it",
            path=str(folder),
        )
    config = empty.config.vision_config
    tower = type(visual)._from_config(config, dtype=dtype, attn_implementation="sdpa")
    wanted, found = tower.state_dict(), {}
    try:
        for file in sorted(folder.glob("*.safetensors")):
            with safe_open(file, framework="pt") as weights:
                for name in weights.keys():  # noqa: SIM118 - no mapping
                    _, mark, inner = name.partition(_TOWER)
                    if mark and inner in wanted:
                        found[inner] = weights.get_tensor(name).to(dtype)
        missing = sorted(wanted.keys() - found.keys())
        if not missing:
            tower.load_state_dict(found)
    except (OSError, RuntimeError, SafetensorError) as exc:
        first = str(exc).strip().partition("\n")[0][:300]
        raise ModelUnusable(
            f"the vision tower in {folder} cannot be loaded: {first}; download the checkpoint "
            "again, all *.safetensors files",
            path=str(folder),
        ) from exc
    if missing:
        raise ModelUnusable(
            f"{len(missing)} weights of the vision tower are missing in {folder}, the first is "
            f"{missing[0]}; download the checkpoint again, all *.safetensors files",
            path=str(folder),
            num_missing=len(missing),
        )
    return tower.eval().requires_grad_(False)
