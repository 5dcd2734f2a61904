"""Every family against the library: features, prompts, positions and logits, FP16 with planted
outliers, no shared features, and the engine's gain over `generate`. Small random checkpoints.

Usage: ops/bench/families [--quick] [--json PATH] [--rounds N] [--family NAME]
[--size tiny|small].
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import family_checks as checks
import torch
from family_outliers import plant_wide_products, plant_wide_stream, worst_against
from safetensors.torch import load_file, save_file
from synthetic.families import write_family

from bench.engine import Job, Workload, cost_of, make_workload, run_engine, settings_of
from bench.machine import commit, device_name, publish
from glyph_worker.features.digest import FeatureRecipe
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.half_precision import TOLERANCE
from glyph_worker.model.library import library_prompt
from glyph_worker.model.reader import Reader

LOGITS = 1e-4
FEATURES = 1e-5
HALF = TOLERANCE
"""Standard deviations of float32 logits."""
GAIN = 4.0
SCALED = ("glm", "qwen2_5_vl", "qwen3_vl")


@torch.inference_mode()
def generate_one(reader: Reader, workload: Workload, job: Job) -> list[int]:
    """The library's own way for one question; its picture processing is left out, as favour."""
    prompt = library_prompt(reader, workload.documents[job.document], job.question)
    inputs = prompt.inputs
    out = reader.model.generate(
        **inputs,
        attention_mask=torch.ones_like(prompt.input_ids),
        min_new_tokens=job.num_tokens,
        max_new_tokens=job.num_tokens,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    answer: list[int] = out[0, -job.num_tokens :].tolist()
    return answer


def workload_of(reader: Reader, *, quick: bool) -> Workload:
    """40 questions on 8 documents of about 364 visual tokens; of strips 11 make as many."""
    from glyph_worker.model.processor import SquareProcessor

    documents, questions = (2, 3) if quick else (8, 5)
    longest = 8 if quick else 64
    if isinstance(reader.processor, SquareProcessor):
        side = reader.processor.side
        return make_workload(documents, questions, [(side, side)] * (2 if quick else 11), longest)
    token = reader.processor.patch_size * reader.processor.merge_size
    sizes = [(4 * token, 4 * token)] if quick else [(14 * token, 13 * token)] * 2
    return make_workload(documents, questions, sizes, longest)


def gain_of(reader: Reader, rounds: int, *, quick: bool) -> tuple[list[float], float]:
    """CPU time of one `generate` after the other over the engine's, per round, and the share of
    answers that are equal."""
    reader.prompt.eos_token_ids = frozenset()  # the workload fixes every answer's length
    workload = workload_of(reader, quick=quick)
    generate_one(reader, workload, workload.jobs[0])
    ratios, answers = [], []
    sides: dict[str, Callable[[], list[list[int]]]] = {
        "library": lambda: [generate_one(reader, workload, job) for job in workload.jobs],
        "own": lambda: run_engine(reader, workload, settings_of())[0],
    }
    found: dict[str, list[list[int]]] = {}

    def keep(name: str) -> None:
        found[name] = sides[name]()

    for _ in range(rounds):
        costs = {name: cost_of(partial(keep, name)) for name in sides}
        ratios.append(costs["library"].cpu_s / costs["own"].cpu_s)
        pairs = zip(found["library"], found["own"], strict=True)
        answers.append(statistics.mean(float(one == other) for one, other in pairs))
    return ratios, statistics.mean(answers)


def equality(reader: Reader) -> dict[str, float]:
    """The largest differences from the library, by what is compared."""
    pages = [checks.made_page(reader, seed) for seed in (1, 2, 5)]
    shown = pages[:1] if reader.family.frame is not None else pages
    questions = ("How much?", "  two\nlines  ")
    wrong_prompts = sum(
        checks.own_prompt(reader, shown, one)
        != checks.library_inputs(reader, shown, one).input_ids[0].tolist()
        for one in questions
    )
    logits = {
        f"logits_{name.replace(' ', '_')}": checks.mixed_batch(reader, backend)
        for name, backend in checks.BACKENDS.items()
    }
    return {
        "features": checks.feature_difference(reader, pages),
        "prompts": float(wrong_prompts),
        "positions": float(checks.position_difference(reader, pages, "how far?")),
        **logits,
        "logits_1_page": checks.long_document(reader, 1),
        "logits_14_pages": checks.long_document(reader, 14),
        "logits_14_pages_whole": checks.long_document(reader, 14, prefill_tokens=4_096),
    }


def half_difference(family: str, folder: Path) -> float:
    """FP16 against float32 on a checkpoint whose activations leave FP16's range."""
    write_family(family, folder)
    path = folder / "model.safetensors"
    weights = load_file(path)
    plant_wide_stream(weights)
    plant_wide_products(weights)
    save_file(weights, path, {"format": "pt"})
    return worst_against(load_reader(folder), load_reader(folder, dtype="float16"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small workload on tiny models")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--size", choices=("tiny", "small"), default="small", help="of what is timed: 1 M or 30 M"
    )
    parser.add_argument("--family", choices=checks.FAMILIES, help="only this one")
    options = parser.parse_args()
    torch.set_num_threads(1)
    families = (options.family,) if options.family else checks.FAMILIES
    rounds = 1 if options.quick else options.rounds
    ratios: dict[str, float] = {}
    spread: dict[str, float] = {}
    bars: dict[str, dict[str, Any]] = {}
    equal_answers: dict[str, float] = {}
    recipes: list[FeatureRecipe] = []

    def bar(name: str, value: float, target: float, met: Callable[[float, float], bool]) -> None:
        bars[name] = {"value": value, "target": target, "met": met(value, target)}
        print(f"{name}: {value:.3g} (bar {target:g})", flush=True)

    def at_most(value: float, target: float) -> bool:
        return value <= target

    with tempfile.TemporaryDirectory() as place:
        for family in families:
            reader = load_reader(write_family(family, Path(place) / family))
            recipes.append(FeatureRecipe.of(reader))
            for name, found in equality(reader).items():
                limit = 0 if name in ("prompts", "positions") else LOGITS
                bar(f"{family}_{name}", found, FEATURES if name == "features" else limit, at_most)
            if family in SCALED:
                found = half_difference(family, Path(place) / f"{family}-outliers")
                bar(f"{family}_fp16_outliers", found, HALF, at_most)
            size = "tiny" if options.quick else options.size
            timed = load_reader(write_family(family, Path(place) / f"{family}-{size}", size))
            gains, equal = gain_of(timed, rounds, quick=options.quick)
            ratios[f"{family}_vs_generate"] = round(statistics.median(gains), 2)
            spread[f"{family}_vs_generate"] = round(max(gains) / min(gains), 3)
            equal_answers[family] = round(equal, 3)
            bar(
                f"{family}_vs_generate",
                ratios[f"{family}_vs_generate"],
                GAIN,
                lambda value, target: value >= target,
            )
        names = [recipe.feature_digest("a page") for recipe in recipes]
        bar("shared_feature_names", float(len(names) - len(set(names))), 0, at_most)
    report = {
        "bench": "families",
        "commit": commit(),
        "device": device_name(),
        "settings": {
            "quick": options.quick,
            "rounds": rounds,
            "timed": "tiny" if options.quick else options.size,
            "torch": torch.__version__,
        },
        "ratios": ratios,
        "bars": bars,
        "equal_answers": equal_answers,
        "spread": spread,
    }
    publish(report, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
