"""Which preset reads how well at what density? tesseract over our presets, as table and plot.

    ops/bench/legibility [--quick] [--json PATH] [--plot PATH]

tesseract reads pages enlarged three times: a stand-in for the model, good for comparing presets
with each other. CER is edits per character, spaces counted once. The English is made up, so that no
dictionary helps; the Chinese is not, for tesseract reads it badly without one. It needs tesseract's
chi_sim data and is left out without it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from bench.density_ocr import Ocr, distance
from bench.machine import ROOT, device_name
from bench.programs import need
from bench.render_corpus import CHINESE_PROSE, english
from glyph_worker.render.out.preview import num_visual_tokens
from glyph_worker.render.out.raster import draw
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style
from glyph_worker.render.style.style import Style

LATIN = {
    "fast": preset_style("fast"),
    "balanced": preset_style("balanced"),
    "accurate": preset_style("accurate"),
    "nano": preset_style("nano"),
    **{
        f"{size} px": preset_style("balanced").with_(font_size=size, line_height=size + 1)
        for size in (6, 7, 10, 12, 14)
    },
}
CHINESE = {
    "fast-cjk": preset_style("fast-cjk"),
    "balanced-cjk": preset_style("balanced-cjk"),
    "accurate-cjk": preset_style("accurate-cjk"),
    "8 px": preset_style("fast-cjk").with_(font_size=8, line_height=9),
}


def measured(style: Style, text: str, language: str, max_pages: int, ocr: Ocr) -> dict[str, float]:
    """Character error rate, and characters per visual token of full pages."""
    pages = paginate(text, style)
    laid = list(pages)
    full = laid[:-1] or laid
    tokens = sum(num_visual_tokens(one.page.width, one.page.height) for one in full)
    chars = sum(one.page.end - one.page.start for one in full)
    errors = size = 0
    for one in full[:max_pages]:
        gap = "" if language == "chi_sim" else " "
        wanted, got = (
            re.sub(r"\s+", gap, part).strip()
            for part in (
                pages.normalized.text[one.page.start : one.page.end],
                ocr.read(draw(one), language),
            )
        )
        errors += distance(wanted, got)
        size += len(wanted)
    return {"cer": errors / size, "chars_per_token": chars / tokens, "chars_read": size}


def plot(results: dict[str, dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for language, marker in (("eng", "o"), ("chi_sim", "s")):
        for name, one in results.get(language, {}).items():
            y = max(one["cer"], 1e-4) * 100
            axes.plot(one["chars_per_token"], y, marker, color="C0" if marker == "o" else "C1")
            axes.annotate(
                name,
                (one["chars_per_token"], y),
                xytext=(4, 4),
                textcoords="offset points",
                fontsize=8,
            )
    axes.set(
        xlabel="characters per visual token (28×28 px)",
        ylabel="tesseract CER, %",
        yscale="log",
        title="Legibility against density (○ English, □ Chinese)",
    )
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    need("tesseract")
    languages = subprocess.run(
        ["tesseract", "--list-langs"], capture_output=True, text=True, check=True
    ).stdout.split()
    num_chars = 2_000 if options.quick else 9_000
    results: dict[str, dict[str, Any]] = {}
    ocr = Ocr(ROOT / ".cache/ocr")
    for language, styles, text in (
        ("eng", LATIN, english(num_chars * 4, seed=21)),
        ("chi_sim", CHINESE, CHINESE_PROSE * 16),
    ):
        if language not in languages:
            continue
        results[language] = {}
        for name, style in styles.items():
            per_page = style.page_width * style.page_height / 784 * 8
            pages = max(1, round(num_chars / per_page))
            one = results[language][name] = measured(style, text, language, pages, ocr)
            print(
                f"{language:8} {name:14} CER {100 * one['cer']:6.2f} %   "
                f"{one['chars_per_token']:5.1f} characters per visual token",
                flush=True,
            )
    if options.plot:
        plot(results, options.plot)
    latin = results["eng"]
    bars = {
        "cer_accurate": {"value": latin["accurate"]["cer"], "target": 0.01},
        "cer_balanced": {"value": latin["balanced"]["cer"], "target": 0.02},
    }
    for bar in bars.values():
        bar["met"] = bar["value"] <= bar["target"]
    line = json.dumps(
        {
            "bench": "legibility",
            "commit": subprocess.run(
                ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
            ).stdout.strip(),
            "date": time.strftime("%Y-%m-%d"),
            "device": device_name(),
            "settings": {"quick": options.quick, "chars": num_chars, "scale": 3},
            "ratios": {name: one["chars_per_token"] for name, one in latin.items()},
            "bars": bars,
            "spread": {},
            "detail": results,
        }
    )
    if options.json:
        options.json.write_text(line + "\n")
    print(line)


if __name__ == "__main__":
    main()
