"""Which style a job's pages are drawn in: its own, the worker's, or the checkpoint's."""

from __future__ import annotations

from pathlib import Path

from glyph_worker.job_options import JobOptions
from glyph_worker.model.embedded import checkpoint_path
from glyph_worker.model.families.pages import PageShape, page_shape
from glyph_worker.options import QUALITIES
from glyph_worker.render.style.fit import fitted, strip_style
from glyph_worker.render.style.presets import PRESETS, named_style, preset_style
from glyph_worker.render.style.style import Style
from glyph_worker.settings import Settings

STYLE_FILE = "render_style.json"
"""A checkpoint reads best what it was trained on, so its folder may name its style."""

DEFAULT_PRESET = "balanced"


def checkpoint_folder(model: str) -> Path:
    """The folder that the `model` setting means; `nano` is the embedded reader's."""
    return checkpoint_path() if model == "nano" else Path(model).expanduser()


def shape_of(settings: Settings) -> PageShape:
    """What the model's checkpoint sees as it is."""
    return page_shape(checkpoint_folder(settings.model))


def resolve_style(settings: Settings, wanted: str) -> Style:
    """`wanted` is a preset's name or `auto`. Raises InvalidStyle.

    A job may only name presets: a path would let a producer read the worker's files. The
    operator's own setting may be a path. Presets take the page size that the checkpoint sees
    unscaled.
    """
    folder = checkpoint_folder(settings.model)
    if wanted != "auto":
        return fitted(preset_style(wanted), page_shape(folder))
    if settings.render.style in PRESETS:
        return fitted(preset_style(settings.render.style), page_shape(folder))
    if settings.render.style != "auto":
        return named_style(settings.render.style)
    file = folder / STYLE_FILE
    if file.is_file():
        return Style.from_json(file)
    shape = page_shape(folder)
    if shape.square is not None:
        return strip_style(shape.square)
    return fitted(preset_style(DEFAULT_PRESET), shape)


def style_of(settings: Settings, options: JobOptions, *, steps: int) -> Style:
    """What a job is drawn in, `steps` presets denser where it allows it. Raises InvalidStyle."""
    style = resolve_style(settings, options.style)
    denser = stepped_down(style, min_quality=options.min_quality, steps=steps)
    return fitted(denser, page_shape(checkpoint_folder(settings.model)))


def stepped_down(style: Style, *, min_quality: str, steps: int) -> Style:
    """The preset `steps` denser, no denser than the job allows; a style on no ladder stays."""
    stem = style.name.removesuffix("-cjk")
    if not min_quality or stem not in QUALITIES:
        return style
    at, lowest = QUALITIES.index(stem), QUALITIES.index(min_quality)
    wanted = max(min(at, lowest), at - steps)
    return style if wanted == at else preset_style(style.name.replace(stem, QUALITIES[wanted]))
