"""What stepping down the render style does to latency in a burst: a simulation with and without.

    ops/bench/elasticity [--quick] [--json PATH] [--plot PATH]

The rule (`next_level`, `stepped_down`, the settings' marks) and the pages (a real document laid out
in each preset) are the service's own; the machine is a model: one answer worker reads visual tokens
at a fixed rate, one job after another, and decodes beside that in `slots` places. Jobs ask for
`accurate` and allow `fast`. Calm, then a burst above what `accurate` can carry, then calm again. A
third run has the same rule without hysteresis (one mark, no hold), to show what that is for.
"""

from __future__ import annotations

import argparse
import heapq
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import machine
from bench.machine import ROOT, publish
from glyph_worker.options import QUALITIES
from glyph_worker.render.choose import stepped_down
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style
from glyph_worker.render.style.style import Style
from glyph_worker.setting_sections import EngineSettings, RenderSettings
from glyph_worker.store import overload
from glyph_worker.store.overload import Level, next_level

PATCH = 28
"""Side of one visual token, pixels."""
TOKENS_PER_S = 12_000.0
"""Visual tokens encoded and prefilled a second: assumed; only its ratio to arrivals counts."""
DECODE_S = 1.0
CALM, BURST = 0.7, 1.35
"""Arrivals, as a share of what the worker carries in `accurate`."""


def visual_tokens(text: str, style: Style) -> int:
    pages = [laid.page for laid in paginate(text, style)]
    return sum((page.width // PATCH) * (page.height // PATCH) for page in pages)


@dataclass
class Run:
    rule: RenderSettings | None
    """None: never steps down."""
    rung: Level = field(default_factory=Level)
    num_changes: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    """A job each: when it came, seconds to its answer, its style."""


def simulate(run: Run, arrivals: list[float], tokens: dict[str, int], capacity: int) -> None:
    """Event by event: a look at the load every second, arrivals, ends of reading and of jobs."""
    own = preset_style("accurate")
    end = arrivals[-1]
    events: list[tuple[Any, ...]] = [(at, 1, "arrival") for at in arrivals]
    events += [(float(s), 0, "look") for s in range(int(end))]
    heapq.heapify(events)
    queue: list[dict[str, Any]] = []
    num_unfinished, num_decoding, reading = 0, 0, False

    def read_next(now: float) -> None:
        nonlocal reading
        if queue and not reading and num_decoding < capacity:
            reading = True
            job = queue.pop(0)
            took = tokens[job["style"]] / TOKENS_PER_S
            heapq.heappush(events, (now + took, 2 + job["id"], "read", job))

    while events:
        now, _, kind, *rest = heapq.heappop(events)
        if kind == "look":
            if run.rule is not None:
                load = num_unfinished / capacity
                after = next_level(run.rung, load, settings=run.rule, now=now)
                run.num_changes += after.steps != run.rung.steps
                run.rung = after
        elif kind == "arrival":
            steps = run.rung.steps
            style = stepped_down(own, min_quality="fast", steps=steps).name
            queue.append({"id": len(run.rows) + len(queue), "at": now, "style": style})
            run.rows.append(queue[-1])
            num_unfinished += 1
        elif kind == "read":
            reading = False
            num_decoding += 1
            heapq.heappush(events, (now + DECODE_S, 2 + rest[0]["id"], "end", rest[0]))
        else:
            rest[0]["latency_s"] = now - rest[0]["at"]
            num_decoding -= 1
            num_unfinished -= 1
        read_next(now)


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)


def figures(run: Run, burst: tuple[float, float]) -> dict[str, Any]:
    hit = [row["latency_s"] for row in run.rows if burst[0] <= row["at"] < burst[1]]
    after = [row for row in run.rows if row["at"] >= burst[1]]
    calm_p90 = quantile([row["latency_s"] for row in run.rows if row["at"] < burst[0]], 0.9)
    slow = [row["at"] for row in after if row["latency_s"] > 2 * calm_p90]
    return {
        "burst_p50_s": quantile(hit, 0.5),
        "burst_p95_s": quantile(hit, 0.95),
        "recovery_s": round(max(slow) - burst[1], 1) if slow else 0.0,
        "changes": run.num_changes,
        "styles": {name: sum(r["style"] == name for r in run.rows) for name in QUALITIES},
    }


def plot(path: Path, runs: dict[str, Run], burst: tuple[float, float]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (above, below) = plt.subplots(
        2, 1, sharex=True, figsize=(9, 5), height_ratios=(3, 1), layout="constrained"
    )
    for name, colour in (("without", "#a3211b"), ("with", "#0b6e63")):
        rows = runs[name].rows
        above.plot(
            [r["at"] for r in rows], [r["latency_s"] for r in rows], label=name, color=colour
        )
    rows = runs["with"].rows
    levels = [QUALITIES.index(r["style"]) for r in rows]
    below.plot([r["at"] for r in rows], levels, color="#0b6e63", drawstyle="steps-post")
    below.set_yticks(range(len(QUALITIES)), QUALITIES)
    above.set_ylabel("seconds to the answer")
    below.set_xlabel("seconds")
    for axis in (above, below):
        axis.axvspan(*burst, color="#f1c46c", alpha=0.25, lw=0)
        axis.grid(alpha=0.3)
    above.legend(title="stepping down")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a third of the time")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    scale = 1 / 3 if args.quick else 1.0
    burst = (120 * scale, 420 * scale)
    end = 900 * scale
    folder = ROOT / "glyph_worker/local/documents"
    text = "\n".join((folder / f"{n}.txt").read_text() for n in ("invoice", "operations")) * 12
    tokens = {name: visual_tokens(text, preset_style(name)) for name in QUALITIES}
    rate = TOKENS_PER_S / tokens["accurate"]
    random_ = random.Random(7)
    arrivals, now = [], 0.0
    while now < end:
        share = BURST if burst[0] <= now < burst[1] else CALM
        now += random_.expovariate(rate * share)
        arrivals.append(now)
    slots = EngineSettings().max_slots
    capacity = slots + max(1, slots // 4)
    rule = RenderSettings()
    runs = {"without": Run(None), "with": Run(rule)}
    for run in runs.values():
        simulate(run, arrivals, tokens, capacity)
    hold_s, overload.HOLD_S = overload.HOLD_S, 0.0
    nervous = Run(rule.model_copy(update={"step_up_load": rule.step_down_load}))
    simulate(nervous, arrivals, tokens, capacity)
    overload.HOLD_S = hold_s
    sides = {name: figures(run, burst) for name, run in runs.items()}
    sides["without_hysteresis"] = figures(nervous, burst)
    gain = sides["without"]["burst_p95_s"] / sides["with"]["burst_p95_s"]
    report = {
        "bench": "elasticity",
        "commit": machine.commit(),
        "device": f"simulated; run on {machine.device_name()}",
        "settings": {
            "tokens": tokens, "tokens_per_s": TOKENS_PER_S, "decode_s": DECODE_S,
            "calm": CALM, "burst": BURST, "burst_s": burst, "capacity": capacity,
            "step_down_load": rule.step_down_load, "step_up_load": rule.step_up_load,
            "hold_s": hold_s, "jobs": len(arrivals),
        },
        "sides": sides,
        "ratios": {"burst_p95_without_vs_with": round(gain, 2)},
        "bars": {
            "burst_p95_without_vs_with": {"value": round(gain, 2), "target": 2, "met": gain >= 2}
        },
    }  # fmt: skip
    if args.plot:
        plot(args.plot, runs, burst)
    publish(report, args.json)


if __name__ == "__main__":
    main()
