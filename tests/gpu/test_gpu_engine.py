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
from synthetic.checkpoints import SHAPES, write_checkpoint

from glyph_worker.engine import graphs as engine_graphs
from glyph_worker.engine import pieces as engine_pieces
from glyph_worker.engine.backend import Backend, candidates
from glyph_worker.engine.host_tier import HostTier
from glyph_worker.engine.pieces import Group, cut_pieces
from glyph_worker.engine.prefix import Move, MoveKind
from glyph_worker.engine.selftest import Drive, page_inputs, self_test
from glyph_worker.engine.sequence import AnswerRequest
from glyph_worker.model.attention import AttentionPlan, Splits
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.int8 import quantised
from glyph_worker.model.kernels import HeadNorms, TorchKernels, Turns
from glyph_worker.model.library import library_logits
from glyph_worker.model.linear import widened
from glyph_worker.model.norms import Norm
from glyph_worker.model.reader import Reader
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
    # Interpreted, each layer more is the same kernels on the same shapes, seconds later.
    fewer = {} if CUDA else {"num_hidden_layers": 2}
    shape = {**SHAPES["tiny"], "text": {**SHAPES["tiny"]["text"], **fewer}}
    return write_checkpoint(tmp_path_factory.mktemp("tiny"), shape)


@pytest.fixture(scope="module")
def kernels() -> Any:
    return pytest.importorskip("glyph_worker.model.kernels_triton").TritonKernels()


@pytest.fixture(autouse=True)
def _few_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter takes each empty place of a step's table for a program to be run."""
    if not CUDA:
        for module in (engine_pieces, engine_graphs):
            monkeypatch.setattr(module, "MAX_PIECES", 40)
            monkeypatch.setattr(module, "MAX_ENTRIES", 160)


def norm_of(weight: torch.Tensor, eps: float = 1e-5) -> Norm:
    return Norm(SimpleNamespace(weight=weight, variance_epsilon=eps))


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
    for num_rows in (1, 3, 9) if CUDA else (1, 5):
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

    norms = [norm_of(random(96), eps) for eps in (1e-5, 1e-6)]
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
        for head_norms in (None, HeadNorms(*(norm_of(random(32)) for _ in range(2)))):
            heads, pool = random(5, 8, 32), random(2, 2, 50, 32)
            other_heads, other_pool = heads.clone(), pool.clone()
            kernels.rotate_and_store(heads, head_norms, turned, places, pool[0], pool[1])
            plain.rotate_and_store(
                other_heads, head_norms, turned, places, other_pool[0], other_pool[1]
            )
            close(heads, other_heads)
            close(pool, other_pool)


