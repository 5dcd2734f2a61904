"""Threads of a product: side by side, alone, or as the settings say."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic.checkpoints import write_checkpoint

from glyph_worker.engine.engine import AnswerRequest, Deliver, Engine, PageInput
from glyph_worker.model import cores as module
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.cores import Cores
from glyph_worker.setting_sections import EngineSettings


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_half_the_cores_each_unless_the_settings_or_the_environment_say_otherwise() -> None:
    cores = Cores.share(0)
    assert (cores.each, cores.total, torch.get_num_threads()) == (2, 4, 2)
    cores.give_back()
    cores = Cores.share(3)
    assert (cores.each, cores.total, torch.get_num_threads()) == (3, 3, 3)
    cores.give_back()
    assert torch.get_num_threads() == 4
    torch.set_num_threads(1)  # as OMP_NUM_THREADS=1 would have it
    cores = Cores.share(0)
    assert (cores.each, cores.total, torch.get_num_threads()) == (1, 1, 1)


def test_a_large_step_takes_all_cores_only_while_no_page_is_encoded() -> None:
    cores = Cores.share(0)
    with cores.step(module.WIDE_TOKENS):
        assert torch.get_num_threads() == 4
    assert torch.get_num_threads() == 2
    with cores.step(module.WIDE_TOKENS - 1):
        assert torch.get_num_threads() == 2
    with cores.encoding(), cores.step(1_000):
        assert torch.get_num_threads() == 2
    with cores.step(1_000):
        assert torch.get_num_threads() == 4
    with pytest.raises(ZeroDivisionError), cores.step(1_000):
        _ = 1 / 0
    assert torch.get_num_threads() == 2


def test_the_engine_and_the_encoder_keep_to_it_and_answer_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_checkpoint(tmp_path)
    page = np.full((84, 280), 255, dtype=np.uint8)
    page[20:60, 30:200:7] = 0

    def answer(threads: int) -> tuple[tuple[int, ...], set[int], set[int]]:
        reader = load_reader(folder, threads=threads)
        seen: dict[str, set[int]] = {"step": set(), "page": set()}
        forward, encode = reader.language.forward, reader.vision.encode

        def spy_step(*args: object) -> torch.Tensor:
            seen["step"].add(torch.get_num_threads())
            return forward(*args)  # type: ignore[arg-type]

        def spy_page(*args: object) -> list[torch.Tensor]:
            seen["page"].add(torch.get_num_threads())
            return encode(*args)  # type: ignore[arg-type]

        settings = EngineSettings(kv_bytes=8 << 20, self_test=False)
        engine = Engine(reader, settings)
        monkeypatch.setattr(reader.language, "forward", spy_step)
        monkeypatch.setattr(reader.vision, "encode", spy_page)
        engine.start()

        def fetch(indexes: object, deliver: Deliver) -> None:
            def see() -> None:
                features.extend(reader.encode_pages([page, page, page]))

            features: list[torch.Tensor] = []
            thread = threading.Thread(target=see)  # another thread than the engine's, as it is
            thread.start()
            thread.join()
            deliver(features)

        pages = tuple(PageInput(digest=f"p{n}", width=280, height=84) for n in range(3))
        request = AnswerRequest(
            sequence_id="q", pages=pages, question="what?" * 9, max_new_tokens=6
        )
        try:
            tokens = engine.answer(request, fetch=fetch).token_ids
        finally:
            engine.stop()
        torch.set_num_threads(4)
        return tokens, seen["step"], seen["page"]

    shared, alone = answer(0), answer(2)
    assert shared[1:] == ({2, 4}, {2})
    assert alone[1:] == ({2}, {2})
    assert shared[0] == alone[0]
