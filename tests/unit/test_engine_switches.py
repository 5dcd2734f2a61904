"""Every off-switch works, backends are chosen as asked, and both benchmarks run with --quick."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from glyph_worker.engine import selftest
from glyph_worker.engine.backend import TORCH, Backend, candidates, choices
from glyph_worker.engine.engine import AnswerRequest, Engine, PageInput
from glyph_worker.engine.kv_budget import run_full_chunk, run_full_micro_batch
from glyph_worker.engine.pieces import MAX_PIECES, Group, cut_pieces
from glyph_worker.errors import ModelUnusable
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.kernels import TorchKernels
from glyph_worker.model.reader import Reader
from glyph_worker.setting_sections import EngineSettings

ROOT = Path(__file__).resolve().parents[2]
PAGE = np.where(np.random.default_rng(5).random((84, 84)) > 0.2, 255, 0).astype(np.uint8)


def answer(reader: Reader, **settings: Any) -> tuple[int, ...]:
    engine = Engine(reader, EngineSettings.model_validate({"kv_bytes": 8 << 20, **settings}))
    engine.start()
    try:
        request = AnswerRequest(
            sequence_id="q",
            pages=tuple(PageInput(digest=f"p{i}", width=84, height=84) for i in range(3)),
            question="what?",
            max_new_tokens=8,
        )
        return engine.answer(
            request,
            fetch=lambda pages, deliver: deliver(engine.reader.encode_pages([PAGE for _ in pages])),
        ).token_ids
    finally:
        engine.stop()


def test_every_off_switch_gives_the_same_answer(folder: Path) -> None:
    expected = answer(load_reader(folder))
    for switch in (
        {"prefix_sharing": False},
        {"grouped_decode": False},
        {"affinity": False},
        {"finite_guard": False},
        {"attention": "torch"},
        {"attention": "plain"},
        {"cuda_graphs": False},
        {"compile": False},
        {"packed_weights": False},
        {"self_test": False},
        {"block_tokens": 16},
        {"fetch_window_pages": 1},
        {"prefill_as_landed": False},
        {"prefill_tokens": 7},
        {"kv_host_bytes": 1 << 20},
    ):
        assert answer(load_reader(folder), **switch) == expected, switch


def test_eight_bit_weights_answer(folder: Path) -> None:
    assert len(answer(load_reader(folder, int8=True))) >= 1


def test_triton_on_the_cpu_is_refused_with_a_way_out(reader: Reader) -> None:
    with pytest.raises(ModelUnusable, match="needs a CUDA device"):
        candidates(reader, EngineSettings(attention="triton"))
    assert candidates(reader, EngineSettings()) == [TORCH]


def test_a_backend_that_fails_its_self_test_gives_way_to_the_next(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(TorchKernels):
        name = "broken"

        def gate(self, gate_up: torch.Tensor, activation: Any) -> torch.Tensor:
            return super().gate(gate_up, activation).flip(-1)

    class Absent(TorchKernels):
        name = "absent"

        def attend(self, *args: Any) -> torch.Tensor:
            raise RuntimeError("no kernel image for this device")

    pieces = Backend(kernels=TorchKernels(), splits=True, buffers="plain")
    broken = Backend(kernels=Broken(), splits=True, buffers="none")
    absent = Backend(kernels=Absent(), splits=False, buffers="none")
    found = [absent, broken, pieces, TORCH]
    monkeypatch.setattr(selftest, "choices", lambda *_: (found, []))
    chosen, refusals = selftest.choose_backend(reader, EngineSettings())
    assert chosen is pieces
    assert [refusal.what for refusal in refusals] == ["absent", "broken"]
    assert "no kernel image for this device" in str(refusals[0])
    assert "logits differ" in str(refusals[1])
    monkeypatch.setattr(selftest, "choices", lambda *_: ([broken], []))
    with pytest.raises(ModelUnusable, match="logits differ"):
        selftest.choose_backend(reader, EngineSettings())


def test_every_decode_program_is_compared_before_the_first_job(folder: Path) -> None:
    """By batch size and tile, of both dtype groups; a kernel wrong at one tile does not serve."""

    class WrongAtFour(TorchKernels):
        name = "wrong at four"

        def attend(self, heads: Any, keys: Any, values: Any, plan: Any, scale: float) -> Any:
            out = super().attend(heads, keys, values, plan, scale)
            wrong = plan.splits is not None and plan.splits.tile == 4
            return out.flip(-1) if wrong else out  # a factor alone would be normed away

    reader = load_reader(folder, dtype="float16")
    settings = EngineSettings(max_slots=4)
    backend = Backend(kernels=TorchKernels(), splits=True, buffers="plain")
    assert selftest.self_test(reader, settings, backend) < selftest.TOLERANCES["float16"]
    wrong = Backend(kernels=WrongAtFour(), splits=True, buffers="plain")
    with pytest.raises(ModelUnusable, match="4 rows in tiles of 4 differ"):
        selftest.self_test(reader, settings, wrong)
    core = selftest.Drive(reader, EngineSettings(kv_bytes=8 << 20), backend).core
    assert set(core.runner.graphs) == {torch.float16, torch.bfloat16}
    programs = core.runner.graphs[torch.float16].programs
    assert len(programs) == 14, "1, 2, 4, 8 and 16 rows by tiles of at most 8 and no more than rows"
    narrow = selftest.Drive(
        reader, EngineSettings(kv_bytes=8 << 20), replace(backend, max_tile=2)
    ).core
    assert max(tile for _, tile in narrow.runner.graphs[torch.float16].programs) == 2


def test_a_device_with_less_room_takes_smaller_tiles() -> None:
    group = [Group(0, 8, ((0, 300),))]
    for most in (8, 4, 1):
        table = cut_pieces(group, 8, max_tile=most)
        assert table is not None
        assert table.tile == most


def test_a_backend_that_cannot_even_be_tried_is_a_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_cuda: Any = SimpleNamespace(device=torch.device("cuda"))
    monkeypatch.setitem(sys.modules, "glyph_worker.model.kernels_triton", None)
    found, refusals = choices(on_cuda, EngineSettings())
    assert found == [TORCH]
    assert [refusal.what for refusal in refusals] == ["triton"]
    assert "missing" in refusals[0].reason
    assert choices(on_cuda, EngineSettings(attention="torch")) == ([TORCH], []), "as was wished"


def test_the_cause_is_named_where_no_kernel_can_be_built(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler's own message has pages; what is missing on the machine is one line."""

    def fails(other: Any, settings: Any, backend: Backend = TORCH) -> float:
        if backend is not TORCH:
            raise RuntimeError("Failed to find C compiler")
        return 0.0

    monkeypatch.setattr(selftest, "self_test", fails)
    quick = Backend(kernels=TorchKernels(), splits=True, buffers="none")
    monkeypatch.setattr(selftest, "choices", lambda *_: ([quick, TORCH], []))
    monkeypatch.setattr(selftest, "toolchain_fault", lambda: "no C compiler; install gcc")
    on_cuda: Any = SimpleNamespace(device=torch.device("cuda"))
    chosen, refusals = selftest.choose_backend(on_cuda, EngineSettings())
    assert chosen is TORCH
    assert [refusal.reason for refusal in refusals] == ["no C compiler; install gcc"]
    _, refusals = selftest.choose_backend(reader, EngineSettings())
    assert [refusal.reason for refusal in refusals] == ["RuntimeError: Failed to find C compiler"]


