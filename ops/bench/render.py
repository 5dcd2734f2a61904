"""Is rendering fast, linear, small, and are pages stable? Both sides interleaved in one run.

    ops/bench/render [--quick] [--json PATH]

Speed is text to gray pages in memory, wall clock of one thread; the other side is reportlab and
pdftoppm as the published script calls them (text to pages in memory, its PNG files not counted).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench.machine import ROOT, device_name
from bench.programs import need
from bench.render_corpus import chinese, code, english
from glyph_worker.render.fonts.fontfile import FOLDER
from glyph_worker.render.out.raster import draw
from glyph_worker.render.out.wire import pack_page, unpack_page
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style
from glyph_worker.render.style.style import Style

BARS = {
    "english_vs_reference": 60.0,
    "chinese_vs_reference": 80.0,
    "kept_after_one_edit": 0.93,
    "kept_after_five_edits": 0.77,
    "stable_extra_tokens": 0.02,
    "peak_mb_10mb_text": 260.0,
    "time_10mb_over_10x_1mb": 1.3,
}
REPEATS = 20  # of the quick sides in each round
AT_MOST = {"stable_extra_tokens", "peak_mb_10mb_text", "time_10mb_over_10x_1mb"}


def cpu_s() -> float:
    """Processor time of this process and its children."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def spent(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall clock and processor time, seconds."""
    gc.collect()
    busy, start = cpu_s(), time.perf_counter()
    work()
    return time.perf_counter() - start, cpu_s() - busy


def ratios_of(seconds: dict[str, list[float]], side: str) -> list[float]:
    """How many times faster than the reference, round by round."""
    return [a / b for a, b in zip(seconds["reference"], seconds[side], strict=True)]


def rendered(text: str, style: Style) -> int:
    return sum(draw(laid).size > 0 for laid in paginate(text, style))


