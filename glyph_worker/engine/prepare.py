"""A reader as the settings want it, before an engine or the doctor uses it."""

from __future__ import annotations

from glyph_worker.engine.backend import Refusal
from glyph_worker.model.reader import Reader
from glyph_worker.setting_sections import EngineSettings


def prepare(reader: Reader, settings: EngineSettings) -> None:
    """Bring a reader's matrices and compiler into the form the settings ask for."""
    if not settings.packed_weights:
        reader.to_plain()
    reader.vision.fused_attention = settings.attention != "plain"
    if reader.device.type == "cuda":
        if settings.compile:
            reader.vision.compile()
        reader.vision.warm_up()


def vision_refusals(reader: Reader) -> list[Refusal]:
    """What the vision tower was to use and could not, so far."""
    tower = reader.vision
    found = []
    if tower.refused_compile is not None:
        found.append(Refusal(what="compiled vision tower", reason=tower.refused_compile))
    return found
