"""What a checkpoint's image processor does to a page, as numbers. Draws and encodes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from glyph_worker.document import digest
from glyph_worker.errors import DocumentTooLarge

Page = npt.NDArray[np.uint8]
Grid = tuple[int, int]
"""Patches, rows x columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessorConfig:
    """What the checkpoint's image processor does to a page, as far as it changes numbers."""

    patch_size: int
    merge_size: int
    temporal_patch_size: int
    min_pixels: int
    max_pixels: int
    rescale_factor: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def sample_size(self) -> tuple[int, int]:
        """Width and height of a page that is seen as it is: 16 x 14 visual tokens."""
        token = self.patch_size * self.merge_size
        return 16 * token, 14 * token

    @property
    def digest(self) -> str:
        """Covers every number of it, and the rule of resizing."""
        return digest("processor", repr(self.fitted_size(10_000, 10_000)), *self._stated())

    def _stated(self) -> list[str]:
        names = ProcessorConfig.__slots__
        return [f"{name}={getattr(self, name)!r}" for name in names]

    def fitted_size(self, width: int, height: int) -> tuple[int, int]:
        """Page size in pixels after the library's resizing, (width, height).

        Multiples of patch x merge, area between the limits; from `smart_resize` of Glm4v, where a
        still counts as `temporal_patch_size` frames. Raises DocumentTooLarge for aspect over 200.
        """
        factor, frames = self.patch_size * self.merge_size, self.temporal_patch_size
        if height < factor or width < factor:
            scale = max(factor / height, factor / width)
            height, width = int(height * scale), int(width * scale)
        _check_aspect(width, height)
        return self._limited(width, height, frames)

    def _limited(self, width: int, height: int, frames: int) -> tuple[int, int]:
        """The nearest multiples of patch x merge whose area, times `frames`, is in the limits."""
        factor = self.patch_size * self.merge_size
        tall, wide = round(height / factor) * factor, round(width / factor) * factor
        if frames * tall * wide > self.max_pixels:
            beta = math.sqrt(frames * height * width / self.max_pixels)
            tall = max(factor, math.floor(height / beta / factor) * factor)
            wide = max(factor, math.floor(width / beta / factor) * factor)
        elif frames * tall * wide < self.min_pixels:
            beta = math.sqrt(self.min_pixels / (frames * height * width))
            tall = math.ceil(height * beta / factor) * factor
            wide = math.ceil(width * beta / factor) * factor
        return wide, tall

    def grid(self, width: int, height: int) -> Grid:
        """Patch grid (rows, columns) of a page given in pixels."""
        wide, tall = self.fitted_size(width, height)
        return tall // self.patch_size, wide // self.patch_size

    def visual_grid(self, width: int, height: int) -> tuple[int, int]:
        """Visual tokens (rows, columns) of a page given in pixels."""
        rows, columns = self.grid(width, height)
        return rows // self.merge_size, columns // self.merge_size


class AreaProcessor(ProcessorConfig):
    """The same where the limits are a page's area alone: Qwen's `smart_resize`."""

    __slots__ = ()

    def _stated(self) -> list[str]:
        return ["area", *ProcessorConfig._stated(self)]

    def fitted_size(self, width: int, height: int) -> tuple[int, int]:
        """Multiples of patch x merge, area between the limits. Raises DocumentTooLarge."""
        _check_aspect(width, height)
        return self._limited(width, height, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class SquareProcessor(ProcessorConfig):
    """One square of `max_pixels`, seen as so many tokens whatever is on it (a Q-Former).

    The library shrinks any picture to the square; a page of text would be unreadable after it, so
    other sizes are refused.
    """

    num_tokens: int

    def _stated(self) -> list[str]:
        return ["square", f"num_tokens={self.num_tokens}", *ProcessorConfig._stated(self)]

    @property
    def side(self) -> int:
        """Pixels."""
        return math.isqrt(self.max_pixels)

    @property
    def sample_size(self) -> tuple[int, int]:
        return self.side, self.side

    @property
    def digest(self) -> str:
        return digest("processor", *self._stated())

    def fitted_size(self, width: int, height: int) -> tuple[int, int]:
        """The square itself. Raises DocumentTooLarge for any other size."""
        if (width, height) != (self.side, self.side):
            raise DocumentTooLarge(
                f"page of {width} x {height} px, this model sees {self.side} x {self.side} px and "
                "would shrink it past reading; choose style `auto`, which draws strips of that "
                "size, or a model that reads pages",
                width=width,
                height=height,
                side=self.side,
            )
        return width, height

    def visual_grid(self, width: int, height: int) -> tuple[int, int]:
        """One row of tokens. Raises DocumentTooLarge."""
        self.fitted_size(width, height)
        return 1, self.num_tokens


def _check_aspect(width: int, height: int) -> None:
    if max(height, width) / min(height, width) > 200:
        raise DocumentTooLarge(
            f"page of {width} x {height} px has an aspect over 200; choose another page size",
            width=width,
            height=height,
        )


# Defaults of the library's image processors, for fields a checkpoint leaves out.
_DEFAULTS: dict[str, Any] = {
    "merge_size": 2,
    "temporal_patch_size": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


def grid_processor(
    *, patch_size: int, shortest_edge: int, longest_edge: int, counts_frames: bool
) -> Callable[[Mapping[str, Any], Mapping[str, Any]], ProcessorConfig]:
    """Reads the settings of a processor that cuts pages into patches; these are its defaults.

    What it returns raises ValueError, KeyError or TypeError for settings that are none.
    """
    kind = ProcessorConfig if counts_frames else AreaProcessor

    def read(stated: Mapping[str, Any], _: Mapping[str, Any]) -> ProcessorConfig:
        values = _DEFAULTS | {k: v for k, v in stated.items() if v is not None}
        size = {"shortest_edge": shortest_edge, "longest_edge": longest_edge}
        size |= values.get("size") or {}
        if not counts_frames:  # the older way to state the limits, which wins where it is stated
            size["shortest_edge"] = values.get("min_pixels", size["shortest_edge"])
            size["longest_edge"] = values.get("max_pixels", size["longest_edge"])
        return kind(
            patch_size=int(values.get("patch_size", patch_size)),
            merge_size=int(values["merge_size"]),
            temporal_patch_size=int(values["temporal_patch_size"]),
            min_pixels=int(size["shortest_edge"]),
            max_pixels=int(size["longest_edge"]),
            **normalising(values),
        )

    return read


def normalising(values: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the settings that scales and normalises. Raises KeyError or TypeError."""
    values = _DEFAULTS | {k: v for k, v in values.items() if v is not None}
    normalise = values["do_normalize"]
    return {
        "rescale_factor": float(values["rescale_factor"]) if values["do_rescale"] else 1.0,
        "mean": tuple(values["image_mean"]) if normalise else (0.0,),
        "std": tuple(values["image_std"]) if normalise else (1.0,),
    }
