"""Other engines behind our queue: the same answers, one feature store, a server killed, jobs/s.

    PEER_VLLM_PYTHON=vllm/bin/python ops/bench/backends [--quick] [--json PATH] [--only PART]

The Python named there has vLLM and glyph_worker (ops/bench/README.md). Parts:
tokens   forty greedy prompts of a GLM and a Qwen2.5-VL checkpoint, to ours and vLLM in the worker
url      the same prompts to ours and, by its URL, to `vllm serve`
store    a hundred pages to one `vllm serve` with our connector, then to a second: its encodes
kill     two servers behind one queue, each with an answer worker; one gets kill -9 under 20 jobs
service  the article's mixes through the whole service with vLLM as backend, by its own jobs/s fed
         directly, and after a restart with features from Redis (takes an hour; never with --quick)
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chaos import child
from synthetic.families import write_family

from bench.article_served import VllmServer
from bench.machine import ROOT, commit, device_name
from glyph_worker import codec
from glyph_worker.client import Client
from glyph_worker.local.server import EmbeddedServer
from glyph_worker.render.style.presets import preset_style
from glyph_worker.settings import Settings
from glyph_worker.store.connection import connect
from glyph_worker.store.features import CacheStore
from glyph_worker.store.keys import Keys
from glyph_worker.store.workers import WorkerStore

PARTS = ("tokens", "url", "store", "kill", "service")
FAMILIES = ("glm", "qwen2_5_vl")
NUM_KILLED = 20
PATIENCE_S = 1_200.0
LOG_PROB = 1e-4

Found = dict[str, Any]


def settings_of(model: Path, backend: str, **more: Any) -> Found:
    return {
        "model": str(model), "device": "cpu", "backend": backend,
        "engine": {"max_slots": 8, "kv_bytes": 256 << 20, "window_tokens": 4_096}, **more,
    }  # fmt: skip


def ask(python: str, settings: Found, jobs: list[tuple[int, str]], *, size: int) -> list[Found]:
    order = {"settings": settings, "jobs": jobs, "tokens": 12, "columns": size, "rows": size}
    done = subprocess.run(
        [python, "-m", "bench.backends_ask"],
        input=json.dumps(order), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{settings['backend']} ended with {done.returncode}: "
                           f"{done.stderr[-2_000:]}")  # fmt: skip
    found: list[Found] = json.loads(done.stdout.splitlines()[-1])
    return found


def served(url: str) -> Found:
    return {"remote": {"url": f"{url}/v1", "dialect": "vllm"}}


def agreement(right: list[Found], found: list[Found]) -> Found:
    differ = [
        (number, a["token_ids"], b["token_ids"])
        for number, (a, b) in enumerate(zip(right, found, strict=True))
        if a["token_ids"] != b["token_ids"]
    ]
    apart = [
        abs(a["mean_log_prob"] - b["mean_log_prob"])
        for a, b in zip(right, found, strict=True)
        if b["mean_log_prob"] is not None
    ]
    return {
        "same": len(right) - len(differ), "of": len(right), "log_prob": max(apart, default=None),
        "differ": differ,
    }  # fmt: skip


def prompts(quick: bool) -> list[tuple[int, str]]:
    return [(n % 5, f"what is number {n}?") for n in range(8 if quick else 40)]


def ours(model: Path, jobs: list[tuple[int, str]]) -> list[Found]:
    return ask(sys.executable, settings_of(model, "own"), jobs, size=6)


def tokens(folder: Path, peer: str, quick: bool) -> Found:
    """Answers of vLLM in the worker that are ours token by token, by family."""
    jobs, out = prompts(quick), {}
    eager = {"vllm": {"args": '{"enforce_eager": true}'}}
    for family in FAMILIES:
        model = write_family(family, folder / family)
        inside = ask(peer, settings_of(model, "vllm", **eager), jobs, size=6)
        out[family] = agreement(ours(model, jobs), inside)
    return out


def url(folder: Path, peer: str, quick: bool) -> Found:
    """Answers of vLLM's own server that are ours token by token, by family."""
    jobs, out = prompts(quick), {}
    for family in FAMILIES:
        model = write_family(family, folder / family)
        with server(model) as one:
            found = ask(
                sys.executable, settings_of(model, "remote", **served(one.url)), jobs, size=6
            )
        out[family] = agreement(ours(model, jobs), found)
    return out


