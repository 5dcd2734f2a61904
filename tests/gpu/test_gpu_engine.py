"""Triton kernels and CUDA graphs against the torch reference and the library.

Runs on a CUDA device; without one, with TRITON_INTERPRET=1 and the triton package, the kernels run
in Triton's interpreter on the CPU, which proves their arithmetic though not their compilation.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from glyph_worker.engine.backend import Backend, candidates
from glyph_worker.engine.pieces import MAX_PIECES, Group, cut_pieces
from glyph_worker.engine.selftest import Drive, page_inputs, self_test
from glyph_worker.engine.sequence import AnswerRequest
from glyph_worker.model.attention import AttentionPlan, Splits
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.kernels import TorchKernels, Turns
from glyph_worker.model.library import library_logits
from glyph_worker.model.norms import Norm
from glyph_worker.model.reader import Reader
from glyph_worker.model.synthetic import write_checkpoint
from glyph_worker.setting_sections import EngineSettings

CUDA = torch.cuda.is_available()
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not (CUDA or INTERPRETED), reason="no CUDA device, no interpreter"),
]
DEVICE = "cuda" if CUDA else "cpu"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write_checkpoint(tmp_path_factory.mktemp("tiny"), "tiny")


@pytest.fixture(scope="module")
def kernels() -> Any:
    return pytest.importorskip("glyph_worker.model.kernels_triton").TritonKernels()


def random_splits(rng: np.random.Generator, num_rows: int, capacity: int) -> Splits:
    groups = []
    row = 0
    while row < num_rows:
        count = int(rng.integers(1, num_rows - row + 1))
        start = int(rng.integers(0, capacity // 2))
        end = start + int(rng.integers(1, capacity // 2))
        groups.append(Group(row, count, ((start, end), (0, 3))))
        row += count
    groups += [Group(row, 1, ((row, row + 1 + row),)) for row in range(num_rows)]
    table = cut_pieces(groups, num_rows)
    assert table is not None

    def up(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(DEVICE)

    return Splits(up(table.pieces), up(table.row_starts), up(table.row_pieces), table.tile)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("shape", [(4, 2, 32), (6, 6, 64), (32, 2, 128)])
def test_pieces_equal_their_reference(
    kernels: Any, shape: tuple[int, int, int], dtype: torch.dtype
) -> None:
    num_heads, num_kv, dim = shape
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    for num_rows in (1, 3, 9):
        pool = torch.randn(2, num_kv, 700, dim, device=DEVICE, dtype=dtype)
        heads = torch.randn(num_rows, num_heads + 2 * num_kv, dim, device=DEVICE, dtype=dtype)
        plan = AttentionPlan(splits=random_splits(rng, num_rows, 700))
        got = kernels.attend(heads, pool[0], pool[1], plan, dim**-0.5)
        expected = TorchKernels().attend(
            heads.float(), pool[0].float(), pool[1].float(), plan, dim**-0.5
        )
        tolerance = 1e-5 if dtype == torch.float32 else 4e-3
        torch.testing.assert_close(got.float(), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_fused_kernels_equal_their_reference(kernels: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    plain = TorchKernels()
    tolerance = 1e-5 if dtype == torch.float32 else 6e-3

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=DEVICE, dtype=dtype)

    def close(one: torch.Tensor, other: torch.Tensor) -> None:
        torch.testing.assert_close(one.float(), other.float(), atol=tolerance, rtol=tolerance)

    norms = [Norm(SimpleNamespace(weight=random(96), variance_epsilon=e)) for e in (1e-5, 1e-6)]
    hidden, change = random(5, 96), random(5, 96)
    for inner in (norms[0], None):
        for one, other in zip(
            kernels.add_norms(hidden, change, inner, norms[1]),
            plain.add_norms(hidden, change, inner, norms[1]),
            strict=True,
        ):
            close(one, other)
    gate_up = random(5, 3_000)
    close(kernels.gate(gate_up, torch.nn.SiLU()), plain.gate(gate_up, torch.nn.SiLU()))
    angles = torch.randn(5, 8, device=DEVICE)
    turns = torch.polar(torch.ones_like(angles), angles).unsqueeze(1)
    places = torch.randperm(50, device=DEVICE)[:5]
    for turned in (Turns(turns), Turns(turns, halves=True), None):
        heads, pool = random(5, 8, 32), random(2, 2, 50, 32)
        other_heads, other_pool = heads.clone(), pool.clone()
        kernels.rotate_and_store(heads, turned, places, pool[0], pool[1])
        plain.rotate_and_store(other_heads, turned, places, other_pool[0], other_pool[1])
        close(heads, other_heads)
        close(pool, other_pool)


def test_engine_logits_equal_the_librarys(folder: Path, kernels: Any) -> None:
    """Mixed and decode-only steps, shared prefixes, several batch sizes, graphs on CUDA."""
    torch.backends.cuda.matmul.allow_tf32 = False
    reader = load_reader(folder, device=DEVICE, dtype="float32", packed=False)
    for buffers in ("none", "graphs" if CUDA else "plain"):
        backend = Backend(kernels=kernels, splits=True, buffers=buffers)
        assert compare(reader, backend) < (1e-4 if not CUDA else 1e-3)


def compare(reader: Reader, backend: Backend) -> float:
    rng = np.random.default_rng(1)
    pages = [np.where(rng.random((84, 84)) > 0.2, 255, 0).astype(np.uint8) for _ in range(4)]
    drive = Drive(
        reader,
        EngineSettings(kv_bytes=16 << 20, prefill_tokens=24, max_slots=5, self_test=False),
        backend,
    )
    asked = {}
    for number in range(6 if CUDA else 3):
        chosen = pages[:2] if number % 2 else pages[1:]
        answer = rng.integers(16, 100, size=3 + number).tolist()
        name = f"q{number}"
        request = AnswerRequest(
            sequence_id=name,
            pages=page_inputs(chosen, f"d{number % 2}"),
            question=f"what {number}?",
            max_new_tokens=len(answer) + 1,
        )
        asked[name] = (chosen, request.question, answer)
        drive.add(request, chosen, [*answer, 20])
    drive.finish()
    worst = 0.0
    for name, (chosen, question, answer) in asked.items():
        expected = library_logits(reader, chosen, question, answer).float().cpu()
        worst = max(worst, (torch.stack(drive.logits[name]) - expected).abs().max().item())
    return worst


@pytest.mark.skipif(not CUDA, reason="needs a CUDA device")
def test_every_backend_passes_the_self_test_in_sixteen_bit(folder: Path) -> None:
    for dtype in ("float16", "bfloat16"):
        reader = load_reader(folder, device="cuda", dtype=dtype)
        for backend in candidates(reader, EngineSettings()):
            self_test(reader, EngineSettings(), backend)


def test_pieces_cover_every_key_once() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        num_rows = int(rng.integers(1, 20))
        groups, row = [], 0
        while row < num_rows:
            count = int(rng.integers(1, num_rows - row + 1))
            low = int(rng.integers(0, 5_000))
            groups.append(Group(row, count, ((low, low + int(rng.integers(1, 90_000))),)))
            row += count
        table = cut_pieces(groups, num_rows)
        assert table is not None
        assert table.pieces.shape[1] == MAX_PIECES
        for group in groups:
            for row in range(group.first, group.first + group.count):
                mine = table.row_pieces[table.row_starts[row] : table.row_starts[row + 1]]
                seen = sorted((int(table.pieces[2, p]), int(table.pieces[3, p])) for p in mine)
                assert seen[0][0] == group.extents[0][0]
                assert seen[-1][1] == group.extents[0][1]
                assert all(a[1] == b[0] for a, b in itertools.pairwise(seen))
                assert all(
                    0 <= row - table.pieces[0, p] < table.pieces[1, p] <= table.tile for p in mine
                )
