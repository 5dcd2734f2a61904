"""What a checkpoint folder holds and will cost, from its settings alone. Loads no weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from glyph_worker.errors import ModelUnusable
from glyph_worker.model.checkpoint import declared_dtype, read_config, read_processor
from glyph_worker.model.families.family import Family
from glyph_worker.model.families.known import family_of, library_class
from glyph_worker.model.int8 import language_matrices, weight_of
from glyph_worker.model.processor import ProcessorConfig

_NAMES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """Sizes of one checkpoint. Bytes per number are those of the format asked about."""

    family: str
    model_type: str
    processor: ProcessorConfig
    num_vision_parameters: int
    """Of the vision half, its merger or Q-Former included."""
    num_text_parameters: int
    num_matrix_parameters: int
    """Of the latter, those that 8-bit weights keep in 8 bits."""
    hidden_size: int
    num_layers: int
    window_tokens: int
    feature_numbers: int
    """Numbers of one visual token's features."""
    num_feature_tensors: int
    kv_numbers: int
    """Numbers of one token's keys and values."""
    declared: str
    """The format the checkpoint was published in."""
    has_weights: bool

    @property
    def num_parameters(self) -> int:
        return self.num_vision_parameters + self.num_text_parameters

    def memory_bytes(
        self, *, slots: int, pages: int, page_tokens: int, itemsize: int
    ) -> dict[str, int]:
        """Weights, and keys and values of so many sequences, each on a document of its own."""
        tokens = slots * (pages * page_tokens + QUESTION_TOKENS)
        return {
            "weights": self.num_parameters * itemsize,
            "keys and values": tokens * self.kv_numbers * itemsize,
        }


QUESTION_TOKENS = 256
"""Of a question with its frame and its answer, allowed for in each slot."""


def survey(folder: Path) -> Survey:
    """Raises ModelUnusable for what no worker could load for its settings' sake."""
    config = read_config(folder)
    family = family_of(config, folder)
    processor = read_processor(folder, family, config)
    model = empty_model(folder, config, family)
    language = family.language(model)
    text = sum(
        weight.numel()
        for name, weight in model.named_parameters()
        if "language_model" in name or name.startswith("lm_head")
    )
    head_is_embedding = any(name.endswith("lm_head.weight") for name in model.all_tied_weights_keys)
    return Survey(
        family=family.name,
        model_type=config["model_type"],
        processor=processor,
        num_text_parameters=text,
        num_matrix_parameters=sum(
            weight_of(module).numel()
            for module in language_matrices(language)
            if not (module is language.head and head_is_embedding)
        ),
        num_vision_parameters=sum(weight.numel() for weight in model.parameters()) - text,
        hidden_size=language.hidden_size,
        num_layers=len(language.layers),
        window_tokens=model.config.text_config.max_position_embeddings,
        feature_numbers=(1 + language.num_deep) * language.hidden_size,
        num_feature_tensors=1 + language.num_deep,
        kv_numbers=2 * len(language.layers) * language.num_kv_heads * language.head_dim,
        declared=_NAMES[declared_dtype(config)],
        has_weights=any(folder.glob("*.safetensors")),
    )


def empty_model(folder: Path, config: Mapping[str, Any], family: Family) -> Any:
    """The library's model without any weight, for its shapes. Raises ModelUnusable."""
    from transformers import AutoConfig

    library = library_class(config, family)
    try:
        stated = AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            return library(stated)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as exc:
        raise ModelUnusable(
            f"the library cannot build a model from config.json in {folder}: "
            f"{str(exc).strip()[:300]}; download the checkpoint's present revision",
            path=str(folder),
        ) from exc
