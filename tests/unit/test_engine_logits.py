"""Logits against the library's full forward: any mix of batch-mates, prefixes, chunks, evictions.

Token equality is a weak oracle on random weights, so answers are forced and logits compared. The
mutation tests plant bugs and show that this comparison catches them.
"""

from __future__ import annotations

from collections import abc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from glyph_worker.engine import step_inputs
from glyph_worker.engine.backend import TORCH, Backend
from glyph_worker.engine.core import EngineCore
from glyph_worker.engine.kv import KVPool
from glyph_worker.engine.runner import Runner
from glyph_worker.engine.selftest import Drive, page_inputs, self_test
from glyph_worker.engine.sequence import AnswerRequest, Sequence
from glyph_worker.engine.step_inputs import StepInputs
from glyph_worker.errors import ModelUnusable
from glyph_worker.model import attention
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.kernels import TorchKernels
from glyph_worker.model.library import library_logits
from glyph_worker.model.processor import Page
from glyph_worker.model.reader import Reader
from glyph_worker.setting_sections import EngineSettings

TOLERANCE = 1e-4
SIZES = [(56, 112), (84, 84), (112, 56)]


def make_page(seed: int) -> Page:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(SIZES[seed % 3]) > 0.2, 255, 0).astype(np.uint8)


DOCUMENTS = [[1], [1, 2], [1, 2, 3], [1, 4, 5], [6, 7, 8, 9], [7, 6]]
PAGES = {seed: make_page(seed) for document in DOCUMENTS for seed in document}


