"""What a family of checkpoints must say of itself. Types only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from glyph_worker.model.language_parts import LanguageParts
from glyph_worker.model.processor import ProcessorConfig
from glyph_worker.model.vision_parts import PageForward


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainFrame:
    """A prompt without a chat template: pages, then one text: `before`, the question, `after`."""

    before: str
    after: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """All that an architecture changes."""

    name: str
    classes: Mapping[str, str]
    """`model_type` of config.json to the library's class."""
    revision: str
    """Names the numbers of its vision forward: page features carry it."""
    checkpoints: tuple[str, ...]
    """Where real ones are published, for the docs and `doctor`."""
    refuse: Callable[[Mapping[str, Any]], str | None]
    """Why a configuration of a known `model_type` cannot be read all the same, or None."""
    processor: Callable[[Mapping[str, Any], Mapping[str, Any]], ProcessorConfig]
    """From the stated settings of the image processor, and config.json."""
    tower: Callable[[Any, ProcessorConfig], PageForward]
    """The vision forward over the library's model."""
    language: Callable[[Any], LanguageParts]
    """The language half of the library's model."""
    planar_positions: bool = True
    """A page's tokens stand in rows and columns (M-RoPE); else one after the other, as text."""
    frame: PlainFrame | None = None
    """The prompt, where the checkpoint has no chat template."""
    end_words: tuple[str, ...] = ()
    """Tokens that end an answer beside those the checkpoint names."""
    tags: tuple[str, ...] = ()
    """Marks around parts of an answer that are no part of its text."""
