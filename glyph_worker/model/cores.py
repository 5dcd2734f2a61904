"""Who computes on the CPU: vision and language side by side, or a large step alone on all cores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import torch

WIDE_TOKENS = 64
"""Smallest step that is worth all cores. Below it a step reads weights more than it multiplies,
and a second thread gains nothing (10 rows of a 34 M model: 12 ms with two, 11 with one)."""


class Cores:
    """Threads of one product, for the two threads that compute: the encoder's and the engine's.

    With all cores each they wait for one another (two cores, one thread each instead of two: 4 to
    50 % more jobs per second), and with half each a core is idle while no page is encoded (10
    pages and 5 questions, two cores: 17 % more jobs per second since such steps take both).
    """

    def __init__(self, each: int, total: int) -> None:
        """`each` threads side by side, `total` for a step alone. Equal numbers change nothing."""
        self.each = each
        self.total = total
        self._before = total
        self._is_encoding = False

    @classmethod
    def share(cls, num_threads: int) -> Self:
        """Set this process's threads and return who may take how many. Call it before the model is
        loaded: libgomp keeps a team per thread that ever computed with several, and once its teams
        have more members than there are cores, each waits for its others asleep instead of awake.

        0 is half the cores side by side, and all of them alone; never more than OMP_NUM_THREADS
        says. Any other number is taken always.
        """
        allowed = torch.get_num_threads()
        if num_threads:
            cores = cls(num_threads, num_threads)
        else:
            cores = cls(min(max(1, len(os.sched_getaffinity(0)) // 2), allowed), allowed)
        cores._before = allowed
        torch.set_num_threads(cores.each)
        return cores

    def give_back(self) -> None:
        """The calling thread's threads as `share` found them: whoever shares next asks for them."""
        torch.set_num_threads(self._before)

    @contextmanager
    def encoding(self) -> Iterator[None]:
        """Around a micro-batch of pages."""
        self._is_encoding = True
        if self.each != self.total:
            torch.set_num_threads(self.each)
        try:
            yield
        finally:
            self._is_encoding = False

    @contextmanager
    def step(self, num_tokens: int) -> Iterator[None]:
        """Around a step of the engine, which takes all cores when no page is being encoded."""
        if self.each == self.total or num_tokens < WIDE_TOKENS or self._is_encoding:
            yield
            return
        torch.set_num_threads(self.total)
        try:
            yield
        finally:
            torch.set_num_threads(self.each)
