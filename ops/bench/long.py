"""A document beyond any window: is a fact found wherever it stands, at what cost, despite kills?

    ops/bench/long [--quick] [--megabytes N] [--only found|kills|lens|whole] [--choosing]
                   [--answer-workers 1] [--json PATH]

found     five facts at 0, 25, 50, 75 and 100 % of the text, asked by `segments`: the answer and
          the characters that it cites; the first question, on a cold house, against the second
select    the same facts and forty more by `select`: is the fact's page among those read, is the
          answer right, how many pages were read; the time of those that were not
          asked before against the first question's
memory    most that each process had resident
kills     a text a tenth as long, while the render worker and the answer worker are killed (-9)
whole     facts in documents within the window: right answers and seconds, read whole and in parts
lens      facts in documents within the window, asked plainly and with `lens`: right answers, tokens

Through the whole service with the embedded reader, on servers of its own. `--quick`: 60 kB and nine
lookups. `--choosing`: other texts, by which rules are chosen; what was missed is told with the
answers of the fact's own part and of the part that won.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from chaos.crew import Crew

from bench import long_choosing, long_text
from bench.long_text import Planted
from bench.machine import commit, device_name, peak_bytes
from bench.served import until
from glyph_worker.client import Client
from glyph_worker.job import Answer, Job
from glyph_worker.settings import Settings
from glyph_worker.store.connection import connect

PATIENCE_S = 6 * 3600.0
FIRST_AGAIN, SELECT_FASTER, SELECT_FINDS, SELECT_PAGES = 1.5, 20.0, 0.95, 0.1
NUM_LOOKUPS, QUICK_LOOKUPS = 45, 9
WHOLE_BYTES, NUM_WHOLE = (4_000, 6_000, 12_000, 24_000), 12
"""Of more pages than the reader's folder says that it reads whole: below, both ways are one."""
CACHE_BYTES = 4 << 30
"""Of the cache server: a page's features take a third of a megabyte."""


class House:
    """A render worker, answer workers and a client. As a context."""

    def __init__(self, folder: Path, max_bytes: int, num_answer: int = 1) -> None:
        environ = {"GLYPH_DEVICE": "cpu", "GLYPH_QUEUE_LEASE_S": "10"}
        settings = Settings.load(environ=environ, limits={"max_document_bytes": max_bytes})
        self.crew = Crew(settings, folder, num_render=1, num_answer=num_answer)
        with connect(self.crew.cache_url) as cache:
            cache.config_set("maxmemory", CACHE_BYTES)
        self.client = Client(self.crew.settings)

    def __enter__(self) -> House:
        self.crew.start()
        workers = self.crew.workers
        until(lambda: len(self.crew.serving()) == len(workers), "workers serve")
        return self

    def __exit__(self, *_: object) -> None:
        self.crew.stop()

    def ask(self, text: str, fact: Planted, overflow: str) -> tuple[Answer, float]:
        """The answer and the seconds it took."""
        began = time.perf_counter()
        job = self.submit(text, fact, overflow)
        answer = self.client.wait(job.id, timeout=PATIENCE_S)
        return answer, time.perf_counter() - began

    def submit(self, text: str, fact: Planted, overflow: str) -> Job:
        kind: Any = overflow
        return self.client.submit(text, fact.question, overflow=kind, max_new_tokens=24)

    def peaks_mb(self) -> dict[str, int]:
        """Of each process, children apart."""
        found: dict[str, int] = {}
        for worker in self.crew.workers:
            name, process = f"{worker.kind} {worker.index}", psutil.Process(worker.process.pid)
            found[name] = peak_bytes(process.pid) >> 20
            for number, child in enumerate(process.children(recursive=True)):
                found[f"{name} child {number}"] = peak_bytes(child.pid) >> 20
        for name, server in (("broker", self.crew.broker), ("cache", self.crew.cache)):
            assert server is not None
            found[name] = peak_bytes(server.pid) >> 20
        return found


def right(text: str, fact: Planted, answer: Answer) -> bool:
    """The answer, and the place that it cites."""
    cited = [(one.start, one.end) for one in answer.citations]
    at = text.index(fact.answer)
    return answer.text.strip() == fact.answer and (at, at + len(fact.answer)) in cited


