"""What the gateway adds: POST /v1/jobs beside a bare FastAPI echo, both by the same clients.

    ops/bench/gateway [--quick] [--json PATH] [--clients 200] [--rate 40] [--seconds 60]

An instant engine drains the queue: a process of its own claims and commits every job in Redis, so
that the broker never fills. `--clients` connections stay open and together send `--rate` requests a
second (open loop: a late answer does not slow the next request down), alternately five seconds to
one side and five to the other, after one such slice each that does not count. p99 is of the time
from the moment a request was due.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from bench.machine import ROOT, device_name, publish
from glyph_worker.job import Answer, FinishReason, Stage
from glyph_worker.local.process import SupervisedProcess
from glyph_worker.local.server import EmbeddedServer, free_port
from glyph_worker.settings import Settings
from glyph_worker.store.open import Stores

ECHO = """
import sys, uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
class Body(BaseModel):
    document: str
    question: str
app = FastAPI()
@app.post("/v1/jobs", status_code=202)
async def echo(body: Body) -> Body:
    return body
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False)
"""
BODY = {"document": "Orchid GmbH pays 1,204.50 EUR on 2026-12-01.\n" * 40, "question": "Who pays?"}
SLICE_S = 5.0


def drain(broker_url: str, ready: Any) -> None:
    """The instant engine: every job that is not final is claimed and committed."""
    stores = Stores.open(Settings.load(environ={"GLYPH_BROKER_URL": broker_url}))
    answer = Answer(text="instant", finish_reason=FinishReason.STOP)
    stores.jobs.newest(1)
    ready.set()
    while True:
        ids = stores.jobs.newest(500)
        for job_id in ids:
            _, order = stores.jobs.claim(job_id, owner="instant", stage=Stage.DECODING)
            if order is not None:
                stores.jobs.succeed(order, answer)
        stores.broker.delete("glyph:glyph.render")
        time.sleep(0.02 if ids else 0.1)


async def load(
    sides: dict[str, httpx.AsyncClient], *, rate: float, seconds: float
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {name: {"ms": [], "statuses": {}} for name in sides}

    async def one(side: str, due: float) -> None:
        try:
            status: int | str = (await sides[side].post("/v1/jobs", json=BODY)).status_code
        except httpx.HTTPError as exc:
            status = type(exc).__name__
        found[side]["ms"].append((time.perf_counter() - due) * 1e3)
        found[side]["statuses"][status] = found[side]["statuses"].get(status, 0) + 1

    began, tasks, due = time.perf_counter(), set(), 0.0
    names = list(sides)
    while due < seconds * len(names):
        side = names[int(due / SLICE_S) % len(names)]
        await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
        task = asyncio.create_task(one(side, began + due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        due += random.expovariate(rate)
    await asyncio.gather(*tasks)
    return found


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)


def wait_for(url: str) -> None:
    for _ in range(600):
        try:
            httpx.get(url, timeout=2)
            return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise SystemExit(f"{url} does not answer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rate", type=float, default=40.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    args = parser.parse_args()
    seconds = 10.0 if args.quick else args.seconds
    ports = {"gateway": free_port(), "echo": free_port()}
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder)) as server:
        environ = {"GLYPH_BROKER_URL": server.url(), "GLYPH_GATEWAY_PORT": str(ports["gateway"])}
        commands = {
            "gateway": [sys.executable, "-m", "glyph_worker.gateway.serve"],
            "echo": [sys.executable, "-c", ECHO, str(ports["echo"])],
        }
        processes = [
            SupervisedProcess(name, command, log=Path(folder) / f"{name}.log", environ=environ)
            for name, command in commands.items()
        ]
        spawn = multiprocessing.get_context("spawn")
        ready = spawn.Event()
        engine = spawn.Process(target=drain, args=(server.url(), ready), daemon=True)
        try:
            for process in processes:
                process.start()
            for port in ports.values():
                wait_for(f"http://127.0.0.1:{port}/openapi.json")
            engine.start()
            assert ready.wait(60), "the instant engine did not start"

            async def run() -> dict[str, dict[str, Any]]:
                limits = httpx.Limits(max_connections=args.clients, max_keepalive_connections=None)
                sides = {
                    name: httpx.AsyncClient(
                        base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=60,
                        trust_env=False,
                    )
                    for name, port in ports.items()
                }  # fmt: skip
                # All connections are open before the clock starts.
                for client in sides.values():
                    await asyncio.gather(
                        *(client.get("/openapi.json") for _ in range(args.clients))
                    )
                # One slice each that does not count: lazy connections and threads are made there.
                await load(sides, rate=args.rate, seconds=SLICE_S)
                found = await load(sides, rate=args.rate, seconds=seconds)
                for client in sides.values():
                    await client.aclose()
                return found

            found = asyncio.run(run())
        finally:
            if engine.is_alive():
                engine.terminate()
                engine.join()
            for process in processes:
                process.stop(patience_s=30)
    figures: dict[str, dict[str, Any]] = {
        name: {
            "requests": len(side["ms"]),
            "p50_ms": quantile(side["ms"], 0.5),
            "p99_ms": quantile(side["ms"], 0.99),
            "statuses": {str(k): v for k, v in side["statuses"].items()},
        }
        for name, side in found.items()
    }
    faults = sum(
        count
        for status, count in figures["gateway"]["statuses"].items()
        if not status.isdigit() or int(status) >= 500
    )
    p99 = figures["gateway"]["p99_ms"]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    p50 = figures["gateway"]["p50_ms"]
    report = {
        "bench": "gateway",
        "commit": commit,
        "device": f"{device_name()}, load {os.getloadavg()[0]:.1f}",
        "settings": {"clients": args.clients, "rate": args.rate, "seconds": seconds},
        "sides": figures,
        "ratios": {
            "p50_gateway_vs_echo": round(p50 / figures["echo"]["p50_ms"], 2),
            "p99_gateway_vs_echo": round(p99 / figures["echo"]["p99_ms"], 2),
        },
        "bars": {
            "faults": {"value": faults, "target": 0, "met": faults == 0},
            "submit_p99_ms": {"value": p99, "target": 50, "met": p99 < 50},
        },
    }
    publish(report, args.json)


if __name__ == "__main__":
    main()
