"""Parity and speed of the engine on CUDA, in one call under eight minutes, without any queue.

The real 9 B shape with random weights: what each optimisation gains over the library's float32
`generate`, row by row; decoding against the bandwidth roofline, vision and prefill against the
measured matrix rate, documents of 10, 50 and 100 pages under 1, 5 and 16 questions; and the real
Engine with its threads and feature cache: pages of several heights, the host tier, the bfloat16
group, 8-bit weights, a cap of 24 GB.
Usage: ops/bench/gpu [--quick] [--json PATH] [--shape 9b|small|tiny] [--budget SECONDS]
[--only SECTION,…] [--skip SECTION,…]. `--quick` runs everything with tiny shapes on any device, to
prove that it runs. The file of `--json` is written anew after every section.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from synthetic.checkpoints import make_reader

from bench import gpu_service
from bench.gpu_service import Load
from bench.machine import commit, device_name, publish
from glyph_worker.engine.backend import TORCH, Backend, candidates
from glyph_worker.engine.scheduled import SequenceState
from glyph_worker.engine.selftest import Drive, page_inputs, self_test
from glyph_worker.engine.sequence import AnswerRequest
from glyph_worker.model.checkpoint import prepare_cuda
from glyph_worker.model.library import library_prompt
from glyph_worker.model.processor import Page
from glyph_worker.model.reader import Reader
from glyph_worker.setting_sections import EngineSettings

PAGE = (840, 588)
"""Height and width in pixels of a 72 dpi page as the model sees it: 630 visual tokens."""


@dataclass
class Peak:
    """GB, once it is known."""

    gb: float | None = None


@dataclass
class Bench:
    """Options, clock and what was found so far."""

    device: str
    shape: str
    quick: bool
    budget_s: float
    only: frozenset[str] = frozenset()
    skip: frozenset[str] = frozenset()
    json: Path | None = None
    started: float = field(default_factory=time.perf_counter)
    facts: dict[str, Any] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    @property
    def cuda(self) -> bool:
        return self.device == "cuda"

    @property
    def dtype(self) -> torch.dtype:
        return torch.float16 if self.cuda else torch.float32

    def section(self, name: str, work: Callable[[], Any]) -> Any:
        """Run one part unless time is over; a part that fails is told and does not end the run."""
        if name in self.skip or (self.only and name not in self.only):
            return None
        if time.perf_counter() - self.started > self.budget_s:
            self.skipped.append(f"{name}: over the budget of {self.budget_s:.0f} s")
            return None
        begin = time.perf_counter()
        try:
            self.found[name] = work()
        except Exception as exc:  # noqa: BLE001
            traceback.print_exc()
            self.skipped.append(f"{name}: {exc!r}"[:300])
            self.found[name] = None
        self.sync()
        print(f"{name} ({time.perf_counter() - begin:.1f} s): {self.found[name]}", flush=True)
        self.free()
        self.write()
        return self.found[name]

    def write(self) -> None:
        if self.json is not None:
            self.json.write_text(json.dumps(make_report(self), indent=1) + "\n")

    def sync(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    @contextmanager
    def peak_beyond(self, reader: Reader) -> Iterator[Peak]:
        """What the device held at most meanwhile, less the weights; None where nobody counts it."""
        peak = Peak()
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        yield peak
        if self.cuda:
            most = torch.cuda.max_memory_allocated() - reader.weights_bytes
            peak.gb = round(most / 1e9, 3)

    def free(self) -> None:
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()

    def time(self, work: Callable[[], Any], *, repeats: int = 5, warm: int = 2) -> float:
        """Median seconds of one call, device included."""
        for _ in range(warm):
            work()
        seconds = []
        for _ in range(repeats):
            self.sync()
            begin = time.perf_counter()
            work()
            self.sync()
            seconds.append(time.perf_counter() - begin)
        return statistics.median(seconds)


# -- the device -------------------------------------------------------------------------------


def measure_device(bench: Bench) -> dict[str, float]:
    """Bandwidth of a large copy and rate of a large product, in the model's dtype."""
    size = 1 << (30 if bench.cuda else 24)
    source = torch.empty(size, dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    copy_s = bench.time(lambda: target.copy_(source))
    side = 8_192 if bench.cuda else 512
    a = torch.randn(side, side, device=bench.device, dtype=bench.dtype)
    product_s = bench.time(lambda: a @ a)
    return {
        "bandwidth_gb_s": round(2 * size / copy_s / 1e9, 1),
        "matrix_tflop_s": round(2 * side**3 / product_s / 1e12, 3),
    }


# -- driving the engine -----------------------------------------------------------------------


def make_pages(seed: int, count: int, size: tuple[int, int]) -> list[Page]:
    rng = np.random.default_rng(seed)
    return [np.where(rng.random(size) > 0.1, 255, 0).astype(np.uint8) for _ in range(count)]


class KeptFeatures:
    """Random features in place of the vision tower, for parts that measure something else."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def encode_pages(self, pages: Sequence[Page]) -> list[torch.Tensor]:
        reader = self._reader
        return [
            torch.randn(
                reader.num_visual_tokens(page.shape[1], page.shape[0]),
                reader.hidden_size,
                device=reader.device,
                dtype=reader.dtype,
            )
            for page in pages
        ]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


def settings_of(bench: Bench, **changes: Any) -> EngineSettings:
    base: dict[str, Any] = {"self_test": False, "max_slots": 16, "compile": False}
    if not bench.cuda:
        base["kv_bytes"] = 64 << 20
    return EngineSettings.model_validate(base | changes)


def ask(drive: Drive, name: str, document: str, pages: list[Page], num_tokens: int) -> None:
    request = AnswerRequest(
        sequence_id=name,
        pages=page_inputs(pages, document),
        question=f"What does line {sum(name.encode()) % 90 + 10} say?",
        max_new_tokens=num_tokens,
    )
    drive.add(request, pages, [20 + i % 60 for i in range(num_tokens)])


def all_decoding(drive: Drive) -> bool:
    live = drive.core.live.values()
    return bool(live) and all(s.scheduled.state is SequenceState.DECODING for s in live)


# -- parity -----------------------------------------------------------------------------------


def parity(bench: Bench, folder: str) -> dict[str, Any]:
    """Largest logit difference from the library's forward, in its standard deviations."""
    out: dict[str, Any] = {}
    dtypes = [torch.float32] + ([torch.float16, torch.bfloat16] if bench.cuda else [])
    for dtype in dtypes:
        reader = make_reader("tiny", folder, device=bench.device, dtype=dtype)
        for backend in candidates(reader, EngineSettings()):
            name = f"tiny {reader.dtype_name} {backend.name}"
            try:
                out[name] = self_test(reader, EngineSettings(), backend)
            except Exception as exc:  # noqa: BLE001
                out[name] = repr(exc)[:200]
    return out


def parity_at_size(bench: Bench, reader: Reader) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for backend in candidates(reader, EngineSettings()):
        try:
            out[backend.name] = self_test(reader, EngineSettings(), backend)
        except Exception as exc:  # noqa: BLE001
            out[backend.name] = repr(exc)[:200]
    return out


# -- vision and prefill -----------------------------------------------------------------------


def vision_flops(reader: Reader, pages: Sequence[Page]) -> float:
    """Multiply-adds times two of the tower's matrices and attention."""
    config, total = reader.model.config.vision_config, 0.0
    h, out, wide = config.hidden_size, config.out_hidden_size, config.intermediate_size
    for page in pages:
        rows, columns = reader.processor.grid(page.shape[1], page.shape[0])
        n = rows * columns
        block = 4 * h * h + 3 * h * out
        total += 2 * n * (config.depth * block + h * config.patch_size**2)
        total += 4 * n * n * h * config.depth
        total += 2 * (n / 4) * (4 * h * out + out * out + 3 * out * wide)
    return total


def vision_rate(bench: Bench, reader: Reader, matrix_tflop_s: float) -> dict[str, Any]:
    size = PAGE if bench.cuda else (112, 84)
    out: dict[str, Any] = {}
    for count in (1, 4, 8) if bench.cuda else (1, 2):
        pages = make_pages(count, count, size)
        seconds = bench.time(partial(reader.encode_pages, pages))
        rate = vision_flops(reader, pages) / seconds / 1e12
        out[str(count)] = {
            "ms_per_page": round(seconds * 1e3 / count, 2),
            "tflop_s": round(rate, 2),
            "of_matrix_rate": round(rate / matrix_tflop_s, 3),
        }
    return out


def language_flops(reader: Reader, num_tokens: int, before: int = 0) -> float:
    """Prefill of `num_tokens` after `before`: matrices twice, causal attention."""
    language, config = reader.language, reader.model.config.text_config
    h, d = language.hidden_size, language.head_dim
    per_layer = h * (language.num_heads + 2 * language.num_kv_heads) * d
    per_layer += language.num_heads * d * h + 3 * h * config.intermediate_size
    attention = 4 * language.num_heads * d * (num_tokens * before + num_tokens**2 / 2)
    return float(language.num_layers * (2 * per_layer * num_tokens + attention))


# -- documents --------------------------------------------------------------------------------


def document_table(
    bench: Bench, reader: Reader, backend: Backend, matrix_tflop_s: float
) -> dict[str, Any]:
    """Prefill rate, first tokens and milliseconds a decode step, grouped and not."""
    sizes, questions = ((10, 50, 100), (1, 5, 16)) if bench.cuda else ((2, 3), (1, 2))
    size = PAGE if bench.cuda else (84, 84)
    out: dict[str, Any] = {}
    for num_pages in sizes:
        if time.perf_counter() - bench.started > bench.budget_s:
            bench.skipped.append(f"documents of {num_pages} pages: over the budget")
            continue
        drive = Drive(reader, settings_of(bench), backend)
        drive.core.reader = KeptFeatures(reader)  # type: ignore[assignment]
        pages = make_pages(num_pages, num_pages, size)
        bench.sync()
        begin = time.perf_counter()
        ask(drive, "first", "d", pages, 1)
        drive.finish()
        bench.sync()
        first_s = time.perf_counter() - begin
        begin = time.perf_counter()
        ask(drive, "second", "d", pages, 1)
        drive.finish()
        bench.sync()
        follow_s = time.perf_counter() - begin
        num_tokens = sum(
            reader.num_visual_tokens(page.shape[1], page.shape[0]) + 2 for page in pages
        )
        rate = language_flops(reader, num_tokens) / first_s / 1e12
        row: dict[str, Any] = {
            "prefix_tokens": num_tokens,
            "first_token_s": round(first_s, 3),
            "prefill_tflop_s": round(rate, 2),
            "prefill_of_matrix_rate": round(rate / matrix_tflop_s, 3),
            "follow_up_first_token_s": round(follow_s, 4),
            "step_ms": {},
        }
        for count in questions:
            for grouped in (True, False):
                drive.core.runner.inputs.grouped = grouped
                for number in range(count):
                    ask(drive, f"{count}/{number}/{grouped}", "d", pages, 40)
                step = decode_step_s(bench, drive)
                drive.finish()
                name = "grouped" if grouped else "ungrouped"
                row["step_ms"].setdefault(str(count), {})[name] = round(step * 1e3, 3)
        out[str(num_pages)] = row
        del drive
        bench.free()
    return out


def decode_step_s(bench: Bench, drive: Drive) -> float:
    """Median seconds of a decode-only step, host work included."""
    while not all_decoding(drive):
        drive.step()
    for _ in range(4):
        drive.step()
    seconds: list[float] = []
    while all_decoding(drive) and len(seconds) < 20:
        bench.sync()
        begin = time.perf_counter()
        drive.step()
        bench.sync()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def decode_roofline(
    bench: Bench, reader: Reader, backend: Backend, bandwidth_gb_s: float
) -> dict[str, Any]:
    """Bytes a step must read (matrices once, keys once) over its time, against the bandwidth."""
    language = reader.language
    matrices = reader.weights_bytes - sum(
        w.numel() * w.element_size() for w in reader.model.model.visual.parameters()
    )
    matrices -= language.parts.embed.nbytes
    out: dict[str, Any] = {}
    size = PAGE if bench.cuda else (84, 84)
    for count in (1, 8, 16, 32) if bench.cuda else (1, 2):
        drive = Drive(reader, settings_of(bench, max_slots=count), backend)
        drive.core.reader = KeptFeatures(reader)  # type: ignore[assignment]
        pages = make_pages(0, 1, size)
        for number in range(count):
            ask(drive, str(number), "d", pages, 40)
        step = decode_step_s(bench, drive)
        keys = drive.core.bytes_per_token * (
            reader.num_visual_tokens(size[1], size[0]) + count * 50
        )
        out[str(count)] = {
            "step_ms": round(step * 1e3, 3),
            "answer_tokens_s": round(count / step, 1),
            "of_roofline": round((matrices + keys) / step / 1e9 / bandwidth_gb_s, 3),
        }
        drive.finish()
        del drive
        bench.free()
    return out


# -- one optimisation after the other ---------------------------------------------------------


@torch.inference_mode()
def library_jobs_per_s(
    bench: Bench, reader: Reader, pages: list[Page], num_tokens: int, jobs: int
) -> float:
    """The library's `generate`, one job at a time, pages encoded each time."""

    def one(number: int) -> None:
        prompt = library_prompt(reader, pages, f"What does line {number + 10} say?")
        reader.model.generate(
            input_ids=prompt.input_ids,
            mm_token_type_ids=prompt.mm_token_type_ids,
            attention_mask=torch.ones_like(prompt.input_ids),
            pixel_values=prompt.pixel_values.to(reader.dtype),
            image_grid_thw=prompt.image_grid_thw,
            min_new_tokens=num_tokens,
            max_new_tokens=num_tokens,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )

    one(0)
    bench.sync()
    begin = time.perf_counter()
    for number in range(jobs):
        one(number + 1)
    bench.sync()
    return jobs / (time.perf_counter() - begin)


def engine_jobs_per_s(
    bench: Bench,
    reader: Reader,
    backend: Backend,
    documents: list[list[Page]],
    num_questions: int,
    num_tokens: int,
    **settings: Any,
) -> float:
    """All jobs handed in at once, pages encoded by the vision tower, empty caches."""
    drive = Drive(reader, settings_of(bench, **settings), backend)
    ask(drive, "warm", "warm", documents[0][:1], 4)
    drive.finish()
    bench.sync()
    begin = time.perf_counter()
    for document, pages in enumerate(documents):
        for number in range(num_questions):
            ask(drive, f"{document}/{number}", f"d{document}", pages, num_tokens)
    drive.finish()
    bench.sync()
    return len(documents) * num_questions / (time.perf_counter() - begin)


def ladder(bench: Bench, reader: Reader, folder: str, fast: list[Backend]) -> dict[str, Any]:
    """The article's table: jobs per second with one more optimisation on each line, over the line
    before and over the initial state; negative results stay in."""
    initial = (bench.found.get("naive_float32") or {}).get("jobs_s")
    pages_each, num_questions, num_tokens = (10, 8, 32) if bench.cuda else (2, 2, 4)
    size = PAGE if bench.cuda else (84, 84)
    documents = [make_pages(50 + d, pages_each, size) for d in range(4 if bench.cuda else 2)]
    out: dict[str, Any] = {}

    def line(name: str, work: Callable[[], float]) -> None:
        if time.perf_counter() - bench.started > bench.budget_s:
            bench.skipped.append(f"ladder, {name}: over the budget")
            return
        try:
            with bench.peak_beyond(reader) as peak:
                jobs_s = round(work(), 4)
            rows = [row["jobs_s"] for row in out.values()]
            out[name] = {
                "jobs_s": jobs_s,
                "of_row_before": round(jobs_s / rows[-1], 2) if rows else None,
                "of_initial_state": round(jobs_s / initial, 2) if initial else None,
                "beyond_weights_gb": peak.gb,
            }
        except Exception as exc:  # noqa: BLE001
            traceback.print_exc()
            bench.skipped.append(f"ladder, {name}: {exc!r}"[:300])
        bench.free()
        print(f"  {name}: {out.get(name)}", flush=True)

    line(
        "library float16, one at a time" if bench.cuda else "library, one at a time",
        lambda: library_jobs_per_s(bench, reader, documents[0], num_tokens, 2),
    )

    def run(backend: Backend, questions: int = num_questions, count: int = 4, **more: Any) -> float:
        return engine_jobs_per_s(
            bench, reader, backend, documents[:count], questions, num_tokens, **more
        )

    off = {"prefix_sharing": False, "grouped_decode": False, "affinity": False}
    line("own forward, one at a time", lambda: run(TORCH, 2, 1, max_slots=1, **off))
    line("+ continuous batch of 16", lambda: run(TORCH, 4, 2, **off))
    line(
        "+ shared prefixes",
        lambda: run(TORCH, grouped_decode=False, affinity=False),
    )
    line("+ document affinity", lambda: run(TORCH, grouped_decode=False))
    line("+ grouped decode", lambda: run(TORCH))
    for backend in reversed([b for b in fast if b is not TORCH]):
        line(f"+ {backend.name}", partial(run, backend))
    if bench.cuda:
        reader.vision.compile()
        line("+ compiled vision", lambda: run(fast[0]))
        line("+ batch of 32", lambda: run(fast[0], max_slots=32))
        if reader.vision.refused_compile:
            bench.skipped.append(f"compiled vision: {reader.vision.refused_compile}")
        reader.vision.run_plain()
    return out


def naive(bench: Bench, folder: str) -> dict[str, Any] | None:
    """The article's start: float32, one at a time. Needs four bytes a parameter."""
    pages_each, num_tokens = (10, 32) if bench.cuda else (2, 4)
    size = PAGE if bench.cuda else (84, 84)
    if bench.cuda and bench.shape == "9b":
        free, _ = torch.cuda.mem_get_info()
        if free < 50e9:
            bench.skipped.append(f"naive float32: needs 50 GB free, has {free / 1e9:.0f}")
            return None
    reader = make_reader(bench.shape, folder, device=bench.device, dtype=torch.float32)
    pages = make_pages(50, pages_each, size)
    with bench.peak_beyond(reader) as peak:
        jobs_s = library_jobs_per_s(bench, reader, pages, num_tokens, 1)
    return {"jobs_s": round(jobs_s, 4), "beyond_weights_gb": peak.gb}


# -- the report -------------------------------------------------------------------------------


def make_report(bench: Bench) -> dict[str, Any]:
    found = bench.found
    ratios: dict[str, float] = {}
    roofline = found.get("decode_roofline") or {}
    if roofline:
        ratios["decode_of_bandwidth_roofline"] = max(r["of_roofline"] for r in roofline.values())
    if vision := found.get("vision"):
        ratios["vision_of_matrix_rate"] = max(row["of_matrix_rate"] for row in vision.values())
    documents = found.get("documents") or {}
    if documents:
        ratios["prefill_of_matrix_rate"] = max(
            r["prefill_of_matrix_rate"] for r in documents.values()
        )
        last = list(documents.values())[-1]
        steps = list(last["step_ms"].values())[-1]
        ratios["grouping_gain_longest_document"] = round(steps["ungrouped"] / steps["grouped"], 3)
        ratios["follow_up_first_token"] = round(
            last["follow_up_first_token_s"] / last["first_token_s"], 4
        )
    rows = [*(found.get("ladder") or {}).values()]
    naive_s = (found.get("naive_float32") or {}).get("jobs_s")
    if rows and naive_s:
        ratios["best_vs_naive_float32"] = max(row["of_initial_state"] for row in rows)
    served = found.get("service") or {}
    if served:
        ratios["captured_or_compiled_while_serving"] = (
            served["captured_while_serving"] + served["compiled_while_serving"]
        )
        ratios["first_answer_after_start_s"] = served["first_answer_after_start_s"]
        if naive_s:
            ratios["service_vs_naive_float32"] = round(served["jobs_s"] / naive_s, 2)
            initial_gb = found["naive_float32"]["beyond_weights_gb"]
            if initial_gb:
                memory = served["beyond_weights_gb"] / initial_gb
                ratios["memory_beyond_weights_of_initial"] = round(memory, 3)
    if "ratio" in (found.get("bfloat16_group") or {}):
        ratios["bfloat16_group"] = found["bfloat16_group"]["ratio"]
    if found.get("host_tier"):
        ratios["host_tier_gain"] = found["host_tier"]["gain"]
    targets = {
        "decode_of_bandwidth_roofline": (0.7, True),
        "vision_of_matrix_rate": (0.5, True),
        "prefill_of_matrix_rate": (0.5, True),
        "best_vs_naive_float32": (30.0, True),
        "service_vs_naive_float32": (30.0, True),
        "captured_or_compiled_while_serving": (0, False),
        "memory_beyond_weights_of_initial": (0.4, False),
        "first_answer_after_start_s": (90.0, False),
        "bfloat16_group": (0.9, True),
        "grouping_gain_longest_document": (1.0, True),
        "follow_up_first_token": (0.1, False),
    }
    return {
        "bench": "gpu",
        "commit": commit(),
        "device": device_name("cuda" if bench.cuda else "cpu"),
        "settings": {
            "quick": bench.quick,
            "shape": bench.shape,
            "torch": torch.__version__,
            "seconds": round(time.perf_counter() - bench.started, 1),
            **bench.facts,
        },
        "ratios": ratios,
        "bars": {
            name: {
                "value": ratios[name],
                "target": target,
                "met": ratios[name] >= target if more else ratios[name] <= target,
            }
            for name, (target, more) in targets.items()
            if name in ratios
        },
        "found": found,
        "skipped": bench.skipped,
        "spread": {},
    }


# -- through the real engine --------------------------------------------------------------------


def load_of(bench: Bench, **changes: Any) -> Load:
    """Jobs as they come: heights differ, for pages are cropped to their text."""
    heights = (840, 560, 308, 84) if bench.cuda else (84, 56, 112)
    sizes: dict[str, Any] = {
        "documents": 4 if bench.cuda else 2,
        "pages": 10 if bench.cuda else 2,
        "questions": 8 if bench.cuda else 2,
        "tokens": 32 if bench.cuda else 3,
        "heights": heights,
        "width": 588 if bench.cuda else 84,
    }
    return Load(**(sizes | changes))


def capped_service(bench: Bench, folder: str) -> dict[str, Any]:
    """8-bit weights within 24 GiB of the device, whatever it has."""
    cap = 24 << 30
    if bench.cuda:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, cap / total))
    try:
        reader = make_reader(bench.shape, folder, device=bench.device, dtype=bench.dtype, int8=True)
        kv_bytes = 6 << 30 if bench.cuda else 64 << 20
        found = gpu_service.service(reader, serving(bench, kv_bytes=kv_bytes), load_of(bench))
        return found | {"weights_gb": round(reader.weights_bytes / 1e9, 2), "cap_gb": cap / 1e9}
    finally:
        if bench.cuda:
            torch.cuda.set_per_process_memory_fraction(1.0)


