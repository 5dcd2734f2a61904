"""The rows, images and mixes of ops/bench/article: what is switched on, and what is asked."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal

# -- images -----------------------------------------------------------------------------------


def strip_style(
    width: int, height: int, font: int, cell: tuple[int, int], *, crop: bool
) -> dict[str, Any]:
    """One of the article's images: 56 columns and 7 or 8 lines, drawn at size."""
    return {
        "layout": "grid",
        "page-size": f"{width},{height}",
        "dpi": 72,
        "margin-x": 0,
        "margin-y": 0,
        "font-path": "DejaVuSansMono.ttf",
        "font-size": font,
        "line-height": cell[1],
        "alignment": "LEFT",
        "cell-width": cell[0],
        "cell-height": cell[1],
        "crop-multiple": 28 if crop else height,
        "breaks": "greedy",
    }


# The article's sizes, each rounded to whole visual tokens of 28 pixels.
STYLES = {
    "1024x256": strip_style(1008, 252, 28, (18, 36), crop=False),
    "512x128": strip_style(504, 140, 14, (9, 20), crop=False),
    "384x96": strip_style(392, 112, 11, (7, 14), crop=True),
}

# -- settings ---------------------------------------------------------------------------------

SWITCHED_OFF = (
    "packed_weights", "prefill_as_landed", "prefix_sharing", "grouped_decode", "compile",
    "cuda_graphs", "store",
)  # fmt: skip
OFF = {
    "GLYPH_OFF": ",".join(SWITCHED_OFF),
    "GLYPH_DTYPE": "float32",
    "GLYPH_ENGINE_ATTENTION": "plain",
    "GLYPH_ENGINE_THREADS": str(os.cpu_count()),
    "GLYPH_ENGINE_MAX_SLOTS": "1",
    "GLYPH_ENGINE_PREFILL_TOKENS": "65536",
    "GLYPH_FEATURES_DEVICE_BYTES": "0",
    "GLYPH_FEATURES_HOST_BYTES": "0",
    "GLYPH_FEATURES_MICRO_BATCH": "1",
}
FUSED = {"GLYPH_ENGINE_ATTENTION": "auto"}
HALF = {"GLYPH_DTYPE": "auto"}
BATCHED = {"GLYPH_ENGINE_MAX_SLOTS": "4", "GLYPH_FEATURES_MICRO_BATCH": "4"}
ASYNC = {
    "GLYPH_ENGINE_MAX_SLOTS": "8",
    "GLYPH_ENGINE_PREFILL_TOKENS": "0",
    "GLYPH_ENGINE_THREADS": "0",
}
FEATURES = {"GLYPH_FEATURES_DEVICE_BYTES": str(8 << 20)}
PREFIX = {"GLYPH_ENGINE_KV_BYTES": str(32 << 20)}


def switch_on(settings: dict[str, str], *names: str) -> dict[str, str]:
    """The same settings with these optimisations no longer off."""
    left = [name for name in settings["GLYPH_OFF"].split(",") if name not in names]
    return settings | {"GLYPH_OFF": ",".join(left)}


# Everything at the product's defaults, the pools bounded to what these mixes need.
ALL = {
    "GLYPH_ENGINE_KV_BYTES": str(32 << 20),
    "GLYPH_FEATURES_DEVICE_BYTES": str(8 << 20),
    "GLYPH_FEATURES_MICRO_BATCH": "4",
}

Sample = Literal["few", "some", "whole"]
Peer = Literal["direct", "sequential", "static", "celery", "vllm", "vllm-served"]


@dataclass
class Row:
    """One line of the table, and what was measured of it."""

    name: str
    style: str
    settings: dict[str, str] = field(default_factory=dict)
    window: int = 1
    """Conversations at once: 1 waits for each answer, 4 for each wave of four."""
    sample: Sample = "whole"
    """Without caches every conversation costs the same: rows that are slow ask fewer."""
    restarted: bool = False
    """Every mix is asked once beforehand, then the answer worker is started again."""
    peer: Peer | None = None
    """Not this service: who does the work instead."""
    samples: list[dict[str, Any]] = field(default_factory=list)


EVERYTHING = 64
INITIAL, BEST, RESTARTED = "initial state", "all", "all, the answer worker just restarted"
DIRECT = "all, the engine fed directly"
VLLM, SERVED = "peer: vLLM, fed directly", "peer: vLLM's server behind plain Celery"
VLLM_TOKENS, VLLM_IMAGES = 8_192, 32  # of a prompt: more than any of these jobs has
VLLM_KV_GB = "1"  # for keys and values: more than any mix fills


