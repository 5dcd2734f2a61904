"""Training of the embedded reader: its eyes, its reading of what they see, and both together.

`./ops/train-reader` runs the whole recipe. A killed run continues where it stopped.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model
from torch import nn

from glyph_worker.model.wide_products import wide_products
from train import recipe
from train.export import export
from train.log import Log, exact
from train.stages import Trainee

STAGES = ("eyes", "reader", "joint")
STEPS = {"eyes": 1500, "reader": 8000, "joint": 1000}
QUICK_STEPS = dict.fromkeys(STAGES, 2)
RATE = {"eyes": 3e-3, "reader": 3e-3, "joint": 5e-4}
DECAY = {"eyes": 0.5, "reader": 0.8, "joint": 1.0}  # share with a falling rate
EYES_SHARE = 0.3  # of the rate, for the tower once it can read: noise there blinds the reader
SAVE_EVERY_S = 120.0
MOST_MAKERS = 12


@dataclass(kw_only=True)
class Progress:
    """Where a run stands: the stage, and the steps of it that are done."""

    stage: str
    step: int = 0
    minutes: float = 0.0  # that the stage has taken, in all its pieces


def rate(stage: str, step: int, done: float, share: float = 1.0) -> float:
    """Learning rate: a short warm-up, a plateau, and a straight fall at the end; `done` is the
    share of the stage that is behind, of its steps or of its time."""
    warm = min(1.0, (step + 1) / 40)
    left = min(1.0, (1 - done) / DECAY[stage])
    return share * RATE[stage] * warm * max(left, 0.01)


def trained(trainee: Trainee, stage: str, lowest: int = 0) -> dict[str, nn.Parameter]:
    """The weights that a stage moves, of the language half those from layer `lowest` on: what the
    layers below have learned stays, and a step costs less."""
    parts: list[tuple[str, nn.Module]] = []
    if stage != "eyes":
        parts += [("text", trainee.model.model.language_model)]
    if stage in ("eyes", "joint"):
        parts += [("visual", trainee.model.model.visual), ("head", trainee.head)]
    resting = [f"text.layers.{layer}." for layer in range(lowest)]
    resting += ["text.embed_tokens."] if lowest else []
    weights = {f"{name}.{key}": p for name, part in parts for key, p in part.named_parameters()}
    for name, weight in weights.items():
        weight.requires_grad_(not name.startswith(tuple(resting)))
    return {name: weight for name, weight in weights.items() if weight.requires_grad}


def optimizers(weights: dict[str, nn.Parameter], stage: str) -> list[torch.optim.Optimizer]:
    """Muon for the hidden matrices, AdamW for embeddings, norms, convolutions and heads.

    Every group has a `share` of the learning rate.
    """
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, weight in weights.items():
        table = any(part in name for part in ("embed", "head"))
        share = EYES_SHARE if stage == "joint" and not name.startswith("text") else 1.0
        groups.setdefault((weight.dim() == 2 and not table, share), []).append(weight)
    hidden, rest = (
        [
            {"params": p, "share": share}
            for (is_hidden, share), p in groups.items()
            if is_hidden == h
        ]
        for h in (True, False)
    )
    return [
        torch.optim.Muon(hidden, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def ahead(
    pool: Executor, stage: str, seed: str, first: int, steps: int, makers: int, **diet: bool
) -> Iterator[Any]:
    """The stage's batches from step `first`, made by `makers` other processes while this one
    trains."""
    waiting: deque[Future[Any]] = deque()
    for step in range(first, steps):
        if stage == "eyes":
            waiting.append(pool.submit(recipe.make_pages, seed, step))
        else:
            work = partial(recipe.make_batch, stage, seed, step, steps, **diet)
            waiting.append(pool.submit(work))
        if len(waiting) > 3 * makers:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


class Run:
    """One training run in its folder: state, log, and the stages one after the other."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: str,
        device: str,
        steps: dict[str, int],
        start: Path | None = None,
        rate_share: float = 1.0,
        minutes: float = math.inf,
        lowest: int = 0,
        **diet: bool,
    ) -> None:
        self.minutes, self.lowest = minutes, lowest
        # One makes some 25,000 tokens a second: more than a CPU learns from, less than a GPU.
        self.makers = 1 if device == "cpu" else max(1, min(MOST_MAKERS, (os.cpu_count() or 2) - 2))
        self.folder, self.seed, self.steps, self.diet = folder, seed, steps, diet
        self.rate_share = rate_share
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(int(seed))
        self.trainee = Trainee().to(device)
        self.progress = Progress(stage=STAGES[0])
        self.saved: dict[str, Any] = {}
        if (folder / "state.pt").exists():
            self.saved = torch.load(folder / "state.pt", map_location=device)
            self.trainee.load_state_dict(self.saved["trainee"])
            self.progress = Progress(**self.saved["progress"])
        elif start is not None:
            load_model(self.trainee.model, str(start / "model.safetensors"), device=device)

    def train(self) -> None:
        with ProcessPoolExecutor(self.makers, mp_context=get_context("spawn")) as pool:
            for stage in STAGES[STAGES.index(self.progress.stage) :]:
                if self.progress.stage != stage:
                    self.progress = Progress(stage=stage)
                if self.progress.step < self.steps[stage]:
                    self._train(stage, pool)

    def _train(self, stage: str, pool: Executor) -> None:
        steps, first = self.steps[stage], self.progress.step
        weights = trained(self.trainee, stage, self.lowest)
        optims = optimizers(weights, stage)
        mine = self.saved.get("progress", {}).get("stage") == stage
        for optimizer, state in zip(optims, self.saved.get("optimizers", []), strict=False):
            if mine:
                optimizer.load_state_dict(state)
        self.saved = {}
        log = Log(self.folder / "log.jsonl", stage, steps)
        kept = time.monotonic()
        began = kept - 60 * self.progress.minutes
        batches = ahead(pool, stage, self.seed, first, steps, self.makers, **self.diet)
        for step, batch in enumerate(batches, first):
            minutes = (time.monotonic() - began) / 60
            now = rate(stage, step, max(step / steps, minutes / self.minutes), self.rate_share)
            for optimizer in optims:
                for group in optimizer.param_groups:
                    group["lr"] = now * group["share"]
            if stage == "eyes":
                outcome = self.trainee.eyes(torch.from_numpy(batch).to(self.trainee.device))
                units = len(batch)
            else:
                outcome = self.trainee.answers(batch, stage)
                units = int((batch.document > 0).sum())
            torch.autograd.backward(outcome.loss)
            nn.utils.clip_grad_norm_(weights.values(), 1.0)
            with wide_products(self.trainee.device):  # Muon's are in bfloat16
                for optimizer in optims:
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=True)
            if outcome.right is not None:
                for kind, results in exact(batch, outcome.right).items():
                    log.exact[kind].extend(results)
            log.step(step + 1, outcome.parts, units, now)
            self.progress = Progress(stage=stage, step=step + 1, minutes=minutes)
            last = step + 1 == steps or minutes > self.minutes
            if time.monotonic() - kept > SAVE_EVERY_S or last:
                self._save(optims)
                kept = time.monotonic()
            if last:
                break

    def _save(self, optims: list[torch.optim.Optimizer]) -> None:
        state = {
            "trainee": self.trainee.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optims],
            "progress": vars(self.progress),
        }
        fresh = self.folder / "state.new"
        torch.save(state, fresh)
        os.replace(fresh, self.folder / "state.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(".cache/reader"), help="the run's folder")
    parser.add_argument("--start", type=Path, help="begin with a checkpoint folder's weights")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="two steps a stage: does it run?")
    parser.add_argument(
        "--short", action="store_true", help="mostly documents of a few lines: for an hour of CPU"
    )
    parser.add_argument(
        "--rate-share", type=float, help="of the learning rate; 1, or 0.4 for a --start's weights"
    )
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="a stage ends after so many, if not before"
    )
    parser.add_argument(
        "--lowest", type=int, default=0, help="layers of the language half below this one rest"
    )
    parser.add_argument("--no-compile", action="store_true")
    for stage in STAGES:
        parser.add_argument(f"--{stage}-steps", type=int, default=STEPS[stage])
    args = parser.parse_args()
    steps = {stage: getattr(args, f"{stage}_steps") for stage in STAGES}
    if args.quick:
        steps = {stage: min(count, QUICK_STEPS[stage]) for stage, count in steps.items()}
    run = Run(
        args.out,
        seed=str(args.seed),
        device=args.device,
        steps=steps,
        start=args.start,
        rate_share=args.rate_share or (0.4 if args.start else 1.0),
        minutes=args.minutes,
        lowest=args.lowest,
        smoke=args.quick,
        short=args.short,
        grown=args.start is not None,
    )
    if not (args.no_compile or args.quick):
        run.trainee.fuse()
    run.train()
    export(run.trainee.model, args.out / "checkpoint")


if __name__ == "__main__":
    main()
