"""How soon does a follow-up's answer begin, against the document's first question?

The embedded reader's weights under a template that writes conversations, on a document of some
pages: its first question reads pages and prompt; a follow-up finds the document and the earlier
turns kept; after other documents have pushed both to host memory, another follow-up brings them
back. Time to the first token, of one process' one thread, in turn on fresh documents: CPU time in
the ratios, which neighbours on the machine change less, and the clock's beside it.
Usage: ops/bench/followups [--quick] [--json PATH] [--rounds N] [--pages N].
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from synthetic.checkpoints import CHAT_TEMPLATE

from bench.machine import commit, device_name
from glyph_worker.engine.engine import AnswerRequest, Deliver, Engine, PageInput
from glyph_worker.engine.kv import KVPool
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.embedded import checkpoint_path
from glyph_worker.model.reader import Reader
from glyph_worker.render.out.raster import draw
from glyph_worker.render.pages.page import LaidPage
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style
from glyph_worker.setting_sections import EngineSettings

QUESTION = "What is the code of shelf 7?"
TURNS = (
    ("Which shelves are there?", "Shelves with a number, a code and what lies on each of them."),
    ("Who keeps the list?", "Nobody is named as the keeper of the list in this document."),
)
TARGET = 0.05


class Spent(NamedTuple):
    cpu_ms: float
    wall_ms: float


class Asked:
    """One engine, its documents, and the time each question takes to its first token."""

    def __init__(self, reader: Reader, num_pages: int) -> None:
        self._reader = reader
        self._num_pages = num_pages
        self._count = 0
        language = reader.language
        per_token = KVPool.bytes_per_token(
            num_layers=language.num_layers,
            num_kv_heads=language.num_kv_heads,
            head_dim=language.head_dim,
            dtype=reader.dtype,
        )
        page = self.document(0)[0].page
        tokens = (reader.num_visual_tokens(page.width, page.height) + 16) * num_pages
        # One document and its conversation on the device, four in host memory.
        self.engine = Engine(
            reader,
            EngineSettings(
                kv_bytes=(tokens + 800) * per_token,
                kv_host_bytes=6 * tokens * per_token,
                self_test=False,
            ),
        )

    def document(self, seed: int) -> list[LaidPage]:
        """Pages that no other seed has."""
        style = preset_style("nano")
        pages: list[LaidPage] = []
        text = "".join(
            f"shelf {line}: code {seed}-{line * 7919 % 9973:04}, {line % 13} boxes, series {seed}\n"
            for line in range(64 * self._num_pages)
        )
        for laid in paginate(text, style):
            pages.append(laid)
            if len(pages) == self._num_pages:
                break
        return pages

    def ask(self, pages: Sequence[LaidPage], num_turns: int) -> tuple[Spent, int, int]:
        """(Time to the first token, prompt tokens, those of them that were kept)."""
        self._count += 1
        request = AnswerRequest(
            sequence_id=str(self._count),
            pages=tuple(
                PageInput(digest=one.page.digest, width=one.page.width, height=one.page.height)
                for one in pages
            ),
            question=QUESTION,
            history=TURNS[:num_turns],
            max_new_tokens=1,
        )

        def fetch(indexes: Sequence[int], deliver: Deliver) -> None:
            for index in indexes:
                deliver(self._reader.encode_pages([draw(pages[index])]))

        began = time.process_time(), time.perf_counter()
        result = self.engine.answer(request, fetch=fetch)
        spent = Spent(
            cpu_ms=(time.process_time() - began[0]) * 1e3,
            wall_ms=(time.perf_counter() - began[1]) * 1e3,
        )
        return spent, result.num_prompt_tokens, result.num_prefix_tokens_reused


def measured(reader: Reader, num_pages: int, rounds: int) -> dict[str, list[Spent]]:
    """What each kind of question took, once a round. Raises AssertionError where what
    should be kept was not."""
    asked = Asked(reader, num_pages)
    asked.engine.start()
    found: dict[str, list[Spent]] = {"first": [], "follow_up": [], "from_host": [], "again": []}
    try:
        asked.ask(asked.document(10_000), 0)  # whatever is done once is done
        for number in range(rounds):
            pages = asked.document(2 * number)
            found["first"].append(asked.ask(pages, 0)[0])
            spent, _, kept = asked.ask(pages, 1)
            assert kept, "the follow-up found nothing kept"
            found["follow_up"].append(spent)
            restored = asked.engine.core.prefixes.num_restores
            asked.ask(asked.document(2 * number + 1), 0)
            spent, prompt, kept = asked.ask(pages, 2)
            brought = asked.engine.core.prefixes.num_restores - restored
            assert brought > num_pages // 2, f"only {brought} pages were in host memory"
            assert prompt - kept < 400, "the document was read again"
            found["from_host"].append(spent)
            found["again"].append(asked.ask(pages, 2)[0])
    finally:
        asked.engine.stop()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="does it run?")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pages", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rounds, num_pages = (1, 8) if options.quick else (options.rounds, options.pages)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.copytree(checkpoint_path(), Path(place) / "conversing"))
        (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
        found = measured(load_reader(folder, threads=1), num_pages, rounds)
    shares = {
        name: [
            one.cpu_ms / first.cpu_ms
            for one, first in zip(found[name], found["first"], strict=True)
        ]
        for name in ("follow_up", "from_host", "again")
    }
    ratios = {name: round(statistics.median(values), 4) for name, values in shares.items()}
    report = {
        "bench": "followups",
        "commit": commit(),
        "device": device_name(),
        "settings": {"quick": options.quick, "rounds": rounds, "pages": num_pages},
        "first_token_ms": {
            name: {
                "cpu": round(statistics.median(one.cpu_ms for one in values), 1),
                "wall": round(statistics.median(one.wall_ms for one in values), 1),
            }
            for name, values in found.items()
        },
        "ratios": ratios,
        "bars": {
            name: {"value": value, "target": TARGET, "met": value <= TARGET}
            for name, value in ratios.items()
        },
        "spread": {
            name: [round(min(values), 4), round(max(values), 4)] for name, values in shares.items()
        },
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
