"""Which style a job's pages are drawn in: its own, the worker's, or the checkpoint's."""

from __future__ import annotations

from pathlib import Path

from glyph_worker.model.embedded import checkpoint_path
from glyph_worker.options import JobOptions
from glyph_worker.render.choose import stepped_down
from glyph_worker.render.style.presets import preset_style
from glyph_worker.render.style.style import Style
from glyph_worker.settings import Settings

STYLE_FILE = "render_style.json"
"""A checkpoint reads best what it was trained on, so its folder may name its style."""

DEFAULT_PRESET = "balanced"


def checkpoint_folder(model: str) -> Path:
    """The folder that the `model` setting means; `nano` is the embedded reader's."""
    return checkpoint_path() if model == "nano" else Path(model).expanduser()


def resolve_style(settings: Settings, wanted: str) -> Style:
    """`wanted` is a preset's name or `auto`. Raises InvalidStyle.

    A job may only name presets: a path would let a producer read the worker's files. The
    operator's own setting may be a path.
    """
    if wanted != "auto":
        return preset_style(wanted)
    if settings.render.style != "auto":
        return Style.load(settings.render.style)
    file = checkpoint_folder(settings.model) / STYLE_FILE
    if file.is_file():
        return Style.from_json(file)
    return preset_style(DEFAULT_PRESET)


def style_of(settings: Settings, options: JobOptions, *, steps: int) -> Style:
    """What a job is drawn in, `steps` presets denser where it allows it. Raises InvalidStyle."""
    style = resolve_style(settings, options.style)
    return stepped_down(style, min_quality=options.min_quality, steps=steps)
