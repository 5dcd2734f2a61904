"""The page sizes that a checkpoint sees as they are. Light: two small JSON files, no torch."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PATCH = {"qwen3_vl": 16}
"""Pixels a side of a patch where a checkpoint does not say; else 14."""
_SQUARE = "blip-2"
_SEE_COLOR = {"glm4v", "glm46v", "glm_ocr", "qwen2_5_vl", "qwen3_vl"}
_QUERIES = 32
"""Visual tokens of a page behind a Q-Former, of every published BLIP-2."""
_SMALL_WINDOW = 8_192


@dataclass(frozen=True, slots=True)
class PageShape:
    """Pages whose sides are multiples of `token` are never resized."""

    token: int = 28
    """Pixels a side of a visual token."""
    square: int | None = None
    """The one size of page, in pixels a side, that a model with a Q-Former sees."""
    reads_pictures: bool = True
    """Whether it reads pages that we did not draw, such as scans."""
    sees_color: bool = False
    """Whether such pages keep their colour."""


def page_shape(folder: Path) -> PageShape:
    """What the checkpoint in this folder sees unscaled; the default where there is none to read.

    A render worker asks it, which may run where no checkpoint is.
    """
    config = _read(folder / "config.json")
    stated = _read(folder / "preprocessor_config.json")
    if not stated:
        stated = _read(folder / "processor_config.json").get("image_processor") or {}
    kind = config.get("model_type")
    try:
        if kind == _SQUARE:
            return PageShape(square=int((stated.get("size") or {}).get("height", 224)))
        # Ours: a checkpoint that was taught our own pages alone says so.
        reads = stated.get("reads_pictures") is not False
        patch = int(stated.get("patch_size", _PATCH.get(str(kind), 14)))
        return PageShape(
            token=patch * int(stated.get("merge_size", 2)),
            reads_pictures=reads,
            sees_color=reads and kind in _SEE_COLOR,
        )
    except (TypeError, ValueError):
        return PageShape()


def page_tokens(shape: PageShape, width: int, height: int) -> int:
    """Visual tokens of a page, as the model's processor rounds it."""
    if shape.square is not None:
        return _QUERIES
    sides = (max(1, round(side / shape.token)) for side in (width, height))
    return math.prod(sides)


def stated_window(folder: Path) -> int:
    """Tokens that the checkpoint in this folder takes; a small guess where it does not say."""
    config = _read(folder / "config.json")
    text = config.get("text_config")
    stated = (text if isinstance(text, dict) else config).get("max_position_embeddings")
    return stated if isinstance(stated, int) and stated > 0 else _SMALL_WINDOW


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
