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
from typing import Any, NamedTuple, Self

from glyph_worker.errors import ModelUnusable
from glyph_worker.evidence.guard import Guarded
from glyph_worker.evidence.index import DocumentIndex
from glyph_worker.evidence.nearness import closeness, missing

CALIBRATION_FILE = "evidence.json"


class Stands(NamedTuple):
    """What the document says for an answer, each from 0 to 1."""

    stands: float
    """1 for one that the document has as it is, or that says it is not there; 0.5 in another
    spelling or in part; 0 where it stands nowhere, or has a literal that the document has not."""
    asked: float
    """How much of the question stands just before it; of one that says it is not there, how much
    of the question the document does not have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What a checkpoint's folder says of its answers."""

    weights: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    """Of the geometric mean of the tokens' probabilities, of the least, of `stands` and of `asked`;
    their sum is 1."""
    knots: tuple[tuple[float, float], ...] = ()
    """Score and share of right answers, both rising: the curve runs straight between them."""
    not_found: tuple[str, ...] = ()
    """What the checkpoint answers where the document does not say it."""
    copies: bool = False
    """Whether its answers are copies of the document, so that one which stops within a word or a
    bracket may be given its end unasked."""
    doubted_below: float = 0.0
    """Confidence below which a corrected answer is the first of `not_found` instead."""

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
        named = fields["weights"]
        mean, least, stands = (float(named[name]) for name in ("mean", "least", "stands"))
        weights = mean, least, stands, float(named.get("asked", 0))  # `asked` came later
        if min(weights) < 0 or not 0.99 < sum(weights) < 1.01:
            raise ValueError(f"weights are {weights}, must be 0 and more, and 1 together")
        return cls(
            weights=weights,
            knots=knots,
            not_found=tuple(map(str, fields["not_found"])),
            copies=bool(fields.get("copies", False)),
            doubted_below=float(fields.get("doubted_below", 0.0)),
        )

    def score(self, mean_log_prob: float, min_log_prob: float, found: Stands) -> float:
        """From 0 to 1."""
        mean, least = math.exp(min(0.0, mean_log_prob)), math.exp(min(0.0, min_log_prob))
        return sum(w * f for w, f in zip(self.weights, (mean, least, *found), strict=True))

    def confidence(
        self, mean_log_prob: float | None, min_log_prob: float | None, found: Stands
    ) -> float | None:
        """Share of answers with such a score that are right; None without tokens or a curve."""
        if mean_log_prob is None or min_log_prob is None or not self.knots:
            return None
        score = self.score(mean_log_prob, min_log_prob, found)
        at = bisect_right(self.knots, (score, math.inf))
        if at == 0 or at == len(self.knots):
            return round(self.knots[min(at, len(self.knots) - 1)][1], 3)
        (left, low), (right, high) = self.knots[at - 1], self.knots[at]
        return round(low + (high - low) * (score - left) / (right - left), 3)

    def doubts(self, confidence: float | None) -> bool:
        """Whether an answer of this confidence is rather none."""
        return bool(self.not_found) and confidence is not None and confidence < self.doubted_below


def stands(index: DocumentIndex, guarded: Guarded, question: str) -> Stands:
    """How an answer and its question stand in the document."""
    if guarded.found is False:
        return Stands(1.0, missing(index, question))
    if not guarded.places:
        return Stands(0.0, 0.0)
    asked = closeness(index, guarded.places[0].document, question)
    if guarded.verified is False:
        return Stands(0.0, asked)
    exact = all(place.kind == "exact" for place in guarded.places)
    return Stands(1.0 if exact and len(guarded.places) == 1 else 0.5, asked)