def test_the_engine_names_what_its_vision_tower_could_not_use(folder: Path) -> None:
    reader = load_reader(folder)
    engine = Engine(reader, EngineSettings(kv_bytes=8 << 20, self_test=False))
    assert engine.refusals == []
    reader.vision.refused_compile = "no compiler"
    assert [str(refusal) for refusal in engine.refusals] == ["compiled vision tower: no compiler"]


def test_scattered_keys_beyond_the_capacity_are_left_to_the_other_way() -> None:
    extents = tuple((place, place + 1) for place in range(0, 2 * MAX_PIECES + 2, 2))
    assert cut_pieces([Group(0, 1, extents)], 1) is None
    assert cut_pieces([Group(0, 1, extents[:MAX_PIECES])], 1) is not None


def test_measuring_the_peak_runs_a_full_chunk_and_a_full_micro_batch(reader: Reader) -> None:
    limit, reader.vision.max_patches = reader.vision.max_patches, 1_600
    try:
        run_full_micro_batch(reader)
        run_full_chunk(reader, 64)
    finally:
        reader.vision.max_patches = limit


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more"), [("engine", []), ("gpu", []), ("families", ["--family", "qwen3_vl"])]
)
def test_benchmarks_run_quick_and_speak_their_language(
    name: str, more: list[str], tmp_path: Path
) -> None:
    script, out = ROOT / "ops" / "bench" / name, tmp_path / "out.json"
    done = subprocess.run(
        [str(script), "--quick", "--json", str(out), *more],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    report = json.loads(done.stdout.strip().splitlines()[-1])
    assert report == json.loads(out.read_text())
    assert {"bench", "commit", "device", "settings", "ratios", "bars", "spread"} <= set(report)
    assert report["bench"] == name
    assert report.get("skipped", []) == []