@contextlib.contextmanager
def server(model: Path, cache_url: str = "") -> Iterator[VllmServer]:
    # With a connector it encodes one picture of the largest size when it starts: 30,000 tokens.
    small = {"image": {"count": 8, "width": 168, "height": 168}, "video": 0}
    more = ["--enforce-eager", "--max-num-batched-tokens", "1024",
            "--limit-mm-per-prompt", json.dumps(small)]  # fmt: skip
    if cache_url:
        more += ["--ec-transfer-config", json.dumps({
            "ec_connector": "PageFeatureConnector", "ec_role": "ec_both",
            "ec_connector_module_path": "glyph_worker.backends.vllm_features",
            "ec_connector_extra_config": {"cache_url": cache_url},
        })]  # fmt: skip
    one = VllmServer(str(model), *more)
    try:
        yield one
    finally:
        one.stop()


def reported(store: CacheStore) -> dict[str, Found]:
    """What each vLLM server's connector says of itself, by its name."""
    return {name: codec.unpack("feature_stats", raw) for name, raw in store.reports().items()}


def settled(store: CacheStore) -> dict[str, Found]:
    """The same, once it stands still."""
    before: dict[str, Found] | None = None
    while (now := reported(store)) != before:
        before = now
        time.sleep(3)
    return now


def shared_store(folder: Path, peer: str, quick: bool) -> Found:
    """Encodes of a second server for pages that the first has seen."""
    num_pages = 20 if quick else 100
    model = write_family("glm", folder / "store")
    jobs = [(n, "what is it?") for n in range(num_pages)]
    with redis(folder / "store-redis") as url, contextlib.ExitStack() as stack:
        store = CacheStore.connect(url, prefix="glyph")
        found = []
        for one in [stack.enter_context(server(model, url)) for _ in range(2)]:
            settings = settings_of(model, "remote", **served(one.url))
            answers = ask(sys.executable, settings, jobs, size=6)
            found.append((settled(store), answers))
        store.close()
    (first, right), (later, again) = found
    # The first server is idle meanwhile, and its report may have expired.
    second = [report for name, report in later.items() if name not in first]
    return {
        "pages": num_pages,
        "encoded_by_the_first": sum(one["num_tower_pages"] for one in first.values()),
        "encoded_by_the_second": sum(one["num_tower_pages"] for one in second),
        "taken_by_the_second": sum(one["sources"].get("store", 0) for one in second),
        "answers": agreement(right, again), "answers_ours": agreement(ours(model, jobs), again),
    }  # fmt: skip


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[str]:
    folder.mkdir()
    one = EmbeddedServer(folder)
    one.start()
    try:
        yield one.url()
    finally:
        one.stop()