def serving(bench: Bench, **changes: Any) -> EngineSettings:
    """As a worker has them: compiled, captured, tested."""
    return settings_of(bench, compile=True, self_test=True, **changes)


def names(text: str) -> frozenset[str]:
    return frozenset(filter(None, text.split(",")))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--shape", choices=("9b", "small", "tiny"))
    parser.add_argument("--budget", type=float, default=420, help="seconds after which parts skip")
    parser.add_argument("--only", type=names, default=frozenset(), help="sections, by commas")
    parser.add_argument("--skip", type=names, default=frozenset(), help="sections, by commas")
    options = parser.parse_args(arguments)
    cuda = torch.cuda.is_available()
    if not cuda and not options.quick:
        print("no CUDA device here; --quick runs everything tiny on the CPU", file=sys.stderr)
        return 2
    if cuda:
        prepare_cuda()
    else:
        torch.set_num_threads(1)
    bench = Bench(
        device="cuda" if cuda else "cpu",
        shape=options.shape or ("tiny" if options.quick else "9b"),
        quick=options.quick,
        budget_s=options.budget,
        only=options.only,
        skip=options.skip,
        json=options.json,
    )
    with tempfile.TemporaryDirectory() as folder:
        run(bench, folder)
    publish(make_report(bench), options.json)
    return 0


