"""How much the engine gains over the library's `generate`, on the CPU, in one interleaved run.

Workload of the field notes: 40 jobs, 8 documents x 5 questions, 364 visual tokens a document,
answers of 4 to 64 tokens, eight slots. Usage: ops/bench/engine [--quick] [--json PATH]
[--model DIR] [--rounds N].
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from synthetic.checkpoints import write_checkpoint

from bench.machine import commit, device_name
from glyph_worker.engine.engine import (
    AnswerRequest,
    Deliver,
    Engine,
    PageInput,
    SequenceResult,
)
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.library import library_prompt
from glyph_worker.model.processor import Page
from glyph_worker.model.reader import Reader
from glyph_worker.setting_sections import EngineSettings

NUM_THREADS = 1


@dataclass(frozen=True)
class Job:
    """One question of the workload."""

    document: int
    question: str
    num_tokens: int


@dataclass(frozen=True)
class Workload:
    """Documents as pages, and the jobs in order of arrival."""

    documents: list[list[Page]]
    jobs: list[Job]


@dataclass
class Cost:
    """What one side of a comparison took."""

    cpu_s: float
    wall_s: float


def make_document(seed: int, sizes: Sequence[tuple[int, int]]) -> list[Page]:
    rng = np.random.default_rng(seed)
    return [np.where(rng.random(size) > 0.1, 255, 0).astype(np.uint8) for size in sizes]


def make_workload(
    num_documents: int, num_questions: int, sizes: Sequence[tuple[int, int]], longest: int = 64
) -> Workload:
    """Questions arrive mixed: a static batch meets several documents and answer lengths."""
    rng = np.random.default_rng(7)
    jobs = [
        Job(
            document,
            f"What does line {int(rng.integers(1, 99))} say?",
            int(rng.integers(4, longest + 1)),
        )
        for document in range(num_documents)
        for _ in range(num_questions)
    ]
    order = rng.permutation(len(jobs))
    documents = [make_document(100 + index, sizes) for index in range(num_documents)]
    return Workload(documents, [jobs[index] for index in order])


def cost_of(work: Callable[[], object]) -> Cost:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


# -- the library ------------------------------------------------------------------------------


@torch.inference_mode()
def generate(reader: Reader, workload: Workload, jobs: Sequence[Job]) -> list[list[int]]:
    """The library's own way for some jobs at once: pixels in, left padded, all of them the
    longest answer's number of tokens. Pixel patches are ready made, which favours this side."""
    prompts = [
        library_prompt(reader, workload.documents[job.document], job.question) for job in jobs
    ]
    longest = max(prompt.input_ids.shape[1] for prompt in prompts)
    count = max(job.num_tokens for job in jobs)

    def pad(row: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(row, (longest - row.shape[1], 0))

    mask = torch.cat([pad(torch.ones_like(prompt.input_ids)) for prompt in prompts])
    out = reader.model.generate(
        input_ids=torch.cat([pad(prompt.input_ids) for prompt in prompts]),
        mm_token_type_ids=torch.cat([pad(prompt.mm_token_type_ids) for prompt in prompts]),
        attention_mask=mask,
        pixel_values=torch.cat([prompt.pixel_values for prompt in prompts]),
        image_grid_thw=torch.cat([prompt.image_grid_thw for prompt in prompts]),
        min_new_tokens=count,
        max_new_tokens=count,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    answers = out[:, longest:].tolist()
    return [answer[: job.num_tokens] for answer, job in zip(answers, jobs, strict=True)]


def one_at_a_time(reader: Reader, workload: Workload) -> list[list[int]]:
    return [generate(reader, workload, [job])[0] for job in workload.jobs]


def static_batches(reader: Reader, workload: Workload, size: int = 8) -> list[list[int]]:
    jobs = workload.jobs
    return [
        answer
        for start in range(0, len(jobs), size)
        for answer in generate(reader, workload, jobs[start : start + size])
    ]


# -- the engine -------------------------------------------------------------------------------


Features = dict[tuple[int, int], torch.Tensor]


def ask(
    engine: Engine,
    reader: Reader,
    workload: Workload,
    job: Job,
    name: str,
    kept: Features | None = None,
) -> SequenceResult:
    pages = workload.documents[job.document]

    def fetch(indexes: Sequence[int], deliver: Deliver) -> None:
        if kept is not None:
            deliver([kept[job.document, index] for index in indexes])
        else:
            deliver(reader.encode_pages([pages[index] for index in indexes]))

    request = AnswerRequest(
        sequence_id=name,
        pages=tuple(
            PageInput(digest=f"{job.document}/{index}", width=page.shape[1], height=page.shape[0])
            for index, page in enumerate(pages)
        ),
        question=job.question,
        max_new_tokens=job.num_tokens,
    )
    return engine.answer(request, fetch=fetch)


def run_engine(
    reader: Reader,
    workload: Workload,
    settings: EngineSettings,
    kept: Features | None = None,
) -> tuple[list[list[int]], dict[str, object]]:
    """All jobs handed in at once, a fresh engine with empty caches."""
    engine = Engine(reader, settings)
    answers: list[list[int]] = [[] for _ in workload.jobs]

    def run(index: int) -> None:
        outcome = ask(engine, reader, workload, workload.jobs[index], str(index), kept)
        answers[index] = list(outcome.token_ids)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(workload.jobs))]
    for thread in threads:
        thread.start()
    while engine.stats().waiting + engine.stats().fetching < len(threads):
        time.sleep(0.001)
    engine.start()
    for thread in threads:
        thread.join()
    stats = engine.stats()
    engine.stop()
    return answers, {"steps": stats.steps, "evictions": stats.evictions}