def killed(folder: Path, peer: str, quick: bool) -> Found:
    """Jobs that succeeded exactly once though one of two servers was killed under them."""
    model = write_family("glm", folder / "kill")
    (model / "render_style.json").write_text(json.dumps(preset_style("nano").to_json()))
    with redis(folder / "kill-redis") as url, contextlib.ExitStack() as stack:
        environ = {
            "GLYPH_BROKER_URL": url, "GLYPH_MODEL": str(model), "GLYPH_DEVICE": "cpu",
            "GLYPH_BACKEND": "remote", "GLYPH_QUEUE_LEASE_S": "10", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        servers = [stack.enter_context(server(model, url)) for _ in range(2)]
        kinds: list[tuple[str, dict[str, str]]] = [("render", {})] + [
            ("answer", {"GLYPH_REMOTE_URL": f"{one.url}/v1", "GLYPH_ENGINE_MAX_SLOTS": "16"})
            for one in servers
        ]
        for kind, more in kinds:
            stack.enter_context(worker(kind, environ | more))
        settings = Settings.load(environ=environ)
        with connect(url) as client:
            living = WorkerStore(client, Keys(settings.key_prefix)).living
            until(lambda: len(living()) == 3, "all workers serve")
            jobs = Client(settings).submit_many(
                "\n".join(f"Line {n}: {n * 7}." for n in range(30)),
                [f"what is in line {n}?" for n in range(NUM_KILLED)], max_new_tokens=400,
            )  # fmt: skip
            until(lambda: sum(i.num_running for i in living() if i.kind == "answer") >= NUM_KILLED,
                  "all jobs are in flight")  # fmt: skip
            for pid in servers[0].pids():
                os.kill(pid, signal.SIGKILL)
            waiting = Client(settings)
            ends = [waiting.wait(job.id, timeout=PATIENCE_S) for job in jobs]
            totals = {k.decode(): int(v) for k, v in client.hgetall("glyph:totals").items()}
    return {"jobs": len(jobs), "answered": sum(bool(end.text) for end in ends), "totals": totals}


@contextlib.contextmanager
def worker(kind: str, environ: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        child.command("worker", kind), stdin=subprocess.PIPE, stdout=sys.stderr,
        env={**os.environ, **environ},
    )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def until(fact: Any, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        if time.monotonic() > deadline:
            raise SystemExit(f"after {PATIENCE_S:.0f} s still not: {what}")
        time.sleep(0.2)


def service(folder: Path, peer: str, quick: bool) -> Found:
    """Jobs/s with vLLM as our backend over vLLM's own, and warm over cold: the article's rows."""
    path = folder / "article.json"
    rows = ["all", "all, the answer worker just restarted", "peer: vLLM, fed directly"]
    command = [peer, "-m", "bench.article", "--repeat", "2", "--json", str(path)]
    for row in rows:
        command += ["--only", row]
    subprocess.run(
        command, check=True, stdout=sys.stderr, cwd=ROOT,
        env=os.environ | {"GLYPH_BACKEND": "vllm"},
    )  # fmt: skip
    samples = json.loads(path.read_text())["samples"]

    def rate(row: str, mix: str) -> float:
        rates = sorted(float(one[mix]["jobs_per_s"]) for one in samples[row])
        return rates[len(rates) // 2]

    best, restarted, direct = rows
    mixes = ("article", "long", "follow-up")
    return {
        "of_fed_directly": {mix: rate(best, mix) / rate(direct, mix) for mix in mixes},
        "warm_of_cold_long": rate(restarted, "long") / rate(best, "long"),
    }


def bars_of(found: Found) -> Found:
    def bar(value: float, target: float, met: bool) -> Found:
        return {"value": value, "target": target, "met": met}

    bars: Found = {}
    for part in ("tokens", "url"):
        for family, one in found.get(part, {}).items():
            share, apart = one["same"] / one["of"], one["log_prob"]
            met = share == 1.0 and (apart or 0.0) <= LOG_PROB
            bars[f"{part}_{family}"] = bar(share, 1.0, met)
    if (one := found.get("store")) is not None:
        again = one["encoded_by_the_second"]
        met = again == 0 and one["taken_by_the_second"] > 0
        met = met and one["encoded_by_the_first"] == one["pages"]
        bars["encodes_of_the_second_server"] = bar(again, 0, met)
    if (one := found.get("kill")) is not None:
        once = one["answered"] == one["jobs"] == one["totals"].get("succeeded")
        bars["answered_once_after_kill"] = bar(one["answered"], one["jobs"], once)
    if (one := found.get("service")) is not None:
        for mix, value in one["of_fed_directly"].items():
            bars[f"{mix}_of_vllm_fed_directly"] = bar(value, 0.95, value >= 0.95)
        warm = one["warm_of_cold_long"]
        bars["warm_of_cold_long"] = bar(warm, 1.3, warm >= 1.3)
    return bars


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer prompts and pages")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", action="append", choices=PARTS)
    args = parser.parse_args()
    peer = os.environ.get("PEER_VLLM_PYTHON")
    if peer is None:
        raise SystemExit("set PEER_VLLM_PYTHON to a Python that has vLLM and glyph_worker")
    does = {"tokens": tokens, "url": url, "store": shared_store, "kill": killed, "service": service}
    parts = args.only or [part for part in PARTS if part != "service" or not args.quick]
    found: Found = {}
    for part in parts:
        with tempfile.TemporaryDirectory(prefix="glyph-backends-") as name:
            found[part] = does[part](Path(name), peer, args.quick)
        print(f"{part}: {found[part]}", file=sys.stderr)
    result = {
        "bench": "backends", "commit": commit(), "device": device_name(),
        "settings": {"quick": args.quick, "parts": parts}, "found": found,
        "bars": bars_of(found),
    }  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
