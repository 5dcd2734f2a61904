"""A run as one JSON object, in the benchmarks' language, and as a short table."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from bench.machine import device_name
from rich.table import Table
from rich.text import Text

from chaos.crew import Crew
from chaos.driver import Run
from chaos.plan import EXTRA, FaultKind

NONE_OF = ("lost", "double_commits", "stale_writes", "changed_ends", "innocents_dead",
           "broken_promises", "leaked_keys", "broken_streams")  # fmt: skip
MAX_LINES = 20


def report(run: Run, crew: Crew, *, commit: str = "") -> dict[str, Any]:
    """`bars` are the promises; `met` of all of them is the run's verdict."""
    findings, settings = run.findings, crew.settings
    lease_s = settings.queue.lease_s
    bars: dict[str, dict[str, Any]] = {}
    for name in NONE_OF:
        number = len(getattr(findings, name))
        bars[name] = {"value": number, "target": 0, "met": number == 0}
    p99 = findings.recovery_s(0.99)
    bars["recovery_p99_s"] = {
        "value": None if p99 is None else round(p99, 2),
        "target": lease_s + 2,
        "met": p99 is None or p99 <= lease_s + 2,
    }
    bars["ended_by_themselves"] = {
        "value": len(run.unexpected), "target": 0, "met": not run.unexpected,
    }  # fmt: skip
    kinds = Counter(str(blow.kind) for blow in run.blows)
    ends = Counter(
        f"{outcome.kind}: {'unfinished' if outcome.seen is None else outcome.seen[0]}"
        for outcome in run.outcomes
    )
    recoveries = findings.recoveries_s
    return {
        "bench": "chaos",
        "commit": commit,
        "device": device_name(settings.device),
        "settings": {
            "seed": run.plan.seed,
            "model": "tiny" if "tiny" in settings.model else settings.model.rpartition("/")[2],
            "lease_s": lease_s,
            "workers": dict(Counter(worker.kind for worker in crew.workers)),
            "own_servers": crew.broker is not None,
            "num_jobs": len(run.plan.jobs),
        },
        "ratios": {},
        "bars": bars,
        "spread": {
            "recovery_s": {
                "num": len(recoveries),
                "min": round(min(recoveries), 2) if recoveries else None,
                "p50": _rounded(findings.recovery_s(0.5)),
                "p99": _rounded(p99),
                "max": round(max(recoveries), 2) if recoveries else None,
                "slowest": findings.slowest(8),
            },
            "recovery_crowded_s": {
                "num": len(findings.crowded_s),
                "max": round(max(findings.crowded_s), 2) if findings.crowded_s else None,
            },
        },
        "num_accepted": len(run.outcomes),
        "num_kills": sum(kinds[kind] for kind in (*FaultKind, "poison") if _kills(kind)),
        "num_broker_restarts": kinds[FaultKind.RESTART_BROKER],
        "num_extra_faults": sum(kinds[kind] for kind in EXTRA),
        "faults": dict(kinds),
        "faults_left_out": {str(kind): why for kind, why in run.left_out.items()},
        "upgraded_from": run.upgraded_from,
        "num_streams_followed": run.num_followed,
        "num_streams_interrupted": run.num_interrupted,
        "jobs": dict(sorted(ends.items())),
        "events": findings.events,
        "num_fenced": findings.num_fenced,
        "num_recoveries_disturbed": findings.num_disturbed,
        "num_duplicate_messages": run.num_duplicates,
        "num_submits_repeated": run.num_retried_submits,
        "workers_ended_by_themselves": run.unexpected,
        "max_attempts": max(
            (int((o.record or {}).get("attempt") or 0) for o in run.outcomes), default=0
        ),
        "seconds": round(run.seconds, 1),
        "findings": {name: getattr(findings, name)[:MAX_LINES] for name in NONE_OF},
        "blows": [
            {k: v for k, v in asdict(blow).items() if k != "held"} | {"num_held": len(blow.held)}
            for blow in run.blows
        ],
    }


def _kills(kind: str) -> bool:
    return kind == "poison" or FaultKind(kind).kills


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def table(found: dict[str, Any]) -> Table:
    """For people."""
    rows = Table("promise", "found", "bar", "")
    for name, bar in found["bars"].items():
        mark = Text("kept", "green") if bar["met"] else Text("broken", "red")
        rows.add_row(name.replace("_", " "), str(bar["value"]), f"≤ {bar['target']}", mark)
    return rows