def run(bench: Bench, folder: str) -> None:
    """All sections, the most telling first; what the budget leaves out is told."""
    in_sixteen_bits(bench, folder)
    bench.free()
    bench.section("int8_in_24_gb", lambda: capped_service(bench, folder))


def in_sixteen_bits(bench: Bench, folder: str) -> None:
    """All sections on one model; it is gone when this ends."""
    rates = measure_device(bench)
    bench.found["device_rates"] = rates
    tflop_s, gb_s = rates["matrix_tflop_s"], rates["bandwidth_gb_s"]
    bench.section("parity_tiny", lambda: parity(bench, folder))
    bench.section("naive_float32", lambda: naive(bench, folder))
    reader = make_reader(bench.shape, folder, device=bench.device, dtype=bench.dtype)
    bench.facts |= {
        "parameters": sum(w.numel() for w in reader.model.parameters()),
        "weights_gb": round(reader.weights_bytes / 1e9, 2),
    }
    passed = bench.section("parity", lambda: parity_at_size(bench, reader)) or {}
    found = candidates(reader, EngineSettings())
    fast = [b for b in found if isinstance(passed.get(b.name), float)] or [found[-1]]
    bench.facts["backend"] = fast[0].name
    bench.section("decode_roofline", lambda: decode_roofline(bench, reader, fast[0], gb_s))
    if bench.cuda:
        reader.vision.compile()
        reader.vision.warm_up()
    bench.section("vision", lambda: vision_rate(bench, reader, tflop_s))
    reader.vision.run_plain()
    kv_bytes = (20 << 30) if bench.cuda else (64 << 20)
    settings = serving(bench, kv_bytes=kv_bytes)
    bench.section("service", lambda: gpu_service.service(reader, settings, load_of(bench)))
    few = load_of(bench, questions=2, heights=(840,) if bench.cuda else (84,))
    many = load_of(bench, documents=8, questions=1, heights=few.heights)
    half = reader
    if bench.dtype != torch.float16:
        half = make_reader(bench.shape, folder, device=bench.device, dtype=torch.float16)
    bench.section("bfloat16_group", lambda: gpu_service.bfloat16_group(half, settings, few))
    bench.section("host_tier", lambda: gpu_service.host_tier(reader, settings, many))
    bench.section("documents", lambda: document_table(bench, reader, fast[0], tflop_s))
    bench.section("ladder", lambda: ladder(bench, reader, folder, fast))
    if bench.cuda:
        peak = torch.cuda.max_memory_allocated() - reader.weights_bytes
        bench.facts["peak_beyond_weights_gb"] = round(peak / 1e9, 2)


if __name__ == "__main__":
    sys.exit(main())
