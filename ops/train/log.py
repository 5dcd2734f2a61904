"""The training log: one JSON object a line, and a progress bar on a terminal."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict, deque
from pathlib import Path

import torch
from torch import Tensor

from train.packing import IGNORE, Batch

SIZES = (40, 100, 170, 240, 500, 10_000)  # prompt tokens before the question; 240 is a full page


def exact(batch: Batch, right: Tensor) -> dict[str, list[bool]]:
    """Per question kind (`task/size`), whether every token of the answer was right.

    With the true beginning given, all tokens right is the same as greedy decoding being right.
    """
    target = torch.from_numpy(batch.target)
    owner = torch.from_numpy(batch.question)[target != IGNORE]
    wrong = torch.zeros(len(batch.questions), dtype=torch.long)
    wrong.index_add_(0, owner, (~right.cpu()).long())
    found: dict[str, list[bool]] = defaultdict(list)
    for kind, misses in zip(batch.questions, wrong.tolist(), strict=True):
        task, size = kind.split("/")
        bucket = next(limit for limit in SIZES if int(size) <= limit)
        found[f"{task}/{bucket}"].append(misses == 0)
    return found


class Log:
    """Averages over the last steps, written every 20th."""

    def __init__(self, path: Path, stage: str, steps: int) -> None:
        self.file = path.open("a")
        self.stage, self.steps = stage, steps
        self.parts: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=20))
        self.exact: dict[str, deque[bool]] = defaultdict(lambda: deque(maxlen=400))
        self.began, self.units, self.first = time.monotonic(), 0, -1

    def step(self, step: int, parts: dict[str, float], units: int, rate: float) -> None:
        """Note one finished step; `units` are the tokens or pages it saw."""
        self.first = step - 1 if self.first < 0 else self.first
        self.units += units
        for name, value in parts.items():
            self.parts[name].append(value)
        if step % 20 == 0 or step == self.steps:
            self._write(step, rate)

    def _write(self, step: int, rate: float) -> None:
        spent = time.monotonic() - self.began
        row: dict[str, object] = {"stage": self.stage, "step": step, "seconds": round(spent, 1)}
        row |= {"per_second": round(self.units / spent, 1), "rate": round(rate, 6)}
        row |= {name: round(sum(v) / len(v), 4) for name, v in sorted(self.parts.items())}
        row["exact"] = {name: round(sum(v) / len(v), 3) for name, v in sorted(self.exact.items())}
        print(json.dumps(row), file=self.file, flush=True)
        if sys.stderr.isatty():
            done = int(30 * step / self.steps)
            left = spent / max(1, step - self.first) * (self.steps - step)
            bar = "#" * done + "." * (30 - done)
            text = f"\r{self.stage:7}[{bar}] {step}/{self.steps} {left / 60:5.1f} min left "
            print(text, end="\n" if step == self.steps else "", file=sys.stderr, flush=True)
