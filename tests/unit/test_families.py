"""Every family: features, prompts, positions and logits are the library's own; what cannot be read
is refused with the reason."""

from __future__ import annotations

import json
import shutil
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from family_checks import (
    BACKENDS,
    FAMILIES,
    feature_difference,
    library_inputs,
    long_document,
    made_page,
    mixed_batch,
    own_prompt,
    position_difference,
)
from synthetic.families import write_family

from glyph_worker.engine.selftest import self_test
from glyph_worker.errors import DocumentTooLarge, ModelUnusable
from glyph_worker.features.digest import FeatureRecipe
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.embedded import checkpoint_path
from glyph_worker.model.families.known import FAMILIES as KNOWN
from glyph_worker.model.families.pages import page_shape
from glyph_worker.model.language import LanguageModel
from glyph_worker.model.library import library_logits
from glyph_worker.model.reader import Reader
from glyph_worker.setting_sections import EngineSettings

OTHERS = FAMILIES[1:]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("families")
    return {family: write_family(family, place / family) for family in FAMILIES}


@pytest.fixture(scope="module")
def readers(folders: dict[str, Path]) -> dict[str, Reader]:
    return {family: load_reader(folder) for family, folder in folders.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_page_features_equal_the_librarys(readers: dict[str, Reader], family: str) -> None:
    reader = readers[family]
    pages = [made_page(reader, seed) for seed in (1, 2, 5, 4)]

    assert feature_difference(reader, pages) < 1e-5

    alone = [reader.encode_pages([page])[0] for page in pages]
    for one, other in zip(alone, reader.encode_pages(pages), strict=True):
        torch.testing.assert_close(one, other, atol=2e-6, rtol=0)
        assert other.shape[1] == reader.feature_width
        assert other.std() > 0.05, "features this flat would prove nothing"


@pytest.mark.parametrize("family", ["glm_ocr", "qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("size", [(131, 217), (595, 421), (20, 300)])
def test_pages_of_foreign_sizes_are_resized_as_the_library_does(
    readers: dict[str, Reader], family: str, size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(3)
    page = np.where(rng.random(size) > 0.1, 255, 20).astype(np.uint8)

    assert feature_difference(readers[family], [page]) < 1e-5


@pytest.mark.parametrize("family", ["glm", "glm_ocr", "qwen2_5_vl", "qwen3_vl"])
def test_colour_is_seen_as_the_library_sees_it_beside_gray_pages(
    readers: dict[str, Reader], family: str
) -> None:
    reader = readers[family]
    gray = made_page(reader, 3)
    colored = np.stack([gray, 255 - gray // 2, gray[::-1]], axis=-1)

    assert feature_difference(reader, [colored, gray]) < 1e-5
    assert feature_difference(reader, [colored[:-13, :-9]]) < 1e-5, "of a foreign size"
    seen, plain, same = reader.encode_pages([colored, gray, np.stack([gray] * 3, axis=-1)])
    torch.testing.assert_close(plain, same, atol=1e-5, rtol=0)
    assert (seen - plain).abs().max() > 0.01
    assert page_shape(reader.folder).sees_color


def test_a_reader_of_our_own_pages_and_one_behind_a_q_former_see_gray(
    folders: dict[str, Path],
) -> None:
    assert not page_shape(checkpoint_path()).sees_color
    assert not page_shape(folders["blip2"]).sees_color


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_equal_the_librarys_token_by_token(readers: dict[str, Reader], family: str) -> None:
    reader = readers[family]
    counts = (1,) if reader.family.frame is not None else (1, 2, 3)
    for count in counts:
        pages = [made_page(reader, seed) for seed in range(count)]
        for question in ("How much?", "  two\nlines  ", "a"):
            expected = library_inputs(reader, pages, question).input_ids[0].tolist()
            assert own_prompt(reader, pages, question) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_earlier_turns_are_written_as_the_familys_template_does(
    readers: dict[str, Reader], family: str
) -> None:
    reader = readers[family]
    prompt = reader.prompt
    turns = [("How much?", "9 km"), ("And back?", "twice that")]
    ids = [
        *chain.from_iterable(prompt.history(turns, num_pages=1)),
        *prompt.tail("Why?", num_pages=1, is_first=False),
    ]
    if (frame := reader.family.frame) is not None:
        text = "".join(f"{frame.before}{q}{frame.after} {a}. " for q, a in turns)
        asked = prompt.tail("Why?", num_pages=1)
        assert (
            ids[: len(prompt.template.before_question)]
            == asked[: len(prompt.template.before_question)]
        )
        assert prompt.tokenizer.decode(ids, skip_special_tokens=True) == (
            f"{text}{frame.before}Why?{frame.after}"
        )
        return
    messages: list[dict[str, object]] = []
    for question, answer in turns:
        messages.append({"role": "user", "content": [{"type": "text", "text": question}]})
        messages.append({"role": "assistant", "content": answer})
    messages.append({"role": "user", "content": [{"type": "text", "text": "Why?"}]})
    messages[0]["content"] = [{"type": "image"}, {"type": "text", "text": turns[0][0]}]
    text = prompt.tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    expected = prompt.tokenizer(text, add_special_tokens=False).input_ids
    assert [*prompt.page_lead(0), prompt.image_token_id, *ids] == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_positions_equal_the_librarys(readers: dict[str, Reader], family: str) -> None:
    reader = readers[family]
    for count in (1, 3):
        pages = [made_page(reader, seed) for seed in range(count)]
        assert position_difference(reader, pages, "how far?") == 0


@pytest.mark.parametrize("family", OTHERS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_logits_equal_the_librarys_for_any_mix_of_batch_mates(
    readers: dict[str, Reader], family: str, backend: str
) -> None:
    assert mixed_batch(readers[family], BACKENDS[backend]) < 1e-4


@pytest.mark.parametrize("family", OTHERS)
@pytest.mark.parametrize("num_pages", [1, 14])
def test_logits_equal_the_librarys_on_one_to_fourteen_pages(
    readers: dict[str, Reader], family: str, num_pages: int
) -> None:
    assert long_document(readers[family], num_pages) < 1e-4


def test_a_forward_without_deeper_features_is_caught(
    readers: dict[str, Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = LanguageModel.visual
    monkeypatch.setattr(
        LanguageModel, "visual", lambda self, features: (whole(self, features)[0], None)
    )
    assert mixed_batch(readers["qwen3_vl"]) > 0.1


@pytest.mark.parametrize("family", OTHERS)
def test_eight_bit_weights_pass_their_self_test(folders: dict[str, Path], family: str) -> None:
    plain, small = load_reader(folders[family]), load_reader(folders[family], int8=True)
    assert small.weights_bytes < 0.7 * plain.weights_bytes
    self_test(small, EngineSettings())
    [page] = [made_page(plain, 3)]
    exact, rounded = (library_logits(one, [page], "what?") for one in (plain, small))
    assert 0.001 < ((rounded - exact).abs().max() / exact.std()).item() < 0.6


@pytest.mark.parametrize("family", OTHERS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bit_readers_pass_their_self_test(
    folders: dict[str, Path], family: str, dtype: str
) -> None:
    reader = load_reader(folders[family], dtype=dtype)
    assert reader.dtype_name == dtype
    self_test(reader, EngineSettings())


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl", "blip2"])
def test_vision_is_compiled_once_for_all_blocks(readers: dict[str, Reader], family: str) -> None:
    from torch._dynamo.testing import CompileCounter

    reader = readers[family]
    pages = [made_page(reader, seed) for seed in (2, 5, 8)]
    expected = reader.encode_pages(pages)
    counter = CompileCounter()
    reader.vision.lay_out(packed=False)
    reader.vision.compile(backend=counter)
    try:
        for mine, theirs in zip(reader.encode_pages(pages), expected, strict=True):
            torch.testing.assert_close(mine, theirs, atol=2e-6, rtol=0)
        assert reader.vision.refused_compile is None
        assert counter.frame_count == 2, "a block's two halves"
    finally:
        reader.vision.run_plain()
        reader.vision.lay_out(packed=True)


def test_families_never_share_a_name_for_a_pages_features(readers: dict[str, Reader]) -> None:
    recipes = [FeatureRecipe.of(reader) for reader in readers.values()]
    names = {recipe.feature_digest("page") for recipe in recipes}
    assert len(names) == len(FAMILIES)
    # Nor with the weights' digest and the device alike: the vision forward's revision is theirs.
    alike = {(recipe.encoder, recipe.processor) for recipe in recipes}
    assert len(alike) == len(KNOWN), "GLM and GLM-OCR share a forward and a processor"


def test_a_page_that_blip2_would_shrink_is_refused_with_the_sizes(
    readers: dict[str, Reader],
) -> None:
    with pytest.raises(DocumentTooLarge, match=r"595 x 842 px, this model sees 224 x 224 px"):
        readers["blip2"].num_visual_tokens(595, 842)


def edited(folder: Path, into: Path, **changes: object) -> Path:
    copy = shutil.copytree(folder, into / "copy")
    config = json.loads((copy / "config.json").read_text())
    for key, value in changes.items():
        config.pop(key, None)
        if value is not None:
            config[key] = value
    (copy / "config.json").write_text(json.dumps(config))
    return copy


REFUSED = [
    ("glm", {"model_type": "llama"}, "'llama', this worker reads glm .*qwen3_vl .*blip2"),
    ("glm", {"model_type": "instructblip"}, "its page features depend on the question"),
    ("glm", {"text_config": None}, "no text_config"),
    ("qwen3_vl", {"text_config": None}, "no text_config"),
    ("blip2", {"text_config": None}, "no text_config"),
    ("qwen2_5_vl", {"use_sliding_window": True}, "sliding-window"),
    ("qwen2_5_vl", {"hidden_size": None}, "lacks hidden_size"),
    ("qwen2_5_vl", {"rope_scaling": {"type": "dynamic"}}, "changes with a prompt's length"),
    ("blip2", {"image_token_index": None}, "no image_token_index"),
    ("blip2", {"text_config": {"model_type": "t5"}}, "its language model is 't5'"),
]


@pytest.mark.parametrize(("family", "changes", "words"), REFUSED)
def test_what_cannot_be_read_is_refused_with_the_reason(
    folders: dict[str, Path],
    tmp_path: Path,
    family: str,
    changes: dict[str, object],
    words: str,
) -> None:
    with pytest.raises(ModelUnusable, match=words):
        load_reader(edited(folders[family], tmp_path, **changes))


def test_every_family_names_published_checkpoints_and_marks_its_features() -> None:
    assert len({family.revision for family in KNOWN}) == len(KNOWN)
    assert all(family.checkpoints for family in KNOWN)