def measure(house: House, num_bytes: int, num_lookups: int, texts: Any) -> dict[str, Any]:
    planted = texts.facts(num_lookups, "found")
    text = texts.long_text(num_bytes, planted, "found")
    five = [planted[at * (len(planted) - 1) // 4] for at in range(5)]

    def ask(fact: Planted, overflow: str) -> tuple[Answer, float]:
        answer, took_s = house.ask(text, fact, overflow)
        say(f"{overflow}: {answer.text!r} for {fact.answer!r}, {took_s:.1f} s")
        if not right(text, fact, answer):
            tell_missed(house, text, fact, answer)
        return answer, took_s

    # What the ratios are of comes first: of megabytes, the rest takes hours on a small machine.
    asked = [ask(fact, "segments") for fact in five[:2]]
    say(f"memory: {house.peaks_mb()}")
    selected = [ask(fact, "select") for fact in planted]
    asked += [ask(fact, "segments") for fact in five[2:]]
    first = asked[0][0].receipt
    pages = [sum(one.pages for one in answer.receipt.segments) for answer, _ in selected]
    num_pages = first.pages_encoded + first.pages_reused
    # What was asked by segments before has its likeliest pages' answers kept, and costs nothing.
    fresh = [
        took_s for fact, (_, took_s) in zip(planted, selected, strict=True) if fact not in five[:2]
    ]
    select_s = sorted(fresh)[len(fresh) // 2]
    peaks = house.peaks_mb()
    return {
        "bytes": len(text),
        "segments": len(first.segments),
        "pages_read": num_pages,
        "found": sum(
            right(text, fact, answer) for fact, (answer, _) in zip(five, asked, strict=True)
        ),
        "seconds": [round(took_s, 2) for _, took_s in asked],
        "pages_encoded": [answer.receipt.pages_encoded for answer, _ in asked],
        "second_vs_first": round(asked[0][1] / asked[1][1], 2),
        "select": {
            "lookups": len(planted),
            "right": sum(
                right(text, fact, answer)
                for fact, (answer, _) in zip(planted, selected, strict=True)
            ),
            "page_read": sum(
                _was_read(text, fact, answer)
                for fact, (answer, _) in zip(planted, selected, strict=True)
            ),
            "pages": {"most": max(pages), "mean": round(sum(pages) / len(pages), 2)},
            "share_of_pages": round(max(pages) / num_pages, 4),
            "fresh_lookups": len(fresh),
            "seconds_median": round(select_s, 3),
            "seconds_most": round(max(fresh), 3),
            "faster_than_first": round(asked[0][1] / select_s, 1),
        },
        "peak_mb": peaks,
    }


def tell_missed(house: House, text: str, fact: Planted, answer: Answer) -> None:
    """What the parts said that had the fact, and that which won; those of this job alone."""
    at = text.index(fact.answer)
    parts = [one for one in answer.receipt.segments if one.job_id]
    rows = {one.job_id: (one, house.client.result(one.job_id)) for one in parts}
    for one, said in rows.values():
        if said is not None and (one.start <= at < one.end or said.text == answer.text):
            where = "its own" if one.start <= at < one.end else "other"
            say(
                f"    {where} part {one.start}-{one.end}, {one.pages} pages: {said.text!r}, "
                f"confidence {said.confidence}, support {one.support}, log probability "
                f"{said.mean_log_prob}"
            )


def _was_read(text: str, fact: Planted, answer: Answer) -> bool:
    at = text.index(fact.answer)
    passages = [
        span for one in answer.receipt.segments for span in one.passages or [(one.start, one.end)]
    ]
    return any(start <= at < end for start, end in passages)


def against_whole(house: House, sizes: Sequence[int], texts: Any) -> list[dict[str, Any]]:
    """Of each size: pages, and of either way how many answers were right and how long they took."""
    found = []
    for num_bytes in sizes:
        planted = texts.facts(NUM_WHOLE, f"whole {num_bytes}")
        text = texts.long_text(num_bytes, planted, f"whole {num_bytes}")
        row: dict[str, Any] = {"bytes": len(text), "facts": NUM_WHOLE}
        for name, overflow in (("whole", "refuse"), ("parts", "segments")):
            asked = [house.ask(text, fact, overflow) for fact in planted]
            receipt = asked[0][0].receipt
            row[name] = {
                "pages": receipt.pages_encoded + receipt.pages_reused,
                "segments": len(receipt.segments),
                "right": sum(
                    answer.text.strip() == fact.answer
                    for fact, (answer, _) in zip(planted, asked, strict=True)
                ),
                "seconds_median": round(statistics.median(took_s for _, took_s in asked), 2),
            }
        say(json.dumps(row))
        found.append(row)
    return found


def through_kills(house: House, num_bytes: int) -> dict[str, Any]:
    planted = long_text.facts(5, "kills")
    text = long_text.long_text(num_bytes, planted, "kills")
    fact = planted[2]
    job = house.submit(text, fact, "segments")
    killed = []
    for kind, share in (("answer", 0.2), ("render", 0.4), ("answer", 0.6)):

        def far(share: float = share) -> bool:
            seen = house.client.status(job.id)
            progress = seen.progress
            done = progress.num_segments_done >= share * max(1, progress.num_segments)
            return seen.status.final or (progress.num_segments > 0 and done)

        until(far, f"{share:.0%} of the segments have ended")
        if house.client.status(job.id).status.final:
            break
        worker = next(one for one in house.crew.workers if one.kind == kind)
        worker.kill()
        killed.append(kind)
        house.crew.revive()
    answer = house.client.wait(job.id, timeout=PATIENCE_S)
    receipt = answer.receipt
    with connect(house.crew.broker_url) as redis:
        commits = [
            int(redis.hget(key, "num_commits") or 0)
            for key in redis.scan_iter(f"glyph:job:{job.id}*", count=1_000)
        ]
    return {
        "bytes": len(text),
        "killed": killed,
        "right": right(text, fact, answer),
        "segments": len(receipt.segments),
        "failed": sum(one.status != "succeeded" for one in receipt.segments),
        "ended_twice": sum(number != 1 for number in commits),
        "pages_read": receipt.pages_encoded + receipt.pages_reused,
        "pages_encoded": receipt.pages_encoded,
        "distinct_pages": _distinct_pages(text, receipt.segments),
    }


def _distinct_pages(text: str, segments: Any) -> int:
    """Of all segments as they were laid out: more than so many encodes are some done twice."""
    from glyph_worker.render.paginate import paginate
    from glyph_worker.render.style.presets import preset_style

    style = preset_style("nano")
    return len(
        {
            laid.page.digest
            for one in segments
            for laid in paginate(text[one.start : one.end], style)
        }
    )


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def bar(value: float, target: float, *, least: bool = True) -> dict[str, Any]:
    met = value >= target if least else value <= target
    return {"value": value, "target": target, "met": met}


def found_bars(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    select = found["select"]
    return {
        "facts_found_and_cited": bar(found["found"], 5),
        "second_by_segments_vs_first": bar(found["second_vs_first"], FIRST_AGAIN),
        "select_vs_first": bar(select["faster_than_first"], SELECT_FASTER),
        "select_pages_found": bar(round(select["page_read"] / select["lookups"], 4), SELECT_FINDS),
        "select_share_of_pages": bar(select["share_of_pages"], SELECT_PAGES, least=False),
    }


def kill_bars(kills: dict[str, Any]) -> dict[str, dict[str, Any]]:
    twice = max(0, kills["pages_encoded"] - kills["distinct_pages"])
    return {
        "right_through_kills": bar(int(kills["right"]), 1),
        "kills": bar(len(kills["killed"]), 3),
        "ended_twice": bar(kills["ended_twice"], 0, least=False),
        "encoded_twice": bar(twice, 0, least=False),
    }


RATIOS = ("second_by_segments_vs_first", "select_vs_first")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--megabytes", type=float, default=10.0)
    parser.add_argument("--only", choices=("found", "kills", "whole", "lens"))
    parser.add_argument("--choosing", action="store_true")
    parser.add_argument("--answer-workers", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    num_bytes = int(1e6 * (0.06 if args.quick else args.megabytes))
    texts = long_choosing if args.choosing else long_text
    max_bytes, num_answer = num_bytes + 100_000, args.answer_workers
    figures: dict[str, Any] = {}
    bars: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        if args.only in (None, "kills"):
            with House(Path(folder) / "kills", max_bytes, num_answer) as house:
                kills = through_kills(house, max(60_000, num_bytes // 10))
            figures["kills"] = kills
            bars |= kill_bars(kills)
            say(f"kills: {json.dumps(kills)}")
        if args.only in (None, "whole"):
            with House(Path(folder) / "whole", max_bytes, num_answer) as house:
                sizes = WHOLE_BYTES[:2] if args.quick else WHOLE_BYTES
                figures["whole"] = against_whole(house, sizes, texts)
            say(f"whole: {json.dumps(figures['whole'])}")
        if args.only in (None, "lens"):
            from bench.long_lens import through_lens  # needs the whole reader's libraries

            with House(Path(folder) / "lens", max_bytes, num_answer) as house:
                figures["lens"] = through_lens(house, 2 if args.quick else 6)
            say(f"lens: {json.dumps(figures['lens'])}")
        if args.only in (None, "found"):
            lookups = QUICK_LOOKUPS if args.quick else NUM_LOOKUPS
            with House(Path(folder) / "found", max_bytes, num_answer) as house:
                found = measure(house, num_bytes, lookups, texts)
            figures["found"] = found
            bars |= found_bars(found)
            say(f"found: {json.dumps(found)}")
    report = {
        "bench": "long",
        "commit": commit(),
        "device": f"{device_name()}, load {os.getloadavg()[0]:.1f}",
        "settings": {
            "quick": args.quick,
            "choosing": args.choosing,
            "bytes": num_bytes,
            "answer_workers": num_answer,
        },
        "ratios": {name: bars[name]["value"] for name in RATIOS if name in bars},
        "bars": bars,
        "figures": figures,
    }
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
