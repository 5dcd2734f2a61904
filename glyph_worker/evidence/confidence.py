"""Probabilities of an answer's tokens, and whether the document has it → how likely it is right.

By a curve of the checkpoint's own: `ops/bench/answers --calibrate` measures it and writes it into
the checkpoint's folder. A checkpoint without one gives no confidence.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from glyph_worker.errors import ModelUnusable
from glyph_worker.evidence.guard import Guarded

CALIBRATION_FILE = "evidence.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What a checkpoint's folder says of its answers."""

    weights: tuple[float, float, float] = (1.0, 0.0, 0.0)
    """Of the geometric mean of the tokens' probabilities, of the least, and of `stands`; their sum
    is 1."""
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
        weights = tuple(float(fields["weights"][name]) for name in ("mean", "least", "stands"))
        if min(weights) < 0 or not 0.99 < sum(weights) < 1.01:
            raise ValueError(f"weights are {weights}, must be 0 and more, and 1 together")
        return cls(
            weights=(weights[0], weights[1], weights[2]),
            knots=knots,
            not_found=tuple(map(str, fields["not_found"])),
        )

    def score(self, mean_log_prob: float, min_log_prob: float, stands: float) -> float:
        """From 0 to 1."""
        mean, least = math.exp(min(0.0, mean_log_prob)), math.exp(min(0.0, min_log_prob))
        return sum(w * f for w, f in zip(self.weights, (mean, least, stands), strict=True))

    def confidence(
        self, mean_log_prob: float | None, min_log_prob: float | None, stands: float
    ) -> float | None:
        """Share of answers with such a score that are right; None without tokens or a curve."""
        if mean_log_prob is None or min_log_prob is None or not self.knots:
            return None
        score = self.score(mean_log_prob, min_log_prob, stands)
        at = bisect_right(self.knots, (score, math.inf))
        if at == 0 or at == len(self.knots):
            return round(self.knots[min(at, len(self.knots) - 1)][1], 3)
        (left, low), (right, high) = self.knots[at - 1], self.knots[at]
        return round(low + (high - low) * (score - left) / (right - left), 3)


def stands(guarded: Guarded) -> float:
    """How far the document has an answer: 1 as it is, or an honest "not found"; 0.5 in another
    spelling or in part; 0 where it stands nowhere or has a literal that the document has not."""
    if guarded.found is False:
        return 1.0
    if not guarded.places or guarded.verified is False:
        return 0.0
    exact = all(place.kind == "exact" for place in guarded.places)
    return 1.0 if exact and len(guarded.places) == 1 else 0.5
