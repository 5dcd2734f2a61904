"""How steps are computed: which kernels, cut into pieces or not, replayed as graphs or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch

from glyph_worker.errors import ModelUnusable
from glyph_worker.model.attention import MAX_TILE
from glyph_worker.model.kernel_tiles import largest_tile
from glyph_worker.model.kernels import Kernels, PlainKernels, TorchKernels
from glyph_worker.model.reader import Reader
from glyph_worker.setting_sections import EngineSettings

Buffers = Literal["none", "plain", "graphs"]
"""Decode steps through fixed buffers: not at all, by a plain forward, or as CUDA graphs."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to compute; `name` is what stats and receipts call it."""

    kernels: Kernels
    splits: bool
    buffers: Buffers
    max_tile: int = MAX_TILE
    """Most rows of a piece: what the device has room for."""

    @property
    def name(self) -> str:
        parts = [self.kernels.name]
        if self.buffers == "graphs":
            parts.append("graphs")
        return "+".join(parts)


TORCH = Backend(kernels=TorchKernels(), splits=False, buffers="none")
PLAIN = Backend(kernels=PlainKernels(), splits=False, buffers="none")


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A faster way to compute that was wanted and cannot be used here."""

    what: str
    """A backend's name, or the part of it that is missing."""
    reason: str

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"


def shared_bytes(device: torch.device) -> int:
    """Shared memory that one program may have on a CUDA device."""
    properties: Any = torch.cuda.get_device_properties(device)
    return int(properties.shared_memory_per_block_optin)


def candidates(reader: Reader, settings: EngineSettings) -> list[Backend]:
    """`choices` without the refusals."""
    return choices(reader, settings)[0]


def choices(reader: Reader, settings: EngineSettings) -> tuple[list[Backend], list[Refusal]]:
    """Backends to try, fastest first, and those that cannot even be tried.

    The first that passes the self-test serves. Raises ModelUnusable when the settings ask for
    kernels that cannot be had.
    """
    cuda = reader.device.type == "cuda"
    wanted = settings.attention
    if wanted == "plain":
        return [PLAIN], []
    if wanted == "torch" or (wanted == "auto" and not cuda):
        return [TORCH], []
    if not cuda:
        raise ModelUnusable(
            f"attention=triton needs a CUDA device, this is {reader.device}; "
            "set GLYPH_ENGINE_ATTENTION=auto",
            device=str(reader.device),
        )
    try:
        from glyph_worker.model.kernels_triton import TritonKernels
    except ImportError as exc:
        if wanted == "triton":
            raise ModelUnusable(
                f"attention=triton needs the triton package: {exc}; "
                "install a CUDA build of torch, or set GLYPH_ENGINE_ATTENTION=auto"
            ) from exc
        return [TORCH], [Refusal(what="triton", reason=f"the package is missing ({exc})")]
    language, shared = reader.language, shared_bytes(reader.device)
    tile = largest_tile(
        shared,
        group=language.num_heads // language.num_kv_heads,
        dim=language.head_dim,
        itemsize=reader.dtype.itemsize,
    )
    if not tile:
        return [TORCH], [Refusal(what="triton", reason=f"{shared} bytes of shared memory")]
    kernels = TritonKernels()
    out = [Backend(kernels=kernels, splits=True, buffers="none", max_tile=tile)]
    if settings.cuda_graphs:
        out.insert(0, Backend(kernels=kernels, splits=True, buffers="graphs", max_tile=tile))
    return (out if wanted == "triton" else [*out, TORCH]), []
