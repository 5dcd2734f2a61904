"""What the library's own forward computes for a prompt: the yardstick, never the product.

Used by the self-test at load, by tests and by benchmarks. Full forward, no cache of ours, its own
positions, its own vision tower, one image at a time as its processor would lay it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from glyph_worker.model.processor import Page, ProcessorConfig, SquareProcessor
from glyph_worker.model.reader import Reader
from glyph_worker.model.wide_products import float_forward, wide_products


@dataclass(frozen=True, slots=True)
class LibraryPrompt:
    """Inputs of the library's model for one question on one document. Batch of one."""

    input_ids: Tensor
    """int64 [1, num_tokens]."""
    mm_token_type_ids: Tensor
    """int64 [1, num_tokens], 1 where a visual token stands."""
    pixel_values: Tensor
    """float32 [num_patches, channels * frames * patch * patch], or [num_pages, 3, side, side] where
    the tower takes whole pictures."""
    image_grid_thw: Tensor
    """int64 [num_pages, 3]."""
    whole: bool = False
    """The tower takes whole pictures, which have no grid."""

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What the library's model is called with."""
        inputs = {"input_ids": self.input_ids, "pixel_values": self.pixel_values}
        if not self.whole:
            inputs["mm_token_type_ids"] = self.mm_token_type_ids
            inputs["image_grid_thw"] = self.image_grid_thw
        return inputs


def patches(page: Page, processor: ProcessorConfig) -> Tensor:
    """Normalised patches of a page that needs no resizing: float32 [num_patches, patch_bytes], or
    [1, channels, side, side] where the tower takes whole pictures."""
    height, width = page.shape[:2]
    if (width, height) != processor.fitted_size(width, height):
        raise ValueError("the page does not fit the patch grid")
    mean = np.array(processor.mean, dtype=np.float32)[:, None, None]
    std = np.array(processor.std, dtype=np.float32)[:, None, None]
    channels = page.transpose(2, 0, 1) if page.ndim == 3 else page[None]
    scaled = channels.astype(np.float32) * np.float32(processor.rescale_factor)
    pixels = (scaled - mean) / std  # [channels, height, width]
    if isinstance(processor, SquareProcessor):
        return torch.from_numpy(pixels[None])
    patch, merge = processor.patch_size, processor.merge_size
    rows, columns = height // patch // merge, width // patch // merge
    cut = pixels.reshape(len(mean), rows, merge, patch, columns, merge, patch)
    cut = cut.transpose(1, 4, 2, 5, 0, 3, 6)[:, :, :, :, :, None]
    cut = np.repeat(cut, processor.temporal_patch_size, axis=5)
    return torch.from_numpy(cut.reshape(rows * columns * merge * merge, -1))


def library_prompt(
    reader: Reader,
    pages: Sequence[Page],
    question: str,
    answer: Sequence[int] = (),
    history: Sequence[tuple[str, str]] = (),
) -> LibraryPrompt:
    """The prompt, with answer tokens after it when given."""
    ids: list[int] = []
    kinds: list[int] = []
    grids: list[tuple[int, int, int]] = []
    for index, page in enumerate(pages):
        lead = reader.prompt.page_lead(index)
        height, width = page.shape[:2]
        count = reader.num_visual_tokens(width, height)
        ids += [*lead, *[reader.prompt.image_token_id] * count]
        kinds += [*[0] * len(lead), *[1] * count]
        grids.append((1, *reader.processor.grid(width, height)))
    turns = reader.prompt.history(history, num_pages=len(pages))
    asked = reader.prompt.tail(question, num_pages=len(pages), is_first=not turns)
    tail = [*chain.from_iterable(turns), *asked, *answer]
    ids += tail
    kinds += [0] * len(tail)
    device = reader.device
    return LibraryPrompt(
        input_ids=torch.tensor([ids], device=device),
        mm_token_type_ids=torch.tensor([kinds], device=device),
        pixel_values=torch.cat([patches(page, reader.processor) for page in pages]).to(device),
        image_grid_thw=torch.tensor(grids, device=device),
        whole=isinstance(reader.processor, SquareProcessor),
    )


@torch.inference_mode()
def library_logits(
    reader: Reader,
    pages: Sequence[Page],
    question: str,
    answer: Sequence[int] = (),
    *,
    history: Sequence[tuple[str, str]] = (),
    wide: bool = False,
) -> Tensor:
    """Logits that choose each answer token and the one after: [len(answer) + 1, vocab].

    `wide` keeps every activation in float32, whatever the weights' format.
    """
    prompt = library_prompt(reader, pages, question, answer, history)
    with float_forward() if wide else wide_products(reader.device):
        out = reader.model(
            **prompt.inputs,
            use_cache=False,
            logits_to_keep=len(answer) + 1,
        )
    logits: Tensor = out.logits[0]
    return logits


PROBE_QUESTIONS = ("What is it?", "How many lines are there?")
PROBE_ANSWER = (7, 10, 13)
"""Token ids every vocabulary has."""


def probe_pages(reader: Reader) -> list[Page]:
    """Two small pages of stripes and blocks, of different grids where the model sees any: the
    self-test's document."""
    if isinstance(reader.processor, SquareProcessor):
        side = reader.processor.side
        y, x = np.indices((side, side))
        return [
            np.where((x // 5 + y // 9) % 3 == 0, 0, 255).astype(np.uint8),
            np.where((x * y // 700) % 4 == 0, 40, 255).astype(np.uint8),
        ]
    side = reader.processor.patch_size * reader.processor.merge_size
    y, x = np.indices((4 * side, 6 * side))
    stripes = np.where((x // 5 + y // 9) % 3 == 0, 0, 255)
    blocks = np.where((x * y // 700) % 4 == 0, 40, 255)[:, : 4 * side]
    return [stripes.astype(np.uint8), blocks.astype(np.uint8)]


def probe_reference(reader: Reader) -> dict[str, Tensor]:
    """The library's logits for the self-test, float32 [len(PROBE_ANSWER) + 1, vocab] on the CPU.

    Computed at load for 8-bit weights, which leave the library's own forward without matrices, and
    for float16, whose range it may leave.
    """
    if reader.probe_reference is None:
        pages, wide = probe_pages(reader), reader.dtype == torch.float16
        reader.probe_reference = {
            question: library_logits(reader, pages, question, PROBE_ANSWER, wide=wide).float().cpu()
            for question in PROBE_QUESTIONS
        }
    return reader.probe_reference
