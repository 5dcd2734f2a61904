"""What ops/bench/article makes of its samples: summary, bars, Markdown, plot."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.article_rows import BEST, DIRECT, INITIAL, RESTARTED, SERVED, VLLM

Found = dict[str, Any]
Samples = dict[str, list[dict[str, Found]]]
"""Row → repetitions → mix → what was found."""

MIXES = ("article", "long", "follow-up")
BARS = {  # by device: least gain by mix, and largest share of memory beyond the weights
    "cpu": ({"article": 5.0, "follow-up": 9.0}, 0.5),
    "cuda": ({"article": 30.0, "follow-up": 30.0}, 0.4),
}
OF_VLLM = {
    "fed_directly": (DIRECT, VLLM, 0.95),
    "behind_celery": (BEST, SERVED, 0.95),
    "restarted": (RESTARTED, SERVED, 1.2),
}
"""Least share of vLLM's jobs/s on the long mix: engine against engine and service against service
with empty caches, and after a restart, which leaves vLLM with empty ones."""


def summary(times_ms: Sequence[float], wall_s: float, rights: Sequence[bool]) -> Found:
    """Of one mix, once."""
    ordered = sorted(times_ms)
    found: Found = {
        "num_jobs": len(ordered),
        "jobs_per_s": len(ordered) / wall_s,
        "mean_ms": statistics.fmean(ordered),
        "p50_ms": statistics.median(ordered),
        "p95_ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))],
    }
    if rights:
        found["right"] = statistics.fmean(rights)
    return found


def median(samples: Samples, row: str, mix: str, name: str) -> float | None:
    found = [sample[mix][name] for sample in samples[row] if name in sample[mix]]
    return statistics.median(found) if found else None


def gain(samples: Samples, row: str, mix: str, over: str = INITIAL) -> float:
    """jobs/s over another row's: the median over repetitions of their ratios."""
    pairs = zip(samples[row], samples[over], strict=False)
    found = (mine[mix]["jobs_per_s"] / first[mix]["jobs_per_s"] for mine, first in pairs)
    return float(statistics.median(found))


def conclusion(samples: Samples, device: str) -> dict[str, Any]:
    """Ratios, bars and spread, of the rows there are."""
    ratios: dict[str, float] = {}
    bars: dict[str, Any] = {}
    if samples.get(INITIAL) and samples.get(BEST):
        gains = {mix: gain(samples, BEST, mix) for mix in MIXES}
        memory = {}
        for mix in MIXES:
            best, first = (
                median(samples, row, mix, "beyond_weights_bytes") for row in (BEST, INITIAL)
            )
            memory[mix] = (best or 0) / (first or 1)
        least, share = BARS[device]
        ratios |= {f"{mix}_gain": round(value, 3) for mix, value in gains.items()}
        ratios |= {f"{mix}_memory_beyond_weights": round(v, 4) for mix, v in memory.items()}
        bars |= {
            f"{mix}_gain": {"value": round(gains[mix], 2), "target": t, "met": gains[mix] >= t}
            for mix, t in least.items()
        }
        bars["memory_beyond_weights"] = {
            "value": round(memory["article"], 3), "target": share,
            "met": memory["article"] <= share,
        }  # fmt: skip
    for how, (row, peer, target) in OF_VLLM.items():
        if samples.get(row) and samples.get(peer):
            shares = {mix: gain(samples, row, mix, peer) for mix in MIXES}
            ratios |= {f"{mix}_of_vllm_{how}": round(value, 3) for mix, value in shares.items()}
            bars[f"long_of_vllm_{how}"] = {
                "value": round(shares["long"], 2), "target": target,
                "met": shares["long"] >= target,
            }  # fmt: skip
    spread = {
        row: {mix: [round(one[mix]["jobs_per_s"], 3) for one in many] for mix in MIXES}
        for row, many in samples.items()
    }
    return {"ratios": ratios, "bars": bars, "spread": spread if ratios else {}}


def markdown(samples: Samples, mix: str) -> str:
    """The article's table for one mix: medians over the repetitions."""
    right = any(median(samples, row, mix, "right") is not None for row in samples if samples[row])
    lines = [
        "| | peak MB | beyond weights MB | mean ms | p50 | p95 | jobs/s (spread) | gain "
        "| visual tokens |" + (" right |" if right else ""),
        "|---|" + "--:|" * (9 if right else 8),
    ]
    for row, many in samples.items():
        if not many:
            continue
        peak, beyond = (
            (median(samples, row, mix, name) or 0) / 2**20
            for name in ("peak_bytes", "beyond_weights_bytes")
        )
        times = [f"{median(samples, row, mix, n):.0f}" for n in ("mean_ms", "p50_ms", "p95_ms")]
        rates = [one[mix]["jobs_per_s"] for one in many]
        tokens = median(samples, row, mix, "visual_tokens")
        cells = [
            row, f"{peak:.0f}", f"{beyond:.0f}", *times,
            f"{statistics.median(rates):.2f} ({min(rates):.2f} – {max(rates):.2f})",
            f"{gain(samples, row, mix):.1f}×" if samples.get(INITIAL) else "",
            "" if tokens is None else f"{tokens:.0f}",
        ]  # fmt: skip
        if right:
            share = median(samples, row, mix, "right")
            cells.append("" if share is None else f"{100 * share:.0f} %")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def resolution_table(samples: Samples, accuracy: Found) -> str:
    """The article's first table; '' before all three sizes were measured."""
    sizes = {"1024x256": INITIAL} | {name.split()[1].strip(","): name for name in samples
                                     if name.startswith("resolution")}  # fmt: skip
    if len(sizes) < 3 or INITIAL not in samples:
        return ""
    lines = [
        "| image | peak MB | beyond weights MB | mean ms | characters read right | answers right |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for size, row in sizes.items():
        peak, beyond, mean = (
            median(samples, row, "article", name) or 0
            for name in ("peak_bytes", "beyond_weights_bytes", "mean_ms")
        )
        read = [
            f"{100 * accuracy[size][name]:.0f} %" if size in accuracy else ""
            for name in ("characters_right", "answers_right")
        ]
        cells = [size, f"{peak / 2**20:.0f}", f"{beyond / 2**20:.0f}", f"{mean:.0f}", *read]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(path: Path, samples: Samples, title: str) -> None:
    """Jobs per second and memory beyond the weights, row by row."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [row for row, many in samples.items() if many][::-1]
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 0.55 * len(names) + 1.6), sharey=True)
    thick = 0.8 / len(MIXES)
    for number, mix in enumerate(MIXES):
        places = [at + (1 - number) * thick for at in range(len(names))]
        rates = [median(samples, row, mix, "jobs_per_s") for row in names]
        left.barh(places, rates, thick, label=f"{mix} mix")
        beyond = [(median(samples, row, mix, "beyond_weights_bytes") or 0) / 2**20 for row in names]
        right.barh(places, beyond, thick)
    left.set_yticks(range(len(names)), names)
    left.set_xlabel("jobs/s")
    left.set_xscale("log")
    left.legend(fontsize=8)
    right.set_xlabel("peak memory beyond the weights, MB")
    right.set_xscale("log")
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)
