"""The source article's table, for this system on this machine: what each optimisation gains.

Every row is the whole service (client → queues → workers → engine) with the product's own settings:
a server, a render worker and an answer worker as processes, started for that row. Three mixes:
  article    ten technical documents of about 1,200 characters, one question each
  long       two documents of about ten pages, five questions on each, from different people
  follow-up  the ten documents, five questions each, one after the other

Usage: ops/bench/article [--quick] [--json PATH] [--resume] [--seconds S] [--device cpu|cuda]
                         [--model DIR|small|tiny|nano] [--repeat N] [--only ROW]... [--page]
                         [--accuracy STRIPS] [--show]
Without --model: random weights, 34 M parameters (answers say nothing; times and memory do). With
nano, the embedded reader, answers are counted right or wrong.

Rows with the fewest repetitions go first, so a run may be cut into slices: `--seconds 200` starts
no row after that time, and `--resume` goes on with the file of `--json`, if commit and settings
are the same. Beside the JSON a table (.md) and a plot (.png) are written. `--show` measures no row:
it makes table and plot of an earlier run again. With `--show --accuracy 12` it asks the embedded
reader on strips that went through the article's sizes, for the table of resolutions.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.article_peers import measure_peer
from bench.article_report import MIXES, conclusion, markdown, plot, resolution_table, summary
from bench.article_rows import (
    STYLES,
    WARM_UP,
    Asked,
    Conversation,
    Mix,
    Row,
    made_mixes,
    reader_mixes,
    rows,
)
from bench.machine import ROOT, commit, device_name, forget_peak, peak_bytes, resident_bytes
from glyph_worker.client import Client
from glyph_worker.local.service import LocalService
from glyph_worker.settings import Settings
from glyph_worker.store.connection import connect
from glyph_worker.store.keys import Keys
from glyph_worker.store.tally import Tally
from glyph_worker.store.workers import WorkerInfo

ANSWER_TOKENS = 16
ARTICLE = {"jobs_per_s_gain": 8.75, "peak_memory_share": 9.8 / 18.7}
"""What the article reaches, on a GPU, with the weights counted in."""
PAGE = ROOT / "ops" / "docs" / "measured.md"
MARKS = ("<!-- article:begin -->\n", "<!-- article:end -->")


@dataclass(frozen=True)
class Answered:
    took_ms: float
    visual_tokens: int
    right: bool | None


def ask(client: Client, text: str, asked: Asked) -> Answered:
    began = time.perf_counter()
    job = client.submit(text, asked.text, max_new_tokens=ANSWER_TOKENS)
    answer = client.wait(job.id, timeout=600)
    took_ms = (time.perf_counter() - began) * 1e3
    right = None if asked.right is None else answer.text.strip() == asked.right.strip()
    return Answered(took_ms, answer.receipt.visual_tokens, right)


def run_mix(client: Client, conversations: list[Conversation], window: int) -> dict[str, Any]:
    """One pass, `window` conversations at a time."""

    def talk(one: Conversation) -> list[Answered]:
        return [ask(client, one.document, asked) for asked in one.questions]

    done: list[Answered] = []
    began = time.perf_counter()
    with ThreadPoolExecutor(max_workers=window) as pool:
        for start in range(0, len(conversations), window):
            for answered in pool.map(talk, conversations[start : start + window]):
                done += answered
    wall_s = time.perf_counter() - began
    rights = [one.right for one in done if one.right is not None]
    found = summary([one.took_ms for one in done], wall_s, rights)
    return found | {"visual_tokens": statistics.fmean(one.visual_tokens for one in done)}


def measure(row: Row, mixes: list[Mix], model: str, device: str, folder: Path) -> dict[str, Any]:
    """One row, one repetition: a fresh service with empty caches, a warm-up job, then the mixes."""
    if row.peer is not None:
        taken = {mix.name: mix.take(row.sample) for mix in mixes}
        return measure_peer(row, model, STYLES[row.style], taken, ANSWER_TOKENS)
    changes = dict(row.settings)
    if row.style in STYLES:
        style = folder / f"{row.style}.json"
        style.write_text(json.dumps(STYLES[row.style]))
        changes["GLYPH_RENDER_STYLE"] = str(style)
    with environment(changes):
        settings = Settings.load(model=model, device=device)
        data = Path(tempfile.mkdtemp(dir=folder))
        with LocalService(settings, folder=data) as service:
            living = service.wait_ready(timeout_s=300)
            client = Client(service.settings)
            if row.restarted:
                for mix in mixes:
                    run_mix(client, mix.take(row.sample), row.window)
                living = restart(service, living)
            pid = next(info.pid for info in living if info.kind == "answer")
            ask(client, WARM_UP, Asked("ready?"))
            ready = resident_bytes(pid)
            found = {}
            for mix in mixes:
                if device == "cpu":
                    forget_peak(pid)
                found[mix.name] = run_mix(client, mix.take(row.sample), row.window)
                found[mix.name] |= memory_of(service, pid, ready, device)
            return found


def restart(service: LocalService, living: list[WorkerInfo]) -> list[WorkerInfo]:
    """End the answer worker in order and start another: what it had in memory is gone."""
    for info in living:
        if info.kind == "answer":
            os.kill(info.pid, signal.SIGTERM)
    while not service.revive():
        time.sleep(0.05)
    return service.wait_ready(timeout_s=300)


def memory_of(service: LocalService, pid: int, ready: int, device: str) -> dict[str, int]:
    """Peaks of the answer worker: on the CPU the process against itself once loaded and warm; on
    CUDA what its allocator had at most, with and without the weights."""
    if device == "cpu":
        peak = peak_bytes(pid)
        return {"peak_bytes": peak, "beyond_weights_bytes": max(0, peak - ready)}
    time.sleep(1.5)  # the worker reports once a second
    url = service.broker_url
    tally = Tally(connect(url), Keys(service.settings.key_prefix))
    (engine,) = tally.engines()
    return {
        "peak_bytes": int(engine.stats["device_memory_used_bytes"]),
        "beyond_weights_bytes": int(engine.stats["memory_beyond_weights_bytes"]),
    }


@contextmanager
def environment(changes: dict[str, str]) -> Iterator[None]:
    kept = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def checkpoint(model: str, folder: Path) -> str:
    if model not in ("small", "tiny"):
        return model
    from synthetic.checkpoints import write_checkpoint

    return str(write_checkpoint(folder / "checkpoint", model))


def chosen(table: list[Row], only: list[str]) -> list[Row]:
    """The rows of these names; what is no row's name takes all that hold it. All for none."""
    names = {row.name for row in table}

    def is_meant(row: Row) -> bool:
        return any(part == row.name if part in names else part in row.name for part in only)

    return [row for row in table if not only or is_meant(row)]


