"""Does any file crash intake or layout, cost over 5 s of CPU, or lose a character?

    ops/fuzz/documents [--count 50000] [--real 2000] [--seed 1] [--processes 2] [--json PATH]
    ops/fuzz/documents --only NUMBER --seed 1      # one of them again, in this process

Evil files (noise, broken UTF-8 and UTF-16, markup, PDFs, tables, controls, bidi, emoji, long lines)
and the machine's own ones go the way of an upload: recognised, read, laid out on pages. Every
hundredth page or PDF is read by the real child; the others by the same code in this process, where
nothing bounds it. A process that dies is started again behind the file that killed it, and counts.
Of a text, every character must come out of the renderer's normal form, and stand on a page.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import queue
import re
import resource
import sys
import time
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

from fuzz.evil_files import EvilFile, evil_file, real_files
from glyph_worker.document import Document
from glyph_worker.errors import GlyphError
from glyph_worker.intake.html import text_of_page
from glyph_worker.intake.kinds import Kind, recognise
from glyph_worker.intake.pdf import text_of_pdf
from glyph_worker.intake.reader import FileReader
from glyph_worker.render.pages.page import LaidPage
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style
from glyph_worker.render.style.style import Style
from glyph_worker.settings import Settings

MAX_CPU_S = 5.0
MAX_BYTES = 10_000_000
MAX_MEMORY_BYTES = 6 << 30
STUCK_S = 1_800.0
"""Of the clock's time, on a machine that may have much else to do."""
STYLES = ("nano", "balanced", "reference", "balanced-cjk")
# Sequences of terminals and C1 controls are dropped with what they say; the rest must stay.
# Unicode's default ignorables that are letters or marks: nothing is drawn for them.
INVISIBLE = frozenset(
    map(chr, (0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x3164, 0xFFA0,
              *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), *range(0xE0000, 0xE1000)))
)  # fmt: skip
ODD = re.compile("[\x08\x1b\x80-\x9f\ud800-\udfff]")


def read(file: EvilFile, *, in_child: bool) -> tuple[str, Document]:
    """(Kind, document), as an upload is read. Raises GlyphError."""
    found = recognise(file.raw, name=file.name, content_type=file.content_type)
    if in_child or found.kind in (Kind.TEXT, Kind.PICTURE):
        return found.kind, FileReader(Settings()).read_recognised(file.raw, found)
    if found.kind is Kind.HTML:
        text, _ = text_of_page(file.raw, found.charset)
    else:
        text, _ = text_of_pdf(file.raw, max_bytes=MAX_BYTES)
    return found.kind, Document.of(text, max_bytes=MAX_BYTES)


def visible(text: str) -> tuple[str, Counter[str]]:
    """What a normal form may not lose: letters, digits, signs in order, and how many of each mark.

    Apart, since a mark that loses the invisible character before it joins the letter before that.
    """
    chars = [char for char in unicodedata.normalize("NFD", text) if char not in INVISIBLE]
    kinds = [unicodedata.category(char)[0] for char in chars]
    order = "".join(char for char, kind in zip(chars, kinds, strict=True) if kind in "LNPS")
    return order, Counter(char for char, kind in zip(chars, kinds, strict=True) if kind == "M")


def laid_out(text: str, style: Style) -> tuple[str, list[LaidPage]]:
    """The renderer's normal form, and all pages."""
    pages = paginate(text, style)
    return pages.normalized.text, list(pages)


def drawn_short(text: str, offset: int) -> bool:
    """A sign of a table's rule that repeats its neighbour: of long rules a few signs are drawn."""
    return text[offset] in "-=+:|" and text[offset] in (
        text[offset - 1 : offset] + text[offset + 1 : offset + 2]
    )


def check(text: str, whole: str, pages: list[LaidPage], *, is_text: bool) -> None:
    """Raises AssertionError for a lost character."""
    if is_text and not ODD.search(text):
        assert visible(text) == visible(whole), "the normal form has lost a character"
    at = 0
    for laid in pages:
        for line in laid.lines:
            assert line.start == at <= line.end, f"lines do not tile: {line.start} after {at}"
            at = line.end
            shown = {line.offset_of(index) for index in range(len(line.shown))}
            lost = [
                offset
                for offset in range(line.start, line.end)
                if offset not in shown
                and not whole[offset].isspace()
                and not drawn_short(whole, offset)
            ]
            assert not lost, (
                f"{len(lost)} characters stand on no page, first U+{ord(whole[lost[0]]):04X}"
            )
    assert at == len(whole), f"pages end at {at} of {len(whole)}"


def warm_up() -> None:
    """Glyphs are made once for a style, at no file's cost."""
    for name in STYLES:
        laid_out("warm up: äöü 中文\n", preset_style(name))


