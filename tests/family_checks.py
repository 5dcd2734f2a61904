"""How far a family's own forward is from the library's. Used by tests and bench.

Everything goes through what the library itself would be given: its processor classes, its prompt,
its positions, its full forward.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from glyph_worker.engine.backend import TORCH, Backend
from glyph_worker.engine.selftest import Drive, page_inputs
from glyph_worker.engine.sequence import AnswerRequest
from glyph_worker.model.kernels import TorchKernels
from glyph_worker.model.library import library_logits, library_prompt
from glyph_worker.model.processor import Page, SquareProcessor
from glyph_worker.model.reader import Reader
from glyph_worker.setting_sections import EngineSettings

FAMILIES = ("glm", "glm_ocr", "qwen2_5_vl", "qwen3_vl", "blip2")

BACKENDS = {
    "torch": TORCH,
    "pieces": Backend(kernels=TorchKernels(), splits=True, buffers="none"),
    "pieces in fixed buffers": Backend(kernels=TorchKernels(), splits=True, buffers="plain"),
}

_PROCESSORS = {
    "glm": ("glm4v.processing_glm4v.Glm4vProcessor", "glm4v", "Glm4v"),
    "qwen2_5_vl": ("qwen2_5_vl.processing_qwen2_5_vl.Qwen2_5_VLProcessor", "qwen2_vl", "Qwen2VL"),
    "qwen3_vl": ("qwen3_vl.processing_qwen3_vl.Qwen3VLProcessor", "qwen2_vl", "Qwen2VL"),
    "blip2": ("blip_2.processing_blip_2.Blip2Processor", "blip", "Blip"),
}


def library_processor(reader: Reader) -> Any:
    """The library's own, less its video half, which needs torchvision."""
    path, package, prefix = _PROCESSORS[reader.family.name]
    module, _, name = path.rpartition(".")
    kind = getattr(importlib.import_module(f"transformers.models.{module}"), name)
    images = importlib.import_module(
        f"transformers.models.{package}.image_processing_pil_{package}"
    )
    image_processor = getattr(images, f"{prefix}ImageProcessorPil").from_pretrained(reader.folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(reader.folder)
    if isinstance(reader.processor, SquareProcessor):
        return kind(image_processor, tokenizer, num_query_tokens=reader.processor.num_tokens)
    still = type(
        name, (kind,), {"check_argument_for_proper_class": lambda self, name, value: type(value)}
    )
    return still(
        image_processor=image_processor,
        tokenizer=tokenizer,
        video_processor=None,
        chat_template=tokenizer.chat_template,
    )


def library_inputs(reader: Reader, pages: Sequence[Page], question: str) -> Any:
    """What the library's processor makes of these pages and this question. BLIP-2's takes one."""
    processor = library_processor(reader)
    pictures = [Image.fromarray(page).convert("RGB") for page in pages]
    if reader.family.frame is not None:
        text = reader.family.frame.before + question + reader.family.frame.after
        return processor(images=pictures, text=text, return_tensors="pt")
    content = [{"type": "image"} for _ in pages] + [{"type": "text", "text": question}]
    text = processor.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    with warnings.catch_warnings():
        # Glm4v's processor hands tensors to numpy in a way that numpy warns of.
        warnings.simplefilter("ignore", DeprecationWarning)
        return processor(images=pictures or None, text=[text], return_tensors="pt")


def own_prompt(reader: Reader, pages: Sequence[Page], question: str) -> list[int]:
    """The same prompt as the engine lays it out."""
    ids: list[int] = []
    for index, page in enumerate(pages):
        count = reader.num_visual_tokens(page.shape[1], page.shape[0])
        ids += [*reader.prompt.page_lead(index), *[reader.prompt.image_token_id] * count]
    return ids + reader.prompt.tail(question, num_pages=len(pages))


def library_features(reader: Reader, inputs: Any) -> list[torch.Tensor]:
    """Page features as our records hold them: [num_tokens, feature_width] each."""
    if isinstance(reader.processor, SquareProcessor):
        return list(reader.model.get_image_features(inputs.pixel_values).pooler_output)
    out = reader.model.get_image_features(inputs.pixel_values, inputs.image_grid_thw)
    main = list(out.pooler_output)
    deep = getattr(out, "deepstack_features", None) or []
    return [
        torch.cat([tokens, *(depth[index] for depth in deep)], dim=-1)
        for index, tokens in enumerate(main)
    ]


@torch.inference_mode()
def feature_difference(reader: Reader, pages: Sequence[Page]) -> float:
    """Largest difference of a number of any page's features."""
    expected = library_features(reader, library_inputs(reader, pages, "?"))
    found = reader.encode_pages(pages)
    return max(
        (mine - theirs).abs().max().item() for mine, theirs in zip(found, expected, strict=True)
    )


def position_difference(reader: Reader, pages: Sequence[Page], question: str) -> int:
    """Largest difference of a position, the first answer token's too."""
    parts = [
        (
            len(reader.prompt.page_lead(index)),
            reader.processor.visual_grid(page.shape[1], page.shape[0]),
        )
        for index, page in enumerate(pages)
    ]
    tail = reader.prompt.tail(question, num_pages=len(pages))
    positions, following = reader.positions(parts, len(tail))
    prompt = library_prompt(reader, pages, question)
    length = prompt.input_ids.shape[1]
    if prompt.whole:  # OPT counts tokens
        expected, end = np.broadcast_to(np.arange(length), (3, length)), length
    else:
        found, delta = reader.model.model.get_rope_index(
            prompt.input_ids, prompt.mm_token_type_ids, image_grid_thw=prompt.image_grid_thw
        )
        expected, end = found[:, 0].numpy(), length + int(delta)
    return max(int(np.abs(positions - expected).max()), abs(following - end))


def made_page(reader: Reader, seed: int) -> Page:
    """Noise of a size the model sees as it is; of different grids where it has any."""
    rng = np.random.default_rng(seed)
    if isinstance(reader.processor, SquareProcessor):
        height = width = reader.processor.side
    else:
        token = reader.processor.patch_size * reader.processor.merge_size
        rows, columns = [(2, 4), (3, 3), (5, 6)][seed % 3]  # the last crosses 112-px windows
        height, width = rows * token, columns * token
    return np.where(rng.random((height, width)) > 0.2, 255, 0).astype(np.uint8)


class Scenario:
    """Questions with forced answers through a core, and the worst difference of a logit."""

    def __init__(self, reader: Reader, backend: Backend = TORCH, **settings: Any) -> None:
        self.reader = reader
        self.drive = Drive(
            reader, EngineSettings.model_validate({"self_test": False, **settings}), backend
        )
        self.asked: dict[str, tuple[list[Page], str, list[int]]] = {}

    def ask(self, name: str, document: Sequence[int], question: str, answer: list[int]) -> None:
        pages = [made_page(self.reader, seed) for seed in document]
        request = AnswerRequest(
            sequence_id=name,
            pages=tuple(
                page_inputs([page], f"page{seed}")[0]
                for page, seed in zip(pages, document, strict=True)
            ),
            question=question,
            max_new_tokens=len(answer) + 1,
        )
        self.asked[name] = (pages, question, answer)
        self.drive.add(request, pages, [*answer, 20])

    def worst(self) -> float:
        worst = 0.0
        for name, (pages, question, answer) in self.asked.items():
            assert self.drive.ended[name] == "length", self.drive.ended[name]
            expected = library_logits(self.reader, pages, question, answer)
            found = torch.stack(self.drive.logits[name])
            worst = max(worst, (found - expected).abs().max().item())
        return worst


def mixed_batch(reader: Reader, backend: Backend = TORCH, **settings: Any) -> float:
    """Worst difference over documents of one to four pages with shared beginnings, asked while
    others run, again when they are cached, in chunks that cut pages."""
    scenario = Scenario(reader, backend, **{"prefill_tokens": 16, "max_slots": 4, **settings})
    scenario.ask("a", [1, 2, 3], "what is it?", [30, 40, 50, 60])
    scenario.ask("b", [1, 5, 6, 8], "what else is there?", [31, 41, 51, 61])
    for _ in range(3):
        scenario.drive.step()
    scenario.ask("c", [1, 2, 3], "how many?", [32, 42, 52, 62])
    scenario.ask("d", [2], "why?", [33, 43])
    scenario.drive.finish()
    scenario.ask("e", [1, 2], "and when?", [34, 44, 54])
    scenario.drive.finish()
    return scenario.worst()


def long_document(reader: Reader, num_pages: int, **settings: Any) -> float:
    """Worst difference over two questions on one document, the second from its cached keys."""
    scenario = Scenario(reader, **settings)
    for number in range(2):
        scenario.ask(f"q{number}", range(num_pages), f"what is on page {number}?", [30, 40, 50])
        scenario.drive.finish()
    return scenario.worst()