def resume(table: list[Row], path: Path, settings: dict[str, Any], device: str) -> None:
    """Take over the repetitions of an earlier slice. Exits when they are of another thing."""
    earlier = json.loads(path.read_text())
    for name, now in (("commit", commit()), ("device", device), ("settings", settings)):
        if earlier[name] != now:
            raise SystemExit(f"{path} has another {name}: {earlier[name]}, now {now}")
    for row in table:
        row.samples = earlier["samples"].get(row.name, [])


def report(table: list[Row], settings: dict[str, Any], device: str, kind: str) -> dict[str, Any]:
    samples = {row.name: row.samples for row in table if row.samples}
    return {
        "bench": "article", "commit": commit(), "device": device, "settings": settings,
        **conclusion(samples, kind),
        "num_repetitions": {name: len(many) for name, many in samples.items()},
        "rows": {row.name: {"style": row.style, "window": row.window, "sample": row.sample,
                            "settings": row.settings} for row in table},
        "accuracy": {}, "samples": samples,
    }  # fmt: skip


def tables(result: dict[str, Any]) -> str:
    samples = result["samples"]
    where = f"`{result['commit']}`, {result['device']}, model {result['settings']['model']}"
    numbers = sorted(set(result["num_repetitions"].values()))
    times = f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else f"{numbers[0]}"
    parts = [f"Commit {where}, {times} interleaved repetitions, medians."]
    parts += [f"**{mix} mix**\n\n{markdown(samples, mix)}" for mix in MIXES]
    if resolutions := resolution_table(samples, result["accuracy"]):
        parts.append(f"**Resolution, nothing else switched on, article mix**\n\n{resolutions}")
    return "\n\n".join(parts) + "\n"