def run_one(file: EvilFile, number: int) -> dict[str, Any]:
    began = time.process_time()
    row: dict[str, Any] = {"kind": file.kind, "outcome": "read", "fault": ""}
    try:
        kind, document = read(file, in_child=number % 100 == 0)
        row["read_s"] = round(time.process_time() - began, 3)
        style = STYLES[number % len(STYLES)] if len(document.text) < 50_000 else "balanced"
        whole, pages = laid_out(document.text, preset_style(style))
        row["cpu_s"] = round(time.process_time() - began, 3)  # without what looks at the result
        check(document.text, whole, pages, is_text=kind == Kind.TEXT)
    except GlyphError as exc:
        row["outcome"] = exc.code
    except Exception as exc:  # noqa: BLE001  the find: named, counted, and the next file's turn
        row |= {"outcome": "crash", "fault": f"{type(exc).__name__}: {exc}"[:300]}
    row.setdefault("cpu_s", round(time.process_time() - began, 3))
    return row


def work(seed: int, numbers: list[int], real: int, at: Any, slot: int, out: Any) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    files = dict(enumerate(real_files(real), start=1)) if numbers and numbers[0] < 0 else {}
    if files:
        numbers = [-number for number in files if -number <= numbers[0]]
    warm_up()
    for number in numbers:
        at[slot] = number
        file = files[-number] if number < 0 else evil_file(seed, number)
        out.put((slot, number, run_one(file, abs(number))))
    at[slot] = 0
    out.put((slot, None, {}))


class Crew:
    """Processes that share the files; one that dies or hangs is started again behind its file."""

    def __init__(self, seed: int, count: int, real: int, processes: int) -> None:
        self.seed, self.real = seed, real
        self.shares = [list(range(1 + slot, count + 1, processes)) for slot in range(processes)]
        if real:
            self.shares.append([-1])
        self.at = multiprocessing.Array("q", len(self.shares))
        self.out: Any = multiprocessing.Queue()
        self.processes = [self.start(slot) for slot in range(len(self.shares))]
        self.since = [(0, time.monotonic())] * len(self.shares)
        self.lost: list[dict[str, Any]] = []

    def start(self, slot: int) -> Any:
        arguments = (self.seed, self.shares[slot], self.real, self.at, slot, self.out)
        process = multiprocessing.Process(target=work, args=arguments, daemon=True)
        process.start()
        return process

    def results(self) -> Any:
        open_slots = set(range(len(self.shares)))
        while open_slots:
            try:
                slot, number, row = self.out.get(timeout=5)
            except queue.Empty:  # look after the processes
                for slot in sorted(open_slots):
                    self.look_after(slot, open_slots)
                continue
            if number is None:
                open_slots.discard(slot)
            else:
                yield number, row

    def look_after(self, slot: int, open_slots: set[int]) -> None:
        number, process = self.at[slot], self.processes[slot]
        if self.since[slot][0] != number:
            self.since[slot] = number, time.monotonic()
        hangs = time.monotonic() - self.since[slot][1] > STUCK_S
        if process.is_alive() and not hangs:
            return
        if process.is_alive():
            process.kill()
        process.join()
        fault = "hung" if hangs else f"died with {process.exitcode}"
        self.lost.append({"number": number, "fault": fault})
        share = self.shares[slot]
        rest = [number - 1] if number < 0 else share[share.index(number) + 1 :]
        self.shares[slot] = rest
        if rest:
            self.processes[slot] = self.start(slot)
        else:
            open_slots.discard(slot)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--real", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", type=int)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.only:
        warm_up()
        file = evil_file(given.seed, given.only)
        print(json.dumps(run_one(file, given.only) | {"num_bytes": len(file.raw)}))
        return 0
    began = time.monotonic()
    crew = Crew(given.seed, given.count, given.real, given.processes)
    faults, slow, slowest = [], [], 0.0
    kinds: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for done, (number, row) in enumerate(crew.results(), start=1):
        kinds[row["kind"]] += 1
        outcomes[row["outcome"]] += 1
        slowest = max(slowest, row["cpu_s"])
        if row["outcome"] == "crash":
            faults.append({"number": number, **row})
            print(f"fault: {number} {row}", file=sys.stderr, flush=True)
        if row["cpu_s"] > MAX_CPU_S:
            slow.append({"number": number, **row})
            print(f"slow: {number} {row}", file=sys.stderr, flush=True)
        if done % 1_000 == 0:
            print(f"{done} after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    report = {
        "fuzz": "documents", "seed": given.seed, "num_files": sum(kinds.values()),
        "wall_s": round(time.monotonic() - began, 1), "slowest_cpu_s": slowest,
        "kinds": dict(kinds), "outcomes": dict(outcomes), "faults": faults, "slow": slow,
        "lost_processes": crew.lost,
    }  # fmt: skip
    print(json.dumps(report))
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if faults or slow or crew.lost else 0


if __name__ == "__main__":
    sys.exit(main())
