"""At load: does this engine, on this device, compute what the library computes? Else do not serve.

Two questions on a small document go through the real scheduler, runner and pool, so that prefill in
chunks, a shared prefix and grouped decoding are all in it. Their answers are forced, so that a
wrong logit cannot hide behind the tokens that follow it. Then every program that a decode step may
take, by batch size and tile, is compared with plain torch on the same keys.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from glyph_worker.engine.backend import TORCH, Backend, Refusal, choices
from glyph_worker.engine.core import EngineCore
from glyph_worker.engine.graphs import DecodeRows
from glyph_worker.engine.kv import KVPool
from glyph_worker.engine.pieces import Group, cut_pieces
from glyph_worker.engine.sequence import AnswerRequest, FinishReason, PageInput, Sequence
from glyph_worker.engine.step_inputs import decode_step
from glyph_worker.errors import ModelUnusable
from glyph_worker.model.half_precision import TOLERANCE
from glyph_worker.model.kernels import TorchKernels
from glyph_worker.model.library import (
    PROBE_ANSWER,
    PROBE_QUESTIONS,
    probe_pages,
    probe_reference,
)
from glyph_worker.model.processor import Page
from glyph_worker.model.reader import Reader
from glyph_worker.model.toolchain import toolchain_fault
from glyph_worker.setting_sections import EngineSettings

TOLERANCES = {"float32": 2e-3, "float16": 2 * TOLERANCE, "bfloat16": 16 * TOLERANCE}
"""Largest difference of a logit, in standard deviations of the library's logits, by the dtype of
activations. Twice the root mean square's, because every single logit counts; bfloat16 has three
bits less than float16. With 8-bit weights the library's forward
has the same ones."""
POOL_TOKENS = 4_096
SHARED_TOKENS, OWN_TOKENS = 200, 5
"""Keys that a made-up group of rows shares, and that each row has of its own."""


class Drive:
    """Runs sequences through a core in this thread and keeps the logits of each of their tokens."""

    def __init__(self, reader: Reader, settings: EngineSettings, backend: Backend = TORCH) -> None:
        self.core = EngineCore(reader, settings, settle=self._settle, backend=backend)
        self.core.runner.observe = self._observe
        self.logits: dict[str, list[Tensor]] = {}
        self.ended: dict[str, FinishReason | Exception | None] = {}
        self._pages: dict[str, list[Page]] = {}

    def _observe(self, askers: list[Sequence], logits: Tensor) -> None:
        for live, row in zip(askers, logits, strict=True):
            self.logits.setdefault(live.request.sequence_id, []).append(row.float().cpu().clone())

    def _settle(self, live: Sequence, reason: FinishReason | None, error: Exception | None) -> None:
        self.ended[live.request.sequence_id] = error or reason

    def add(self, request: AnswerRequest, pages: list[Page], forced: list[int] | None) -> None:
        """Queue a question on these pages."""
        live = self.core.entry.make(request, now=0.0, dtype_group=self.core.reader.dtype_name)
        live.forced = forced
        self._pages[request.sequence_id] = pages
        self.core.add(live)

    def step(self) -> bool:
        """One step, with the features it wants brought first. False when there was nothing."""
        step = self.core.plan()
        for live in self.core.live.values():
            wanted = self.core.scheduler.next_fetch(live.scheduled)
            if wanted:
                pages = self._pages[live.request.sequence_id]
                features = self.core.reader.encode_pages([pages[index] for index in wanted])
                self.core.scheduler.delivered(live.scheduled, wanted)
                live.features.update(zip(wanted, features, strict=True))
        self.core.compute(step)
        self.core.commit(step, 0.0)
        return bool(self.core.live)

    def finish(self) -> None:
        while self.step():
            pass


def page_inputs(pages: list[Page], name: str) -> tuple[PageInput, ...]:
    """What the engine is told of pages; `name` must tell their pixels apart."""
    return tuple(
        PageInput(digest=f"{name}/{index}", width=page.shape[1], height=page.shape[0])
        for index, page in enumerate(pages)
    )


def choose_backend(reader: Reader, settings: EngineSettings) -> tuple[Backend, list[Refusal]]:
    """The fastest backend that computes what the library computes, and why not each faster one.

    Raises ModelUnusable when none does. With the self-test off the first candidate is taken.
    """
    found, refusals = choices(reader, settings)
    if not settings.self_test:
        return found[0], refusals
    for backend in found[:-1]:
        try:
            self_test(reader, settings, backend)
        except Exception as exc:  # noqa: BLE001  a kernel may fail in any way on a new device
            cause = toolchain_fault() if reader.device.type == "cuda" else None
            refusals.append(Refusal(what=backend.name, reason=cause or _short(exc)))
        else:
            return backend, refusals
    self_test(reader, settings, found[-1])
    return found[-1], refusals


def _short(exc: BaseException) -> str:
    """Its type and message on one line: compilers' messages have pages."""
    return f"{type(exc).__name__}: {' '.join(str(exc).split())}"[:400]


