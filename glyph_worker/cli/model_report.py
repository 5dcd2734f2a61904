"""`glyph-worker doctor MODEL_FOLDER`: what a checkpoint is, and what it would cost here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from glyph_worker.doctor import Finding
from glyph_worker.errors import GlyphError
from glyph_worker.render.choose import checkpoint_folder, resolve_style
from glyph_worker.settings import Settings

if TYPE_CHECKING:
    from glyph_worker.model.survey import Survey

_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def examine_model(model: str, settings: Settings, *, slots: int, pages: int) -> list[Finding]:
    """Family, sizes, format and why, style, tokens a page, memory. Raises nothing of its own."""
    settings = settings.model_copy(update={"model": model})
    found: list[Finding] = []
    try:
        for finding in _findings(checkpoint_folder(model), settings, slots, pages):
            found.append(finding)
    except GlyphError as exc:
        message, _, fix = str(exc).rpartition("; ")
        message, fix = (message, fix) if message else (fix, "")
        found.append(Finding(what="model", level="fault", found=message, fix=fix))
    return found


def _findings(folder: Path, settings: Settings, slots: int, pages: int) -> Iterator[Finding]:
    from glyph_worker.model.survey import survey

    sizes = survey(folder)
    yield Finding(what="family", level="ok", found=f"{sizes.family} ({sizes.model_type})")
    yield Finding(
        what="sizes",
        level="ok",
        found=f"{_count(sizes.num_parameters)} parameters ({_count(sizes.num_vision_parameters)} "
        f"see, {_count(sizes.num_text_parameters)} read), hidden size {sizes.hidden_size}, "
        f"{sizes.num_layers} layers, window {sizes.window_tokens:,} tokens",
    )
    name, why = _format(folder, settings, sizes)
    yield Finding(what="format", level="ok", found=f"{name}: {why}")
    itemsize = _BYTES[name]
    style = resolve_style(settings, "auto")
    yield Finding(
        what="style",
        level="ok",
        found=f"{style.name}, pages of {style.page_width} x {style.page_height} px",
    )
    rows, columns = sizes.processor.visual_grid(style.page_width, style.page_height)
    tokens = rows * columns
    features = tokens * sizes.feature_numbers * itemsize
    several = f" in {sizes.num_feature_tensors} tensors" if sizes.num_feature_tensors > 1 else ""
    yield Finding(
        what="a full page",
        level="ok",
        found=f"{tokens} visual tokens; features {_bytes(features)}{several}, keys and values "
        f"{_bytes(tokens * sizes.kv_numbers * itemsize)}",
    )
    most = (sizes.window_tokens - 256) // (tokens + 2)
    if pages > most:
        yield Finding(
            what="window", level="note",
            found=f"{most} such pages fit the window, {pages} were asked about",
            fix="longer documents are refused, or asked in segments where the job allows it",
        )  # fmt: skip
    pages = min(pages, most)
    parts = sizes.memory_bytes(slots=slots, pages=pages, page_tokens=tokens, itemsize=itemsize)
    listed = ", ".join(f"{name} {_bytes(size)}" for name, size in parts.items())
    yield Finding(
        what=f"memory at {slots} slots",
        level="ok",
        found=f"{_bytes(sum(parts.values()))}: {listed} ({slots} documents of {pages} pages, none "
        "shared); GLYPH_ENGINE_INT8_WEIGHTS=true halves 16-bit weights of the text half",
    )


def _format(folder: Path, settings: Settings, sizes: Survey) -> tuple[str, str]:
    """The numbers' format as a worker here would choose it, and why."""
    from glyph_worker.model.checkpoint import load_reader, pick_device

    if settings.dtype != "auto":
        return settings.dtype, "as asked for (GLYPH_DTYPE)"
    if pick_device(settings.device).type == "cpu":
        return "float32", "this is a CPU, whose products are no faster in 16 bit, or far slower"
    if not sizes.has_weights:
        return sizes.declared, "declared by the checkpoint; float16 where its weights prove safe"
    reader = load_reader(folder, device=settings.device, dtype="auto")
    return reader.dtype_name, reader.format_reason


def _count(number: int) -> str:
    return f"{number / 1e9:.1f} B" if number >= 1e9 else f"{number / 1e6:.1f} M"


def _bytes(number: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number / 1e3:.1f} kB"
