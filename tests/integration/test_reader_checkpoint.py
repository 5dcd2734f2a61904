"""The shipped checkpoint: read by the library alone, it answers as it does everywhere else."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from train.answer import answer
from train.corpus import samples
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    Glm4vForConditionalGeneration,
)

from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.embedded import checkpoint_path
from glyph_worker.model.reader import Reader
from glyph_worker.render.out import raster
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style


@pytest.fixture(scope="module")
def reader() -> Reader:
    return load_reader(checkpoint_path(), dtype="float32")


def pages_of(text: str) -> list[np.ndarray]:
    return [raster.draw(laid) for laid in paginate(text, preset_style("nano"))]


def test_the_librarys_own_generate_gives_the_same_answer(reader: Reader) -> None:
    # Given a document and a question, loaded and prepared by the library only
    sample = next(samples("generate", low=3, high=6, asked=2, test=True))
    model = Glm4vForConditionalGeneration.from_pretrained(checkpoint_path(), dtype=torch.float32)
    tokens = AutoTokenizer.from_pretrained(checkpoint_path())
    images = AutoImageProcessor.from_pretrained(checkpoint_path(), backend="pil")
    (page,) = pages_of(sample.text)
    question = sample.questions[0].text
    inputs = images(images=[np.repeat(page[:, :, None], 3, 2)], return_tensors="pt")
    content = [{"type": "image"}, {"type": "text", "text": question}]
    prompt = tokens.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    count = int(inputs["image_grid_thw"].prod()) // 4
    prompt = prompt.replace("<|image|>", "<|image|>" * count)
    ids = tokens(prompt, return_tensors="pt", add_special_tokens=False).input_ids
    # When it generates greedily
    out = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=(ids == model.config.image_token_id).int(),
        max_new_tokens=30,
        **inputs,
    )
    theirs = tokens.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
    # Then our path says the same
    ours = answer(reader.model, reader.encode_pages([page]), [question], max_tokens=30)[0]
    assert theirs.strip() == ours.strip()


def test_questions_and_pages_read_the_same_alone_and_together(reader: Reader) -> None:
    for sample in itertools.islice(samples("alone", low=3, high=20, asked=4, test=True), 2):
        pages = pages_of(sample.text)
        twice = reader.encode_pages([*pages, *pages])
        once = reader.encode_pages(pages)
        torch.testing.assert_close(twice[0], once[0], atol=1e-4, rtol=1e-4)
        questions = [question.text for question in sample.questions]
        together = answer(reader.model, once, questions, max_tokens=24)
        alone = [answer(reader.model, once, [q], max_tokens=24)[0] for q in questions]
        assert together == alone
