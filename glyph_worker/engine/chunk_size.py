"""How many tokens of prompts a step takes: fewer while memory is short."""

from __future__ import annotations

SMALLEST_CHUNK = 32
"""Tokens; a chunk that runs out of memory is halved down to this."""
CALM_STEPS = 64
"""Steps without trouble after which a shrunken chunk doubles again."""


class ChunkSize:
    """Halved by a step that ran out of memory, widened again by many that did not."""

    def __init__(self, most: int) -> None:
        """`most`: tokens, where memory is not short."""
        self.most = most
        self.tokens = most
        self._calm = 0

    def after(self, *, out_of_memory: bool) -> int:
        """Tokens of the next step's chunks."""
        if out_of_memory:
            self._calm = 0
            self.tokens = max(SMALLEST_CHUNK, self.tokens // 2)
        elif self.tokens < self.most:
            self._calm += 1
            if self._calm >= CALM_STEPS:
                self._calm = 0
                self.tokens = min(self.most, self.tokens * 2)
        return self.tokens