class Scenario:
    """Questions with forced answers through a core, and the worst difference found."""

    def __init__(self, reader: Reader, backend: Backend = TORCH, **settings: Any) -> None:
        self.reader = reader
        self.drive = Drive(
            reader, EngineSettings.model_validate({"self_test": False, **settings}), backend
        )
        self.asked: dict[str, tuple[list[Page], str, list[int]]] = {}

    def ask(self, name: str, document: abc.Sequence[int], question: str, answer: list[int]) -> None:
        pages = [PAGES[seed] for seed in document]
        inputs = tuple(
            page_inputs([page], f"page{seed}")[0]
            for page, seed in zip(pages, document, strict=True)
        )
        request = AnswerRequest(
            sequence_id=name,
            pages=inputs,
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
            assert found.shape == expected.shape
            worst = max(worst, (found - expected).abs().max().item())
        return worst


def per_token(reader: Reader) -> int:
    language = reader.language
    return KVPool.bytes_per_token(
        num_layers=language.num_layers,
        num_kv_heads=language.num_kv_heads,
        head_dim=language.head_dim,
        dtype=reader.dtype,
    )


def ask_at_random(scenario: Scenario, rng: np.random.Generator, count: int) -> None:
    """Questions that arrive while others run, leave, and come back to evicted documents."""
    for number in range(count):
        document = DOCUMENTS[rng.integers(len(DOCUMENTS))]
        answer = rng.integers(16, 100, size=rng.integers(1, 10)).tolist()
        question = "what " * int(rng.integers(1, 8)) + str(number)
        scenario.ask(f"q{number}", document, question, answer)
        for _ in range(int(rng.integers(0, 6))):
            scenario.drive.step()
    scenario.drive.finish()


BACKENDS = {
    "torch": TORCH,
    "pieces": Backend(kernels=TorchKernels(), splits=True, buffers="none"),
    "pieces in fixed buffers": Backend(kernels=TorchKernels(), splits=True, buffers="plain"),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(8))
def test_logits_equal_the_librarys_for_random_mixes(
    reader: Reader, seed: int, backend: str
) -> None:
    rng = np.random.default_rng(seed)
    tokens = int(rng.choice([160, 260, 4_000]))
    scenario = Scenario(
        reader,
        BACKENDS[backend],
        max_slots=int(rng.integers(1, 7)),
        prefill_tokens=int(rng.choice([5, 23, 300])),
        kv_bytes=tokens * per_token(reader),
        kv_host_bytes=int(rng.choice([0, 100, 1_000])) * per_token(reader),
        block_tokens=int(rng.choice([1, 1, 4, 16])),
        fetch_window_pages=int(rng.integers(1, 4)),
        grouped_decode=bool(rng.random() < 0.8),
        prefix_sharing=bool(rng.random() < 0.8),
    )
    ask_at_random(scenario, rng, 14)
    assert scenario.worst() < TOLERANCE


def test_logits_are_right_after_evictions_and_round_trips_through_host_memory(
    reader: Reader,
) -> None:
    scenario = Scenario(
        reader,
        max_slots=2,
        kv_bytes=90 * per_token(reader),
        kv_host_bytes=600 * per_token(reader),
    )
    rng = np.random.default_rng(3)
    for repeat in range(3):
        for number, document in enumerate(DOCUMENTS):
            answer = rng.integers(16, 100, size=5).tolist()
            scenario.ask(f"{repeat}/{number}", document, f"what {number}?", answer)
        scenario.drive.finish()
    prefixes = scenario.drive.core.prefixes
    assert prefixes.num_evictions > 5
    assert prefixes.num_restores > 5
    assert scenario.worst() < TOLERANCE


def test_a_prefix_in_many_pieces_is_read_right(reader: Reader) -> None:
    scenario = Scenario(reader, kv_bytes=400 * per_token(reader))
    blocks = scenario.drive.core.prefixes.blocks
    # Take every third place, so that no run is longer than two.
    whole = blocks.allocate(blocks.num_blocks)
    assert whole is not None
    keep = tuple((start, 1) for start in range(0, 400, 3))
    for start in range(400):
        if start % 3:
            blocks.release(((start, 1),))
    assert len(blocks.free_runs) > 100
    for number in range(3):
        scenario.ask(f"{number}", [1, 2, 3], f"what {number}?", [30, 40, 50])
    scenario.drive.finish()
    assert scenario.worst() < TOLERANCE
    assert len(keep) > 100


def test_plain_and_packed_matrices_agree(folder: Any, reader: Reader) -> None:
    plain = load_reader(folder, packed=False)
    assert plain.language.form == "plain"
    assert reader.language.form == "packed"
    scenario = Scenario(plain)
    scenario.ask("q", [1, 2, 3], "what?", [30, 40, 50])
    scenario.drive.finish()
    assert scenario.worst() < TOLERANCE


def test_features_from_a_cache_give_the_same_bits(reader: Reader) -> None:
    def run(cached: bool) -> torch.Tensor:
        scenario = Scenario(reader, prefill_tokens=16)
        if cached:
            kept = {
                page.tobytes(): reader.encode_pages([page])[0].numpy().copy()
                for page in PAGES.values()
            }

            class Cached:
                def encode_pages(self, pages: list[Page]) -> list[torch.Tensor]:
                    return [torch.from_numpy(kept[page.tobytes()]) for page in pages]

                def __getattr__(self, name: str) -> Any:
                    return getattr(reader, name)

            scenario.drive.core.reader = Cached()  # type: ignore[assignment]
        scenario.ask("a", [1, 2, 3], "what?", [30, 40, 50])
        scenario.ask("b", [1, 2], "what else?", [30, 41])
        scenario.drive.finish()
        return torch.stack([*scenario.drive.logits["a"], *scenario.drive.logits["b"]])

    assert torch.equal(run(cached=False), run(cached=True))


# -- mutations: planted bugs must be caught ---------------------------------------------------


def off_by_one_position(patch: pytest.MonkeyPatch) -> None:
    start = Runner.start

    def shifted(self: Runner, live: Sequence) -> None:
        start(self, live)
        live.next_position += 1

    patch.setattr(Runner, "start", shifted)


def last_key_overwritten(patch: pytest.MonkeyPatch) -> None:
    def place(self: StepInputs, live: Sequence) -> int:
        assert live.private_places is not None
        return int(live.private_places[len(live.tail) + max(0, len(live.token_ids) - 2)])

    patch.setattr(StepInputs, "_last_place", place)


def wrong_prefix(patch: pytest.MonkeyPatch) -> None:
    real = step_inputs.node_extents

    def shifted(*args: Any, **kwargs: Any) -> list[tuple[int, int]]:
        return [(max(0, a - 1), b - 1) for a, b in real(*args, **kwargs)]

    patch.setattr(step_inputs, "node_extents", shifted)


def another_documents_prefix(patch: pytest.MonkeyPatch) -> None:
    make = EngineCore.add

    def renamed(self: EngineCore, live: Sequence) -> None:
        one = live.scheduled.pages[0]
        live.scheduled.pages = tuple(
            type(one)("same", page.lead, page.num_visual_tokens) for page in live.scheduled.pages
        )
        make(self, live)

    patch.setattr(EngineCore, "add", renamed)


def text_positions_for_pages(patch: pytest.MonkeyPatch) -> None:
    start = Runner.start

    def flat(self: Runner, live: Sequence) -> None:
        start(self, live)
        count = live.positions.shape[1]
        live.positions = np.broadcast_to(np.arange(count, dtype=np.int32), (3, count))
        live.next_position = count

    patch.setattr(Runner, "start", flat)


def newest_key_not_seen(patch: pytest.MonkeyPatch) -> None:
    real = StepInputs._private

    def blind(self: StepInputs, decodes: Any, dtype: torch.dtype) -> Any:
        private = real(self, decodes, dtype)
        private.bias[:, :, :, -1:] = float("-inf")
        return private

    patch.setattr(StepInputs, "_private", blind)


def parts_merged_without_weights(patch: pytest.MonkeyPatch) -> None:
    real = attention.partial_attention

    def flat(*args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        out, lse = real(*args, **kwargs)
        return out, torch.zeros_like(lse)

    patch.setattr(attention, "partial_attention", flat)


def chunk_blind_to_earlier_chunks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StepInputs, "_extents_before", lambda self, live, offset: [])


MUTATIONS: list[Callable[[pytest.MonkeyPatch], None]] = [
    off_by_one_position,
    last_key_overwritten,
    wrong_prefix,
    another_documents_prefix,
    text_positions_for_pages,
    newest_key_not_seen,
    parts_merged_without_weights,
    chunk_blind_to_earlier_chunks,
]


def mutation_scenario(reader: Reader) -> float:
    scenario = Scenario(reader, prefill_tokens=16, max_slots=4)
    scenario.ask("a", [1, 2, 3], "what is it?", [30, 40, 50, 60])
    scenario.ask("b", [1, 5, 6], "what else?", [31, 41, 51, 61])
    scenario.ask("c", [1, 2, 3], "how many?", [32, 42, 52, 62])
    scenario.drive.finish()
    return scenario.worst()


@pytest.mark.parametrize("plant", MUTATIONS, ids=lambda plant: plant.__name__)
def test_planted_bugs_are_caught(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    assert mutation_scenario(reader) < TOLERANCE
    plant(monkeypatch)
    assert mutation_scenario(reader) > 10 * TOLERANCE


@pytest.mark.parametrize("plant", [off_by_one_position, wrong_prefix, newest_key_not_seen])
def test_self_test_refuses_to_serve_with_a_planted_bug(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    assert self_test(reader, EngineSettings()) < 1e-3
    plant(monkeypatch)
    with pytest.raises(ModelUnusable, match="self-test: logits differ"):
        self_test(reader, EngineSettings())