def speed(rounds: int, quick: bool) -> dict[str, Any]:
    """Seconds per document, both sides in turn; ratios round by round."""
    from bench import reportlab_reference as reference

    size = 16 if quick else 1
    out: dict[str, Any] = {}
    for name, text, font in (
        ("english", english(1_000_000 // size), "DejaVuSans.ttf"),
        ("chinese", chinese(400_000 // size), "wqy-microhei.ttc"),
    ):
        exact = preset_style("reference").with_(font_path=font)
        flow = preset_style("balanced").with_(font_path=font)
        config = exact.to_json(defaults=True) | {"font-path": str(FOLDER / font)}
        rendered(text, exact)
        rendered(text, flow)
        times: dict[str, list[float]] = {"reference": [], "exact": [], "flow": []}
        busy: dict[str, list[float]] = {"reference": [], "exact": [], "flow": []}

        def theirs(text: str = text, config: dict[str, Any] = config) -> None:
            reference.pages(text, config)
            gc.collect()  # the script ends with one

        sides: dict[str, Callable[[], Any]] = {
            "reference": theirs,
            "exact": partial(rendered, text, exact),
            "flow": partial(rendered, text, flow),
        }
        for _ in range(rounds):
            for side, work in sides.items():
                # One look at work of 0.15 s says more about the machine's other guests than about
                # the work: the quick sides are drawn for as long as it takes to outlast them.
                looks = [spent(work) for _ in range(1 if side == "reference" or quick else REPEATS)]
                wall, cpu = (statistics.fmean(parts) for parts in zip(*looks, strict=True))
                times[side].append(wall)
                busy[side].append(cpu)
        num_pages = sum(1 for _ in paginate(text, exact))
        out[name] = {
            "pages": num_pages,
            "chars": len(text),
            "reference_ms_per_page": 1e3 * statistics.median(times["reference"]) / num_pages,
            "exact_ms_per_page": 1e3 * statistics.median(times["exact"]) / num_pages,
            "exact_mchars_per_s": len(text) / statistics.median(times["exact"]) / 1e6,
            "flow_mchars_per_s": len(text) / statistics.median(times["flow"]) / 1e6,
            "ratios_exact": ratios_of(times, "exact"),
            "ratios_flow": ratios_of(times, "flow"),
            "ratios_exact_cpu": ratios_of(busy, "exact"),
            "ratios_flow_cpu": ratios_of(busy, "flow"),
        }
    return out


def child(code: str) -> dict[str, Any]:
    """Run code in a fresh process; its last line is JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'ops'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


CHILD = """
import json, time
from bench.render_corpus import chinese, english
from glyph_worker.render.paginate import paginate
from glyph_worker.render.out.raster import draw
from glyph_worker.render.style.presets import preset_style

def peak_mb():
    # Not ru_maxrss: a child inherits its parent's through exec.
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024

style = preset_style({style!r})
for laid in paginate("Warm up. " * 500, style): draw(laid)
idle = peak_mb()
text = {text}
with_text = peak_mb()
busy, start, pages = time.process_time(), time.perf_counter(), 0
for laid in paginate(text, style):
    draw(laid)
    pages += 1
print(json.dumps(dict(seconds=time.perf_counter() - start, cpu_s=time.process_time() - busy,
    pages=pages, idle_mb=idle, with_text_mb=with_text, peak_mb=peak_mb())))
"""


def scale(quick: bool) -> dict[str, Any]:
    """Time and peak memory of long texts, each in a process of its own."""
    ten = 2_000_000 if quick else 10_000_000
    texts = {
        "1mb": f"english({ten // 10})",
        "10mb": f"english({ten // 10}) * 10",
        "one_line_1m": "english(1_000_000).replace('\\n', ' ') + '中'",
        "token_1m": "'x' * 1_000_000",
        "chinese_3m_chars": f"chinese({ten // 33}) * 10",
    }
    return {
        name: {
            style: child(CHILD.format(style=style, text=text))
            for style in (("balanced",) if name != "10mb" else ("balanced", "nano", "reference"))
        }
        for name, text in texts.items()
    }


def cold() -> dict[str, Any]:
    """A fresh process: imports, fonts, compiled loops (from their cache), first page."""
    code = """
import json, time
start = time.perf_counter()
from glyph_worker.render.paginate import paginate
from glyph_worker.render.out.raster import draw
from glyph_worker.render.style.presets import preset_style
imported = time.perf_counter()
for laid in paginate("Hello world. " * 50, preset_style({style!r})): draw(laid)
print(json.dumps(dict(import_s=imported - start, first_page_s=time.perf_counter() - imported)))
"""
    return {style: child(code.format(style=style)) for style in ("nano", "balanced")}


KINDS = ("typo", "insert", "delete", "paragraph", "append", "five edits")
_SENTENCE = re.compile(r"[.!?;\n\u3002\uff1f\uff01\uff1b]")


def edited(text: str, kind: str, rng: random.Random, source: Callable[..., str]) -> str:
    """One random edit; new paragraphs are `source`'s."""
    at = rng.randrange(len(text) - 2000)
    if kind == "typo":
        while text[at].isspace():
            at += 1
        return text[:at] + rng.choice("xqz\u7684") + text[at + 1 :]
    if kind == "insert":
        return text[:at] + rng.choice((" inserted ", "\u63d2\u5165", "(see 12)")) + text[at:]
    if kind == "delete":  # a sentence or a line
        ends = _SENTENCE.finditer(text, at)
        return text[: next(ends).end()] + text[next(ends).end() :]
    if kind == "five edits":
        for _ in range(5):
            text = edited(text, rng.choice(KINDS[:4]), rng, source)
        return text
    new = source(rng.randint(100, 900), seed=rng.randrange(10**6))
    end = text.find("\n", at) if kind == "paragraph" else len(text)
    return f"{text[:end]}\n{new}{text[end:]}"


def stability(edits: int, seeds: int) -> dict[str, Any]:
    """Share of pages that keep their digest, stable breaks against greedy ones, on texts that fill
    35 pages; several texts of every sort."""
    return {
        f"{preset} {source.__name__}": stability_of(preset_style(preset), source, edits, seeds)
        for preset, source in (
            *(("balanced", english), ("balanced", unbroken), ("balanced", code)),
            *(("balanced-cjk", chinese), ("accurate", english), ("fast", code)),
            *(("nano", english), ("nano", code)),
        )
    }


def unbroken(num_chars: int, seed: int = 1) -> str:
    """Prose in very long paragraphs."""
    parts = english(num_chars, seed=seed).split("\n")
    return "\n".join(" ".join(parts[at : at + 20]) for at in range(0, len(parts), 20))


def stability_of(
    style: Style, source: Callable[..., str], edits: int, seeds: int
) -> dict[str, Any]:
    sides = {name: style.with_(breaks=name) for name in ("stable", "greedy")}
    kept: dict[str, dict[str, list[float]]] = {name: {k: [] for k in KINDS} for name in sides}
    tokens: dict[str, list[int]] = {name: [] for name in sides}
    counts: dict[str, list[int]] = {name: [] for name in sides}
    for seed in range(seeds):
        text = source(700_000, seed=seed)
        pages = [laid.page for laid in paginate(text, sides["greedy"])]
        text = text[: pages[34].end]
        rng = random.Random(seed)
        changed = [(kind, edited(text, kind, rng, source)) for kind in KINDS for _ in range(edits)]
        for name, side in sides.items():
            pages = [laid.page for laid in paginate(text, side)]
            have = {page.digest for page in pages}
            counts[name].append(len(pages))
            tokens[name].append(sum(page.width * page.height // 784 for page in pages))
            for kind, new in changed:
                after = [laid.page.digest for laid in paginate(new, side)]
                kept[name][kind].append(sum(one in have for one in after) / len(after))
    return {
        "pages": {name: statistics.mean(counts[name]) for name in sides},
        "extra_tokens": sum(tokens["stable"]) / sum(tokens["greedy"]) - 1,
        **{
            f"kept_{name}": {kind: statistics.mean(shares) for kind, shares in kept[name].items()}
            for name in sides
        },
    }


def wire() -> dict[str, Any]:
    """What a page costs on the wire, the codecs in turn."""
    import zstandard
    from PIL import Image

    pages = [draw(laid) for laid in paginate(english(80_000), preset_style("balanced"))]
    out: dict[str, Any] = {"raw_bytes": statistics.mean(page.size for page in pages)}
    codecs: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]] = {
        "page (zstd 1, checked)": (pack_page, unpack_page),
        "zstd -3": (
            lambda page: zstandard.ZstdCompressor(level=-3).compress(page.tobytes()),
            zstandard.ZstdDecompressor().decompress,
        ),
    }
    try:
        import lz4.frame

        codecs["lz4"] = (lambda page: lz4.frame.compress(page.tobytes()), lz4.frame.decompress)
    except ImportError:
        pass

    def png(page: Any) -> bytes:
        import io

        buffer = io.BytesIO()
        Image.fromarray(page).save(buffer, "PNG")
        return buffer.getvalue()

    codecs["png (gray)"] = (png, len)
    for name, (pack, unpack) in codecs.items():
        start = time.perf_counter()
        packed = [pack(page) for page in pages]
        middle = time.perf_counter()
        for raw in packed:
            unpack(raw)
        end = time.perf_counter()
        out[name] = {
            "bytes": statistics.mean(map(len, packed)),
            "pack_ms": 1e3 * (middle - start) / len(pages),
            "unpack_ms": 1e3 * (end - middle) / len(pages),
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--only-speed", action="store_true", help="no bars but the two ratios")
    options = parser.parse_args()
    need("pdftoppm")
    rounds = options.rounds or (3 if options.quick else 7)
    settings = {
        "rounds": rounds,
        "quick": options.quick,
        "load_average_at_start": os.getloadavg()[0],
    }
    detail: dict[str, Any] = {"speed": speed(rounds, options.quick)}
    for name, part in detail["speed"].items():
        exact, flow, exact_cpu, flow_cpu = (
            statistics.median(part[f"ratios_{side}"])
            for side in ("exact", "flow", "exact_cpu", "flow_cpu")
        )
        print(
            f"{name}: reference {part['reference_ms_per_page']:.1f} ms/page, exact "
            f"{part['exact_ms_per_page']:.2f}; ×{exact:.1f} exact, ×{flow:.1f} flow; by processor "
            f"time ×{exact_cpu:.1f} and ×{flow_cpu:.1f}",
            flush=True,
        )
    if options.only_speed:
        finish(detail, settings, options.json)
        return
    detail["stability"] = stability(*((2, 2) if options.quick else (4, 5)))
    detail["cold"] = cold()
    detail["scale"] = scale(options.quick)
    detail["wire"] = wire()
    for name in ("stability", "cold", "scale", "wire"):
        print(name, json.dumps(detail[name], indent=1))
    finish(detail, settings, options.json)


def finish(detail: dict[str, Any], settings: dict[str, Any], path: Path | None) -> None:
    """Print and keep the result."""
    ratios: dict[str, float] = {}
    for name, part in detail["speed"].items():
        ratios[f"{name}_vs_reference"] = statistics.median(part["ratios_exact"])
        ratios[f"{name}_vs_reference_cpu"] = statistics.median(part["ratios_exact_cpu"])
        ratios[f"{name}_flow_vs_reference"] = statistics.median(part["ratios_flow"])
        ratios[f"{name}_flow_vs_reference_cpu"] = statistics.median(part["ratios_flow_cpu"])
    if "stability" in detail:
        scaled = detail["scale"]
        # The embedded reader's style keeps the breaks it was trained on.
        ours = [one for name, one in detail["stability"].items() if not name.startswith("nano")]
        kept = [one["kept_stable"] for one in ours]
        ratios |= {
            "kept_after_one_edit": min(share[kind] for share in kept for kind in KINDS[:5]),
            "kept_after_five_edits": min(share["five edits"] for share in kept),
            "stable_extra_tokens": max(one["extra_tokens"] for one in ours),
            "peak_mb_10mb_text": max(
                one["peak_mb"] for part in scaled.values() for one in part.values()
            ),
            "time_10mb_over_10x_1mb": scaled["10mb"]["balanced"]["seconds"]
            / (10 * scaled["1mb"]["balanced"]["seconds"]),
        }
    bars = {
        name: {
            "value": ratios[name],
            "target": target,
            "met": ratios[name] <= target if name in AT_MOST else ratios[name] >= target,
        }
        for name, target in BARS.items()
        if name in ratios
    }
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    result = {
        "bench": "render",
        "commit": commit.stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
        "device": device_name(),
        "settings": settings,
        "ratios": ratios,
        "bars": bars,
        "spread": {
            f"{name}_vs_reference": sorted(part["ratios_exact"])
            for name, part in detail["speed"].items()
        },
        "detail": detail,
    }
    line = json.dumps(result, ensure_ascii=False)
    if path:
        path.write_text(line + "\n")
    print(line)


if __name__ == "__main__":
    main()
