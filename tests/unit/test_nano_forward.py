"""The trainer's own forward pass and pages against the library's and the renderer's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from train import vocabulary as v
from train.configure import reader_config
from train.corpus import samples
from train.draw import cell_atlas, draw, normalise
from train.export import export
from train.forward import packed_mask, read, see
from train.packing import IGNORE, pack, page_cells
from train.run import rate, trained
from train.stages import Trainee
from transformers import AutoImageProcessor, Glm4vForConditionalGeneration

from glyph_worker.render.out import raster
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style


@pytest.fixture(scope="module")
def model() -> Glm4vForConditionalGeneration:
    torch.manual_seed(0)
    return Glm4vForConditionalGeneration(reader_config()).eval()


def test_a_page_drawn_on_the_device_equals_the_renderers_bit_for_bit() -> None:
    # Given a document of every character the reader knows, and made documents
    texts = ["\n".join(v.CHARACTERS[i : i + 60] for i in range(0, len(v.CHARACTERS), 60))]
    for sample in itertools.islice(samples("draw", low=3, high=28, asked=1), 10):
        texts.append("\n".join(sample.pages[0]) + "\n")
    atlas = cell_atlas()
    for text in texts:
        for laid in paginate(text, preset_style("nano")):
            # When both draw it
            theirs = raster.draw(laid)
            cells = torch.from_numpy(page_cells([line.shown for line in laid.lines]))
            ours = draw(atlas, cells[None])[0].numpy()
            # Then every pixel is the same
            np.testing.assert_array_equal(ours, theirs)


def test_the_trainers_eyes_equal_the_librarys_on_its_own_processor(model, tmp_path) -> None:
    # Given pages of two heights, and the shipped processor configuration
    export(model, tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    rng = np.random.default_rng(1)
    for lines in (2, 6, 28):
        cells = torch.from_numpy(rng.integers(14, 200, (2, lines, 64)))
        pages = draw(cell_atlas(), cells)
        inputs = processor(
            images=[np.repeat(page.numpy()[:, :, None], 3, 2) for page in pages],
            return_tensors="pt",
        )
        assert inputs["image_grid_thw"].tolist() == [[1, lines, 32]] * 2  # never resized
        # When both look at them
        with torch.no_grad():
            theirs = model.get_image_features(**inputs).pooler_output
            ours = see(model, normalise(pages))
        # Then they see the same
        torch.testing.assert_close(ours, torch.cat(list(theirs)), atol=1e-4, rtol=1e-4)


def test_packed_questions_read_as_if_each_were_alone(model) -> None:
    # Given a row packed with documents and questions
    batch = pack(samples("pack", low=1, high=5, asked=3), rows=2, length=384)
    tensors = {
        name: torch.from_numpy(getattr(batch, name))
        for name in ("tokens", "document", "segment", "positions", "target")
    }
    text = model.model.language_model
    features = [torch.randn(len(places), 384) for places in batch.places]
    embeds = text.embed_tokens(tensors["tokens"]).detach()
    flat = embeds.flatten(0, 1)
    for places, feature in zip(batch.places, features, strict=True):
        flat = flat.index_copy(0, torch.from_numpy(places), feature)
    embeds = flat.view(embeds.shape)
    with torch.no_grad():
        cos, sin = text.rotary_emb(embeds, tensors["positions"])
        mask = packed_mask(tensors["document"], tensors["segment"])
        packed, _ = read(model, embeds, cos, sin, mask, {})
        row = 0
        for document in range(1, int(tensors["document"][row].max()) + 1):
            mine = tensors["document"][row] == document
            for segment in range(1, int(tensors["segment"][row][mine].max()) + 1):
                alone = mine & (
                    (tensors["segment"][row] == 0) | (tensors["segment"][row] == segment)
                )
                # When the library reads one of them alone, at its own positions
                ids = tensors["tokens"][row][alone][None]
                rows = int((ids == v.IMAGE).sum()) // 16
                places, _ = model.model.get_rope_index(
                    ids, (ids == v.IMAGE).int(), torch.tensor([[1, rows * 2, 32]])
                )
                assert torch.equal(places[:, 0], tensors["positions"][:, row][:, alone])
                hidden = text(inputs_embeds=embeds[row][alone][None], position_ids=places)
                # Then the hidden states are the same
                torch.testing.assert_close(
                    hidden.last_hidden_state[0], packed[row][alone], atol=1e-4, rtol=1e-4
                )


def test_every_learned_answer_ends_with_the_end_token() -> None:
    batch = pack(samples("end", low=1, high=5, asked=3), rows=2, length=384)
    learned = batch.target != IGNORE
    ends = batch.target[learned] == v.END[0]
    assert ends.sum() == len(batch.questions)


def test_the_rate_falls_by_steps_or_by_the_clock_whichever_is_sooner() -> None:
    full = rate("reader", 100, 0.1)
    assert full == rate("reader", 100, 0.2)
    assert full > rate("reader", 100, 0.6) > rate("reader", 100, 0.9)
    assert rate("reader", 100, 1.0) == pytest.approx(0.01 * full)
    assert rate("reader", 0, 0.0) < full / 30  # warming up


def test_layers_below_the_lowest_rest() -> None:
    trainee = Trainee()
    everything, upper = trained(trainee, "reader"), trained(trainee, "reader", lowest=2)
    resting = set(everything) - set(upper)
    assert any(name.startswith("text.layers.1.") for name in resting)
    assert "text.embed_tokens.weight" in resting
    assert not any(name.startswith("text.layers.2.") for name in resting)
    text = trainee.model.model.language_model
    assert not text.layers[0].mlp.down_proj.weight.requires_grad
    assert text.layers[2].mlp.down_proj.weight.requires_grad