def rows(device: str, *, own_style: bool) -> list[Row]:
    """`own_style`: the checkpoint reads its own images only, so the sizes are left out."""
    cuda = device == "cuda"
    large, small = ("auto", "auto") if own_style else ("1024x256", "384x96")
    table = [Row(INITIAL, large, OFF, sample="few")]
    if not own_style:
        table.append(Row("resolution 512x128", "512x128", OFF, sample="few"))
        table.append(Row("resolution 384x96, dynamic crop", "384x96", OFF, sample="few"))
    on = OFF | FUSED | (HALF if cuda else {})
    name = "FP16, fused attention" if cuda else "fused attention (FP16 is off on the CPU)"
    table.append(Row(name, small, on, sample="few"))
    if not cuda:
        on = switch_on(on, "packed_weights")
        table.append(Row("matrices laid out for the CPU", small, on, sample="few"))
    on = on | BATCHED
    table.append(Row("micro-batches of 4", small, on, window=4, sample="some"))
    on = switch_on(on | ASYNC, "prefill_as_landed")
    table.append(Row("async workers", small, on, window=EVERYTHING, sample="some"))
    on = switch_on(on | FEATURES, "store")
    table.append(Row("feature cache", small, on, window=EVERYTHING))
    on = switch_on(on | PREFIX, "prefix_sharing", "grouped_decode")
    table.append(Row("KV prefix reuse", small, on, window=EVERYTHING))
    if cuda:
        on = switch_on(on, "compile", "cuda_graphs")
        table.append(Row("compiled, CUDA graphs", small, on, window=EVERYTHING))
    table.append(Row(BEST, small, ALL, window=EVERYTHING))
    table.append(Row(RESTARTED, small, ALL, window=EVERYTHING, restarted=True))
    if not cuda and not own_style:
        table += [
            Row(DIRECT, small, ALL, window=EVERYTHING, peer="direct"),
            Row("peer: transformers, one at a time", small, sample="few", peer="sequential"),
            Row("peer: transformers, static batches of 8", small, window=8,
                sample="some", peer="static"),
            Row("peer: plain Celery around transformers", small, window=EVERYTHING,
                sample="some", peer="celery"),
        ]  # fmt: skip
        if "PEER_VLLM_PYTHON" in os.environ:
            table.append(Row(VLLM, small, window=EVERYTHING, peer="vllm"))
            table.append(Row(SERVED, small, window=EVERYTHING, peer="vllm-served"))
    return table


# -- mixes ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """One question; `right` is its answer where the checkpoint can know it."""

    text: str
    right: str | None = None


@dataclass(frozen=True)
class Conversation:
    """Questions on one document, one after the other."""

    document: str
    questions: tuple[Asked, ...]


@dataclass(frozen=True)
class Mix:
    name: str
    conversations: tuple[Conversation, ...]
    few: int
    some: int

    def take(self, sample: Sample) -> list[Conversation]:
        if sample == "few":
            return [
                replace(one, questions=one.questions[:1]) for one in self.conversations[: self.few]
            ]
        return list(self.conversations[: self.some if sample == "some" else None])


WARM_UP = "what is lazy is paid for here, on a document of this size\n" * 22
WORDS = [
    "valve", "pressure", "sensor", "controller", "the", "a", "firmware", "module", "register",
    "buffer", "interrupt", "channel", "voltage", "threshold", "when", "is", "set", "to", "and",
    "read", "by", "each", "cycle", "device", "driver", "power", "supply", "signal",
]  # fmt: skip


def document(rng: random.Random, num_chars: int) -> str:
    lines, size = [], 0
    while size < num_chars:
        if rng.random() < 0.2:
            line = f"{rng.choice(WORDS)} {rng.randrange(100)}: {rng.randrange(10_000)}"
        else:
            line = " ".join(rng.choice(WORDS) for _ in range(rng.randrange(5, 9)))
        lines.append(line)
        size += len(line) + 1
    return "\n".join(lines)


def made_mixes(*, quick: bool) -> list[Mix]:
    """Technical documents of about 1,200 characters (3 to 4 pages), and of ten pages."""
    rng = random.Random(7)
    asked = tuple(Asked(f"What is {WORDS[n]} {n}?") for n in range(5))
    short = [document(rng, 1_200) for _ in range(10)]
    tall = [document(rng, 3_300) for _ in range(2)]
    return _mixes(short, [asked] * 10, tall, [asked] * 2, quick=quick)


def reader_mixes(*, quick: bool) -> list[Mix]:
    """Documents the embedded reader was never shown, with questions whose answers are known."""
    from train.corpus import samples

    def make(name: str, number: int, pages: int) -> tuple[list[str], list[tuple[Asked, ...]]]:
        made = samples(f"article {name}", low=18, high=24, asked=10, test=True, max_pages=pages)
        fit = (s for s in made if len(s.pages) == pages and len(s.questions) >= 5)
        found = list(islice(fit, number))
        asked = [tuple(Asked(q.text, q.answer) for q in s.questions[:5]) for s in found]
        return [s.text for s in found], asked

    return _mixes(*make("short", 10, 1), *make("long", 2, 4), quick=quick)


def _mixes(
    short: list[str],
    asked: list[tuple[Asked, ...]],
    tall: list[str],
    tall_asked: list[tuple[Asked, ...]],
    *,
    quick: bool,
) -> list[Mix]:
    if quick:
        short, tall = short[:3], tall[:1]
    single = tuple(
        Conversation(text, questions[:1]) for text, questions in zip(short, asked, strict=False)
    )
    # Five questions on each long document, at once and from different people.
    long = tuple(
        Conversation(text, (question,))
        for text, questions in zip(tall, tall_asked, strict=False)
        for question in questions
    )
    follow_up = tuple(
        Conversation(text, questions) for text, questions in zip(short, asked, strict=False)
    )
    return [
        Mix("article", single, few=2, some=len(single)),
        Mix("long", long, few=1, some=len(long)),
        Mix("follow-up", follow_up, few=1, some=3),
    ]