def time_to_first_token(reader: Reader, workload: Workload) -> tuple[float, float]:
    """Milliseconds to a one-token answer: a document's first question, and its second."""
    engine = Engine(reader, EngineSettings())
    engine.start()
    first: list[float] = []
    second: list[float] = []
    for document in range(len(workload.documents)):
        for number, into in ((0, first), (1, second)):
            job = Job(document, f"What does line {number} say?", 1)
            into.append(
                1e3
                * cost_of(
                    partial(ask, engine, reader, workload, job, f"{document}/{number}")
                ).wall_s
            )
    engine.stop()
    return statistics.median(first), statistics.median(second)


# -- the report -------------------------------------------------------------------------------


def settings_of(**changes: object) -> EngineSettings:
    return EngineSettings.model_validate({"max_slots": 8, "self_test": False, **changes})


def scarce_kv_bytes(reader: Reader, workload: Workload, num_documents: float) -> int:
    """Room for `num_documents` documents beside eight private suffixes."""
    language = reader.language
    per_token = language.num_layers * 2 * language.num_kv_heads * language.head_dim * 4
    pages = workload.documents[0]
    prefix = sum(reader.num_visual_tokens(p.shape[1], p.shape[0]) + 5 for p in pages)
    return int(per_token * (prefix * num_documents + 8 * 110))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny model, few jobs")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--model", type=Path, help="checkpoint folder; default is ~34 M random")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(NUM_THREADS)
    rounds = 1 if options.quick else options.rounds
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or write_checkpoint(folder, "tiny" if options.quick else "small")
        reader = load_reader(model)
    # Random weights end answers at random; the workload fixes every answer's length.
    reader.prompt.eos_token_ids = frozenset()
    workload = (
        make_workload(2, 3, [(112, 112)], longest=8)
        if options.quick
        else make_workload(8, 5, [(392, 364), (392, 364)])
    )
    scarce = scarce_kv_bytes(reader, workload, 2.5)
    long = (
        make_workload(1, 3, [(112, 112)] * 2, longest=8)
        if options.quick
        else make_workload(2, 16, [(392, 364)] * 12, longest=96)
    )
    # Vision is the same on both sides and would hide the difference: encode once, outside.
    kept = {(d, i): f for d, pages in enumerate(long.documents)
            for i, f in enumerate(reader.encode_pages(pages))}  # fmt: skip

    def run_long(grouped: bool) -> list[list[int]]:
        chosen = settings_of(max_slots=16, grouped_decode=grouped)
        return run_engine(reader, long, chosen, kept)[0]

    def run_slots(count: int) -> list[list[int]]:
        return run_engine(reader, workload, settings_of(max_slots=count))[0]

    sides: dict[str, Callable[[], object]] = {
        "one_at_a_time": lambda: one_at_a_time(reader, workload),
        "static_8": lambda: static_batches(reader, workload),
        "engine": lambda: run_engine(reader, workload, settings_of())[0],
        "engine_ungrouped": lambda: run_engine(reader, workload, settings_of(grouped_decode=False))[
            0
        ],
        "engine_no_sharing": lambda: run_engine(
            reader, workload, settings_of(prefix_sharing=False)
        )[0],
        "engine_scarce": lambda: run_engine(reader, workload, settings_of(kv_bytes=scarce))[0],
        "engine_scarce_no_affinity": lambda: run_engine(
            reader, workload, settings_of(kv_bytes=scarce, affinity=False)
        )[0],
    }
    sides["long_grouped"] = lambda: run_long(True)
    sides["long_ungrouped"] = lambda: run_long(False)
    for count in (1, 2, 4, 16, 32):
        sides[f"slots_{count}"] = partial(run_slots, count)
    generate(reader, workload, workload.jobs[:1])  # warm up both code paths once, unmeasured
    sides["engine"]()
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    answers: dict[str, object] = {}
    first, second = time_to_first_token(reader, workload)

    def keep(name: str, work: Callable[[], object]) -> None:
        answers[name] = work()

    def report() -> dict[str, object]:
        return make_report(costs, answers, first, second, workload, reader, options.quick)

    for number in range(rounds):
        for name, work in sides.items():
            costs[name].append(cost_of(partial(keep, name, work)))
            print(
                f"round {number} {name}: cpu {costs[name][-1].cpu_s:.2f} s, "
                f"wall {costs[name][-1].wall_s:.2f} s",
                flush=True,
            )
            if options.json:  # after every line: a run that is cut short keeps what it found
                options.json.write_text(json.dumps(report(), indent=1) + "\n")
    print(json.dumps(report()))
    return 0


