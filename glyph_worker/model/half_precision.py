"""Is FP16 safe for this checkpoint? Measured and mended at load; says why, or why not."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from glyph_worker.model.library import (
    PROBE_ANSWER,
    PROBE_QUESTIONS,
    probe_pages,
    probe_reference,
)
from glyph_worker.model.own_forward import own_logits
from glyph_worker.model.reader import Reader
from glyph_worker.model.scales import LARGEST, Meter, choose_scales, fold

TOLERANCE = 0.03
"""How far float16 logits may be from float32's, in standard deviations of those: what rounding may
do. Here it bounds the root mean square over the vocabulary where it is largest: 0.003 on random
checkpoints as they are, 0.015 with outliers planted in them. The largest single logit is no verdict
on those: 0.05 from float32 at this probe, and between 0.03 and 0.05 without order whichever stream
scale from 2^-1 to 2^-8 is taken, or with the stream kept in float32; while the weights' rounding
alone, all activations in float32, moves one by 0.08. The engine's self-test and the benches take
the number from here; `ops/bench/families` bounds the largest single logit by it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether FP16 will do."""

    safe: bool
    reason: str


def make_half_safe(reader: Reader) -> Verdict:
    """Find out where a float16 reader would overflow, scale that away, and compare with float32.

    After scaling the library's own forward is no yardstick for this reader any more; its answers
    to the self-test's questions are kept from before.
    """
    assert reader.dtype == torch.float16
    reference = probe_reference(reader)
    pages = probe_pages(reader)
    if not all(bool(torch.isfinite(logits).all()) for logits in reference.values()):
        return Verdict(False, "a weight or a page's features are beyond float16's range")
    meter = Meter(reader.language.parts)
    for question in PROBE_QUESTIONS:
        own_logits(reader, pages, question, PROBE_ANSWER, dtype=torch.float32, kernels=meter)
    peaks = meter.peaks
    scales = choose_scales(reader.language.parts, peaks)
    met = max(peaks.stream, peaks.added, *peaks.values, *peaks.inner)
    if not scales.usable:
        return Verdict(
            False,
            f"activations reach {met:.3g}, float16 ends at {LARGEST:g}, and scaling them that far "
            "would cost the weights bits",
        )
    if not scales.idle:
        reader.rescale(fold(reader.language.parts, scales))
    worst = 0.0
    for question, expected in reference.items():
        found = own_logits(reader, pages, question, PROBE_ANSWER, dtype=torch.float16).float().cpu()
        spread = expected.std().item() or 1.0
        squares = (found - expected).square().mean(dim=-1)
        worst = max(worst, (squares.max().sqrt() / spread).item())
    if not worst <= TOLERANCE:  # also when it is NaN
        return Verdict(
            False, f"its logits differ from float32's by {worst:.2g} standard deviations"
        )
    how = "as they are" if scales.idle else f"scaled by powers of two ({scales})"
    return Verdict(
        True,
        f"activations reach {met:.3g} of {LARGEST:g}, {how}; logits within {worst:.2g} standard "
        "deviations of float32's",
    )