def self_test(reader: Reader, settings: EngineSettings, backend: Backend = TORCH) -> float:
    """Largest difference found, in standard deviations. Raises ModelUnusable over the tolerance."""
    pages = probe_pages(reader)
    language = reader.language
    per_token = KVPool.bytes_per_token(
        num_layers=language.num_layers,
        num_kv_heads=language.num_kv_heads,
        head_dim=language.head_dim,
        dtype=reader.dtype,
    )
    small = settings.model_copy(
        update={
            "kv_bytes": (POOL_TOKENS + settings.max_slots * OWN_TOKENS) * per_token,
            "kv_host_bytes": 0,
            "window_tokens": 0,
            "prefill_tokens": 24,
            "finite_guard": False,
        }
    )
    drive = Drive(reader, small, backend)
    drive.core.warm_up()
    for question in PROBE_QUESTIONS:
        request = AnswerRequest(
            sequence_id=question,
            pages=page_inputs(pages, "self-test"),
            question=question,
            max_new_tokens=len(PROBE_ANSWER) + 1,
            max_thinking_tokens=0,  # or each alone would take the whole pool
        )
        drive.add(request, pages, [*PROBE_ANSWER, 0])
    drive.finish()
    worst = 0.0
    for question, expected in probe_reference(reader).items():
        if question not in drive.logits:
            raise ModelUnusable(f"self-test: {drive.ended.get(question)!r}")
        found = torch.stack(drive.logits[question])
        spread = expected.std().item() or 1.0
        worst = max(worst, ((found - expected).abs().max() / spread).item())
    _expect(worst, reader.dtype_name, "logits differ from the library's")
    check_programs(drive.core)
    return worst


def _expect(difference: float, dtype: str, what: str) -> None:
    if not difference <= TOLERANCES[dtype]:  # also when it is NaN
        raise ModelUnusable(
            f"self-test: {what} by {difference:.3g} standard deviations, "
            f"{TOLERANCES[dtype]} allowed in {dtype}; try GLYPH_ENGINE_ATTENTION=torch, "
            "GLYPH_OFF=compile,cuda_graphs, and report it",
            difference=difference,
            tolerance=TOLERANCES[dtype],
        )


@torch.inference_mode()
def check_programs(core: EngineCore) -> None:
    """Every batch size and tile of every dtype group against plain torch, on made-up keys.

    Writes over the pool. Raises ModelUnusable.
    """
    language = core.reader.language
    for dtype, graphs in core.runner.graphs.items():
        name = str(dtype).removeprefix("torch.")
        pool = core.kv.view(dtype)
        noise = torch.Generator(device=pool.device).manual_seed(0)
        for size, tile in graphs.programs:
            pool[:, :, :, : SHARED_TOKENS + size * OWN_TOKENS].normal_(generator=noise)
            rows = _made_rows(size, tile, language.vocab_size)
            found = graphs.run(rows).float()
            language.kernels = TorchKernels()
            try:
                expected = language.forward(decode_step(language, rows, dtype), pool).float()
            finally:
                language.kernels = core.backend.kernels
            difference = ((found - expected).abs().max() / expected.std()).item()
            _expect(difference, name, f"{size} rows in tiles of {tile} differ from plain torch's")


def _made_rows(size: int, tile: int, vocab: int) -> DecodeRows:
    """Rows in groups of `tile` on shared keys, each with some of its own."""
    own = [SHARED_TOKENS + row * OWN_TOKENS for row in range(size)]
    groups = [Group(first, tile, ((0, SHARED_TOKENS),)) for first in range(0, size, tile)]
    groups += [Group(row, 1, ((start, start + OWN_TOKENS),)) for row, start in enumerate(own)]
    table = cut_pieces(groups, size, max_tile=tile)
    assert table is not None
    assert table.tile == tile
    return DecodeRows(
        token_ids=np.arange(size, dtype=np.int64) * 7 % vocab,
        positions=np.arange(size, dtype=np.int32) + SHARED_TOKENS,
        places=np.array(own, dtype=np.int64) + OWN_TOKENS - 1,
        table=table,
    )