def make_report(
    costs: dict[str, list[Cost]],
    answers: dict[str, object],
    first_ms: float,
    second_ms: float,
    workload: Workload,
    reader: Reader,
    quick: bool,
) -> dict[str, object]:
    def ratio(slow: str, fast: str) -> float | None:
        pairs = list(zip(costs[slow], costs[fast], strict=False))
        return round(statistics.median(s.cpu_s / f.cpu_s for s, f in pairs), 3) if pairs else None

    def agreement(side: str) -> float:
        pairs = zip(answers["one_at_a_time"], answers[side], strict=True)  # type: ignore[call-overload]
        return round(statistics.mean(float(a == b) for a, b in pairs), 3)

    tokens = sum(job.num_tokens for job in workload.jobs)
    curve = {
        name.removeprefix("slots_"): round(tokens / statistics.median(c.cpu_s for c in cost), 1)
        for name, cost in {**costs, "slots_8": costs["engine"]}.items()
        if name.startswith("slots_") and cost
    }
    ratios = {
        "engine_vs_one_at_a_time": ratio("one_at_a_time", "engine"),
        "engine_vs_static_8": ratio("static_8", "engine"),
        "follow_up_first_token": round(second_ms / first_ms, 4),
        "scarce_vs_ample": ratio("engine_scarce", "engine"),
        "affinity_gain_when_scarce": ratio("engine_scarce_no_affinity", "engine_scarce"),
        "grouping_gain": ratio("engine_ungrouped", "engine"),
        "sharing_gain": ratio("engine_no_sharing", "engine"),
        "grouping_gain_long_document": ratio("long_ungrouped", "long_grouped"),
    }
    bars = {
        "engine_vs_one_at_a_time": (4.0, True),
        "engine_vs_static_8": (3.0, True),
        "follow_up_first_token": (0.10, False),
        "scarce_vs_ample": (1.3, False),
        "grouping_gain_long_document": (1.0, True),
    }
    return {
        "bench": "engine",
        "commit": commit(),
        "device": device_name(),
        "settings": {
            "quick": quick,
            "threads": NUM_THREADS,
            "torch": torch.__version__,
            "parameters": sum(w.numel() for w in reader.model.parameters()),
            "jobs": len(workload.jobs),
            "documents": len(workload.documents),
            "answer_tokens": tokens,
            "slots": 8,
        },
        "ratios": ratios,
        "bars": {
            name: {
                "value": value,
                "target": target,
                "met": value >= target if more else value <= target,
            }
            for name, (target, more) in bars.items()
            if (value := ratios[name]) is not None
        },
        "curve_answer_tokens_per_cpu_s": dict(sorted(curve.items(), key=lambda i: int(i[0]))),
        "answers_equal_to_one_at_a_time": {
            side: agreement(side)
            for side in ("static_8", "engine", "engine_scarce")
            if side in answers
        },
        "first_token_ms": {"first": round(first_ms, 2), "follow_up": round(second_ms, 2)},
        "cpu_s": {name: [round(cost.cpu_s, 3) for cost in many] for name, many in costs.items()},
        "spread": {
            name: round(max(c.cpu_s for c in many) / min(c.cpu_s for c in many), 3)
            for name, many in costs.items()
            if many
        },
    }


if __name__ == "__main__":
    sys.exit(main())