def test_norms_of_another_dtype_serve_a_group_that_has_none(kernels: Any) -> None:
    """The bfloat16 group reads the weights of float16: here float32 reads those of float16."""
    hidden, change = torch.randn(5, 96, device=DEVICE), torch.randn(5, 96, device=DEVICE)
    norms = [norm_of(torch.randn(96, device=DEVICE).half()) for _ in range(2)]
    for one, other in zip(
        kernels.add_norms(hidden, change, *norms),
        TorchKernels().add_norms(hidden, change, *norms),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


# Triton's interpreter multiplies no bfloat16: compiled it is, in test_gpu_compile, and run on CUDA.
FORMATS = [(torch.float16, torch.int8), (torch.float32, torch.int8), (torch.float32, torch.float16)]
if CUDA:
    FORMATS += [(torch.bfloat16, torch.float16), (torch.bfloat16, torch.int8)]


@pytest.mark.parametrize(("dtype", "narrow"), FORMATS)
def test_products_of_two_formats_equal_their_reference(
    kernels: Any, dtype: torch.dtype, narrow: torch.dtype
) -> None:
    torch.manual_seed(0)
    for num_rows, num_outputs in ((1, 50), (16, 33), (40, 70), (70, 50)):
        x = torch.randn(num_rows, 150, device=DEVICE, dtype=dtype)
        weight = torch.randn(num_outputs, 150, device=DEVICE)
        bias = torch.randn(num_outputs, device=DEVICE).half() if num_rows > 1 else None
        scale = None
        if narrow == torch.int8:
            weight, scale = quantised(weight)
        got = kernels.mixed_linear(x, weight.to(narrow), scale, bias).float()
        exact = widened(x.double(), weight.to(narrow), scale, bias).float()
        tolerance = {torch.float32: 1e-4, torch.float16: 4e-2, torch.bfloat16: 4e-1}[dtype]
        torch.testing.assert_close(got, exact, atol=tolerance, rtol=0)


def test_engine_logits_equal_the_librarys(folder: Path, kernels: Any) -> None:
    """Mixed and decode-only steps, shared prefixes, several batch sizes, graphs on CUDA."""
    torch.backends.cuda.matmul.allow_tf32 = False
    reader = load_reader(folder, device=DEVICE, dtype="float32", packed=False)
    small = load_reader(folder, device=DEVICE, dtype="float32", int8=True)
    # One question is prefilled by chunks and decoded: all products of 8 bits there are.
    asked = 6 if CUDA else 1
    assert compare(small, Backend(kernels=kernels, splits=True, buffers="none"), asked) < 1e-3
    for buffers in ("none", "graphs") if CUDA else ("plain",):
        backend = Backend(kernels=kernels, splits=True, buffers=buffers)
        assert compare(reader, backend, 6 if CUDA else 2) < (1e-4 if not CUDA else 1e-3)


def compare(reader: Reader, backend: Backend, num_questions: int) -> float:
    """Largest difference of a logit from the library's."""
    rng = np.random.default_rng(1)
    pages = [np.where(rng.random((84, 84)) > 0.2, 255, 0).astype(np.uint8) for _ in range(4)]
    drive = Drive(
        reader,
        EngineSettings(
            kv_bytes=16 << 20, prefill_tokens=24, max_slots=5 if CUDA else 2, self_test=False
        ),
        backend,
    )
    asked = {}
    for number in range(num_questions):
        chosen = pages[:2] if number % 2 else pages[1:]
        answer = rng.integers(16, 100, size=(3 if CUDA else 1) + number).tolist()
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
def test_nothing_is_captured_or_compiled_after_warm_up(folder: Path) -> None:
    """Also of the bfloat16 group, which answers as fast as the other."""
    reader = load_reader(folder, device="cuda", dtype="float16")
    [backend, *_] = candidates(reader, EngineSettings())
    core = Drive(reader, EngineSettings(kv_bytes=64 << 20), backend).core
    core.warm_up()
    counts = {dtype: graphs.num_graphs for dtype, graphs in core.runner.graphs.items()}
    assert set(counts) == {torch.float16, torch.bfloat16}
    for dtype, graphs in core.runner.graphs.items():
        assert counts[dtype] == len(graphs.programs)


@pytest.mark.skipif(not CUDA, reason="needs a CUDA device")
def test_keys_survive_the_way_to_the_host_and_back() -> None:
    pool = torch.randn(3, 2, 2, 400, 64, device="cuda", dtype=torch.float16)
    tier = HostTier(pool, block_tokens=1, num_blocks=200)
    before = pool.clone()
    tier.carry_out([Move(MoveKind.OFFLOAD, ((10, 150),), ((20, 150),))])
    pool.zero_()  # on the engine's stream: after the gathering, whatever the bus does
    tier.carry_out([Move(MoveKind.RESTORE, ((200, 150),), ((20, 150),))])
    assert torch.equal(pool[:, :, :, 200:350], before[:, :, :, 10:160])


@pytest.mark.skipif(not CUDA, reason="needs a CUDA device")
def test_every_backend_passes_the_self_test_in_sixteen_bit(folder: Path) -> None:
    for dtype in ("float16", "bfloat16"):
        reader = load_reader(folder, device="cuda", dtype=dtype)
        for backend in candidates(reader, EngineSettings()):
            self_test(reader, EngineSettings(), backend)


def test_pieces_cover_every_key_once() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        num_rows = int(rng.integers(1, 20 if CUDA else 4))
        groups, row = [], 0
        while row < num_rows:
            count = int(rng.integers(1, num_rows - row + 1))
            low = int(rng.integers(0, 5_000))
            groups.append(Group(row, count, ((low, low + int(rng.integers(1, 90_000))),)))
            row += count
        table = cut_pieces(groups, num_rows)
        assert table is not None
        assert table.pieces.shape[1] == engine_pieces.MAX_PIECES
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
