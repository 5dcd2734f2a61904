"""Do the clients that people have get what `Client` gets, and does it outlive everything that dies?

    ops/bench/clients [--quick] [--json PATH] [--only calls|survival|celery|gateway …]

calls     40 calls by OpenAI's Python client and by its JavaScript client, each compared with
          `Client`'s answer; the JavaScript one only where node and the client are installed
survival  background responses and a batch while workers, gateways and broker are killed in turn
celery    `AsyncResult.get()` in a user's own app compared with `Client.result`, and a chord of asks
          while workers are killed; that app has a worker and databases of its own
gateway   p99 of a submit beside a bare echo at 200 connections (ops/bench/gateway), and how much
          later than the engine's first text a chat stream's first text is with its caller

Served by a small random checkpoint, except for the calls, which the embedded reader answers.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.clients_calls import by_javascript, by_python, calls, without_javascript, wrong
from bench.clients_celery import celery_figures
from bench.clients_latency import first_bytes
from bench.clients_survival import settings_for, survive
from bench.machine import ROOT, commit, device_name, publish
from bench.served import Served
from glyph_worker.settings import Settings

PARTS = ("calls", "survival", "celery", "gateway")
FIRST_BYTE_MS, P99_RATIO = 15.0, 3.0

Bars = dict[str, dict[str, Any]]


def bar(value: float, target: float, *, least: bool = False) -> dict[str, Any]:
    """`least`: the target is to be reached, else it is not to be passed."""
    met = value >= target if least else value <= target
    return {"value": value, "target": target, "met": met}


def calls_part(folder: Path, args: argparse.Namespace) -> tuple[dict[str, Any], Bars]:
    num_lines = 5 if args.quick else 200
    settings = Settings.load(environ={"GLYPH_DEVICE": "cpu", "GLYPH_QUEUE_LEASE_S": "4"})
    with Served(settings, folder) as served:
        made = calls(served.client, "nano", num_lines=num_lines)
        url = served.url + "/v1"
        faults = {"python": wrong(made, by_python(made, url))}
        why = without_javascript()
        if not why:
            faults["javascript"] = wrong(made, by_javascript(made, url))
    figures: dict[str, Any] = {"calls": len(made), "lines": num_lines, "wrong": faults}
    if why:
        figures["javascript"] = why
    bars = {f"{name}_calls_wrong": bar(len(found), 0) for name, found in faults.items()}
    return figures, bars


def survival_part(folder: Path, args: argparse.Namespace) -> tuple[dict[str, Any], Bars]:
    sizes = (12, 30, 3) if args.quick else (200, 1_000, 10)
    found = survive(
        folder, _checkpoint(folder), num_responses=sizes[0], num_lines=sizes[1],
        num_kills=sizes[2],
    )  # fmt: skip
    bars = {
        "responses_right": bar(found["responses_right"], sizes[0], least=True),
        "batch_lines_right": bar(found["lines_right"], sizes[1], least=True),
        "asked_or_ended_twice": bar(
            found["lines_twice"] + max(0, found["jobs_too_many"]) + found["ended_twice"], 0
        ),
        "kills": bar(len(found["kills"]), sizes[2], least=True),
    }
    return found, bars


def celery_part(folder: Path, args: argparse.Namespace) -> tuple[dict[str, Any], Bars]:
    num_results, num_asks = (20, 8) if args.quick else (500, 50)
    found = celery_figures(
        folder, settings_for(_checkpoint(folder)), num_results=num_results, num_asks=num_asks
    )
    bars = {
        "async_results_equal": bar(found["results_equal"], num_results, least=True),
        "chord_asks_answered": bar(found["asks_answered"], num_asks, least=True),
        "chord_fired": bar(found["chord_fired"], 1),
        "chord_worker_kills": bar(len(found["kills"]), 2, least=True),
    }
    return found, bars


def gateway_part(folder: Path, args: argparse.Namespace) -> tuple[dict[str, Any], Bars]:
    command = [sys.executable, "-m", "bench.gateway", *(["--quick"] if args.quick else [])]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "ops"), *sys.path])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    submit = json.loads(done.stdout.strip().splitlines()[-1])
    with Served(settings_for(_checkpoint(folder)), folder) as served:
        late_ms = first_bytes(served, num_calls=8 if args.quick else 100)
    middle = sorted(late_ms)[len(late_ms) // 2]
    p99 = submit["ratios"]["p99_gateway_vs_echo"]
    bars = {
        "gateway_faults": submit["bars"]["faults"],
        "submit_p99_vs_echo": bar(p99, P99_RATIO),
        "chat_first_byte_late_ms": bar(round(middle, 2), FIRST_BYTE_MS),
    }
    figures = {"sides": submit["sides"], "first_byte_late_ms": [round(one, 2) for one in late_ms]}
    return figures, bars


_RUN: dict[str, Callable[[Path, argparse.Namespace], tuple[dict[str, Any], Bars]]] = {
    "calls": calls_part, "survival": survival_part, "celery": celery_part,
    "gateway": gateway_part,
}  # fmt: skip


def _checkpoint(folder: Path) -> Path:
    from synthetic.checkpoints import write_checkpoint

    from glyph_worker.render.style.presets import preset_style

    checkpoint = folder / "tiny"
    if not checkpoint.exists():
        checkpoint.mkdir()
        write_checkpoint(checkpoint)
        style = json.dumps(preset_style("nano").to_json())
        (checkpoint / "render_style.json").write_text(style)
    return checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=PARTS, action="append")
    args = parser.parse_args()
    figures: dict[str, Any] = {}
    bars: Bars = {}
    parts = args.only or PARTS
    for name in parts:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            found, met = _RUN[name](Path(folder), args)
        figures[name] = found | {"wall_s": round(time.monotonic() - began, 1)}
        bars |= met
        print(f"{name}: {json.dumps(met)}", file=sys.stderr)
    report = {
        "bench": "clients",
        "commit": commit(),
        "device": f"{device_name()}, load {os.getloadavg()[0]:.1f}",
        "settings": {"quick": args.quick, "parts": list(parts)},
        "ratios": {
            name: one["value"] for name, one in bars.items() if name == "submit_p99_vs_echo"
        },
        "bars": bars,
        "figures": figures,
    }
    publish(report, args.json)


if __name__ == "__main__":
    main()
