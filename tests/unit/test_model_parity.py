"""The own forward gives the library's numbers: vision, positions, prompt, language."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic.checkpoints import write_checkpoint
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil

from glyph_worker.model.attention import AttentionPlan, Causal
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.language import StepInput
from glyph_worker.model.library import library_logits, library_prompt, patches
from glyph_worker.model.positions import prompt_positions
from glyph_worker.model.processor import Page
from glyph_worker.model.reader import Reader


def make_page(height: int, width: int, seed: int) -> Page:
    rng = np.random.default_rng(seed)
    return np.where(rng.random((height, width)) > 0.1, 255, 20).astype(np.uint8)


PAGES = [make_page(392, 112, 0), make_page(140, 224, 1), make_page(392, 112, 2)]


def test_page_features_equal_the_librarys(reader: Reader) -> None:
    prompt = library_prompt(reader, PAGES, "?")
    expected = reader.model.get_image_features(
        prompt.pixel_values, prompt.image_grid_thw
    ).pooler_output

    got = reader.encode_pages(PAGES)

    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)
        assert theirs.std() > 0.05, "features this flat would prove nothing"


@pytest.mark.parametrize("size", [(131, 217), (842, 595), (20, 300), (392, 112)])
def test_pages_of_foreign_sizes_are_resized_as_the_library_does(
    reader: Reader, size: tuple[int, int]
) -> None:
    page = make_page(*size, seed=3)
    processor = Glm4vImageProcessorPil.from_pretrained(reader.folder)
    inputs = processor(images=[Image.fromarray(page).convert("RGB")], return_tensors="pt")
    expected = reader.model.get_image_features(
        inputs.pixel_values, inputs.image_grid_thw
    ).pooler_output[0]

    got = reader.encode_pages([page])[0]

    assert got.shape[0] == reader.num_visual_tokens(page.shape[1], page.shape[0])
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_own_patches_equal_the_librarys(reader: Reader) -> None:
    processor = Glm4vImageProcessorPil.from_pretrained(reader.folder)
    inputs = processor(images=[Image.fromarray(PAGES[1]).convert("RGB")], return_tensors="pt")

    torch.testing.assert_close(
        patches(PAGES[1], reader.processor), inputs.pixel_values, atol=1e-6, rtol=0
    )


def test_features_do_not_depend_on_batch_mates(reader: Reader) -> None:
    together = reader.encode_pages(PAGES)
    for page, features in zip(PAGES, together, strict=True):
        torch.testing.assert_close(reader.encode_pages([page])[0], features, atol=1e-6, rtol=0)


def test_positions_equal_the_librarys(reader: Reader) -> None:
    question = "how far?"
    prompt = library_prompt(reader, PAGES, question)
    expected, delta = reader.model.model.get_rope_index(
        prompt.input_ids, prompt.mm_token_type_ids, image_grid_thw=prompt.image_grid_thw
    )
    parts = [
        (
            len(reader.prompt.page_lead(index)),
            reader.processor.visual_grid(page.shape[1], page.shape[0]),
        )
        for index, page in enumerate(PAGES)
    ]

    positions, following = prompt_positions(
        parts, len(reader.prompt.tail(question, num_pages=len(PAGES)))
    )

    assert np.array_equal(positions, expected[:, 0].numpy())
    assert following == prompt.input_ids.shape[1] + int(delta)


@pytest.mark.parametrize("sections", [None, [1] * 8])
def test_full_forward_equals_the_librarys(
    reader: Reader, tmp_path: Path, sections: list[int] | None
) -> None:
    if sections is not None:  # the embedded reader deals single frequencies to the axes in turn
        from synthetic.checkpoints import SHAPES

        shape = {name: dict(part) for name, part in SHAPES["tiny"].items()}
        shape["text"]["rope_parameters"] = {
            "rope_type": "default",
            "rope_theta": 500.0,
            "partial_rotary_factor": 0.5,
            "mrope_section": sections,
        }
        reader = load_reader(write_checkpoint(tmp_path, shape))
    prompt = library_prompt(reader, PAGES, "how far?")
    expected = library_logits(reader, PAGES, "how far?")
    language = reader.language
    num_tokens = prompt.input_ids.shape[1]
    with torch.inference_mode():
        embeds = language.embed(prompt.input_ids[0])
        embeds[prompt.mm_token_type_ids[0] == 1] = torch.cat(reader.encode_pages(PAGES))
        positions, _ = reader.model.model.get_rope_index(
            prompt.input_ids, prompt.mm_token_type_ids, image_grid_thw=prompt.image_grid_thw
        )
        pool = torch.empty(
            language.num_layers, 2, language.num_kv_heads, num_tokens, language.head_dim
        )
        step = StepInput(
            embeds=embeds,
            positions=positions[:, 0],
            places=torch.arange(num_tokens),
            logit_rows=torch.tensor([num_tokens - 1]),
            plan=AttentionPlan((), (Causal(slice(0, num_tokens), 0),), None, 1),
        )
        got = language.forward(step, pool)

    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_library_forward_still_works_after_fusing(reader: Reader) -> None:
    attention = reader.model.model.language_model.layers[0].self_attn
    one = attention.q_proj.weight.untyped_storage().data_ptr()
    assert attention.v_proj.weight.untyped_storage().data_ptr() == one


def test_forty_page_heights_are_compiled_once(tmp_path: Path) -> None:
    from torch._dynamo.testing import CompileCounter

    reader = load_reader(write_checkpoint(tmp_path, "tiny"), packed=False)
    batches = [
        [make_page(28 * rows, 84, rows) for _ in range(count)]
        for rows, count in zip(range(1, 41), itertools.cycle((2, 1, 3)), strict=False)
    ]
    expected = [reader.encode_pages(pages) for pages in batches]
    counter = CompileCounter()
    reader.vision.compile(backend=counter)
    reader.vision.warm_up()
    assert counter.frame_count == 2, "half a block before its attention, and half after it"
    for pages, theirs in zip(batches, expected, strict=True):
        for mine, other in zip(reader.encode_pages(pages), theirs, strict=True):
            torch.testing.assert_close(mine, other, atol=2e-6, rtol=0)
    assert reader.vision.refused_compile is None
    assert counter.frame_count == 2


def test_a_page_that_overflows_compiles_nothing_while_it_is_served(tmp_path: Path) -> None:
    from torch._dynamo.testing import CompileCounter

    folder = write_checkpoint(tmp_path, "tiny")
    reader = load_reader(folder, dtype="float16")
    counter = CompileCounter()
    reader.vision.compile(backend=counter)
    reader.vision.warm_up()
    warm = counter.frame_count
    reader.vision.page_forward._merge_out.weight.fill_(60_000.0)
    features = reader.encode_pages([make_page(112, 84, 1), make_page(56, 84, 2)])
    assert reader.vision.num_fallbacks == 2
    assert all(bool(torch.isfinite(tokens).all()) for tokens in features)
    assert reader.vision.refused_compile is None
    assert counter.frame_count == warm


def test_vision_that_cannot_be_compiled_runs_plain_and_says_why(tmp_path: Path) -> None:
    reader = load_reader(write_checkpoint(tmp_path, "tiny"))
    expected = reader.encode_pages(PAGES)

    def broken(module: object, inputs: object) -> object:
        raise NotImplementedError("no compiler here")

    reader.vision.compile(backend=broken)
    for mine, theirs in zip(reader.encode_pages(PAGES), expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)
    assert "no compiler here" in (reader.vision.refused_compile or "")