def put_into_page(text: str) -> None:
    head, _, rest = PAGE.read_text().partition(MARKS[0])
    _, _, tail = rest.partition(MARKS[1])
    PAGE.write_text(f"{head}{MARKS[0]}{text}{MARKS[1]}{tail}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few documents, once")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--resume", action="store_true", help="go on with --json, if it is there")
    parser.add_argument("--seconds", type=float, help="start no row after this time")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--model", default="small")
    parser.add_argument("--repeat", type=int, default=0, help="repetitions in all; 3")
    parser.add_argument("--only", action="append", help="a row's name, or part of it")
    parser.add_argument("--accuracy", type=int, default=0, help="strips for the embedded reader")
    parser.add_argument("--show", action="store_true", help="measure no row, take --json's")
    parser.add_argument(
        "--page", action="store_true", help="put the table into ops/docs/measured.md"
    )
    args = parser.parse_args()
    if args.show:
        result = json.loads(args.json.read_text())
        if args.accuracy:
            from bench.article_accuracy import accuracy

            result["accuracy"] = accuracy(args.accuracy)
        finish(args, result)
        return
    repeat = args.repeat or (1 if args.quick else 3)
    own_style = args.model == "nano"
    device = device_name(args.device)
    mixes = (reader_mixes if own_style else made_mixes)(quick=args.quick)
    table = chosen(rows(args.device, own_style=own_style), args.only or [])
    settings = {
        "model": args.model, "quick": args.quick, "answer_tokens": ANSWER_TOKENS,
        "threads": os.environ.get("OMP_NUM_THREADS", "all"), "article": ARTICLE,
    }  # fmt: skip
    if args.resume and args.json and args.json.exists():
        resume(table, args.json, settings, device)
    began = time.monotonic()
    random.seed(0)
    with tempfile.TemporaryDirectory(prefix="glyph-article-") as name:
        folder = Path(name)
        model = checkpoint(args.model, folder)
        while (row := min(table, key=lambda row: len(row.samples))) and len(row.samples) < repeat:
            if args.seconds and time.monotonic() - began > args.seconds:
                break
            row.samples.append(measure(row, mixes, model, args.device, folder))
            found = row.samples[-1]
            rates = ", ".join(
                f"{mix} {found[mix]['jobs_per_s']:.2f}/s "
                f"{found[mix]['beyond_weights_bytes'] / 2**20:.0f} MB"
                for mix in MIXES
            )
            print(f"{time.monotonic() - began:4.0f} s  {len(row.samples)}/{repeat} "
                  f"{row.name}: {rates}", file=sys.stderr)  # fmt: skip
            result = report(table, settings, device, args.device)
            if args.json:  # after every row: a run that is cut short keeps what it found
                args.json.write_text(json.dumps(result, indent=1) + "\n")
    finish(args, report(table, settings, device, args.device))


def finish(args: argparse.Namespace, result: dict[str, Any]) -> None:
    """Everything that is made of the samples; the last line on standard output is the result."""
    print(tables(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
        args.json.with_suffix(".md").write_text(tables(result))
        model = result["settings"]["model"]
        title = f"{result['device']}, commit {result['commit']}, model {model}"
        plot(args.json.with_suffix(".png"), result["samples"], title)
    if args.page:
        put_into_page(tables(result))
    print(json.dumps({k: v for k, v in result.items() if k not in ("rows", "samples")}))


if __name__ == "__main__":
    main()
