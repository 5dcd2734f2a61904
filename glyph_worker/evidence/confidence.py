"""Probabilities of an answer's tokens → how likely it is right, by a curve of the checkpoint's own.

`ops/bench/answers --calibrate` measures the curve and writes it into the checkpoint's folder. It
says nothing of other checkpoints, and a checkpoint without one gives no confidence.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from glyph_worker.errors import ModelUnusable

CALIBRATION_FILE = "evidence.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What a checkpoint's folder says of its answers."""

    weight: float = 0.5
    """Of the geometric mean of the tokens' probabilities; the rest is the least one's."""
    knots: tuple[tuple[float, float], ...] = ()
    """Score and share of right answers, both rising: the curve runs straight between them."""
    not_found: tuple[str, ...] = ()
    """What the checkpoint answers where the document does not say it."""

    @classmethod
    def of_folder(cls, folder: Path) -> Self:
        """Without a file, one that knows nothing. Raises ModelUnusable for a broken file."""
        file = folder / CALIBRATION_FILE
        if not file.is_file():
            return cls()
        try:
            return cls.of(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError, KeyError) as exc:
            raise ModelUnusable(
                f"{file} is no calibration: {exc}; measure it anew with "
                "./ops/bench/answers --calibrate, or remove it"
            ) from exc

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """Raises ValueError, TypeError or KeyError for what is none."""
        knots = tuple((float(score), float(share)) for score, share in fields["knots"])
        if list(knots) != sorted(knots) or any(not 0 <= share <= 1 for _, share in knots):
            raise ValueError("knots must rise, with shares from 0 to 1")
        if [share for _, share in knots] != sorted(share for _, share in knots):
            raise ValueError("shares must not fall")
        weight = float(fields["weight"])
        if not 0 <= weight <= 1:
            raise ValueError(f"weight is {weight}, must be from 0 to 1")
        return cls(weight=weight, knots=knots, not_found=tuple(map(str, fields["not_found"])))

    def score(self, mean_log_prob: float, min_log_prob: float) -> float:
        """From 0 to 1."""
        mean, least = math.exp(min(0.0, mean_log_prob)), math.exp(min(0.0, min_log_prob))
        return self.weight * mean + (1 - self.weight) * least

    def confidence(self, mean_log_prob: float | None, min_log_prob: float | None) -> float | None:
        """Share of answers with such a score that are right; None without tokens or a curve."""
        if mean_log_prob is None or min_log_prob is None or not self.knots:
            return None
        score = self.score(mean_log_prob, min_log_prob)
        at = bisect_right(self.knots, (score, math.inf))
        if at == 0 or at == len(self.knots):
            return round(self.knots[min(at, len(self.knots) - 1)][1], 3)
        (left, low), (right, high) = self.knots[at - 1], self.knots[at]
        return round(low + (high - low) * (score - left) / (right - left), 3)
