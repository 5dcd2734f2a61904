"""How many text tokens a visual token carries, on files people have, and how well it is read.

    ops/bench/density [--quick] [--styles NAME ...] [--json PATH] [--plot PATH] [--pages FOLDER]

Text tokens are those of o200k_base (bpe-openai ships its file); visual tokens those of the pages.
tesseract reads the pages of each file's first 4,000 characters, enlarged three times, once as they
are and once with the marks' pixels blanked: errors are edits per character, white space counted
once. Every preset is read on the first 600 characters of every file (the -cjk ones on Chinese and
Japanese). What was read is kept in .cache/ocr, by the page's pixels: a second run reads what has
changed since. The embedded reader is asked for lines of the English files. What columns would carry
is counted. Structure is told from the pixels alone: of all line ends and indentations of code, YAML
and tables, how many a reader of the marks finds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import bpe_openai
import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from bench.density_columns import column_tokens
from bench.density_corpus import File, corpus
from bench.density_ocr import Ocr, distance, plain
from bench.density_reader import read_by_reader
from bench.machine import ROOT, commit, device_name
from glyph_worker.render.fonts import marks
from glyph_worker.render.out.preview import estimated_text_tokens, num_visual_tokens
from glyph_worker.render.out.raster import draw
from glyph_worker.render.pages.page import LaidPage
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style
from glyph_worker.render.style.style import Style

READER_TOKENS = Tokenizer.from_file(
    str(ROOT / "glyph_worker" / "nano" / "checkpoint" / "tokenizer.json")
)
TOKENS = bpe_openai.get_encoding("o200k_base")
READ_CHARS = 4_000
STRUCTURED = ("source", "yaml", "table", "json", "csv", "box drawings")
BEFORE = Style(
    name="before", layout="flow", page_size=(588, 840), dpi=72, margin_x=10, margin_y=10,
    font_path="DejaVuSans.ttf", font_size=9, line_height=10, alignment="LEFT", crop_multiple=28,
)  # fmt: skip
"""`balanced` as it was before forms: the other side of every bar."""
FRONT_CHARS = 600
"""Of each file, read in each preset."""
FOR_ALL = ("fast", "balanced", "accurate", "reference", "nano")
FOR_CJK = ("fast-cjk", "balanced-cjk", "accurate-cjk")
TUNED = {"all": ("fast", "balanced", "accurate"), "cjk": FOR_CJK}
"""Which must be on which front: `reference` is the published look, `nano` what the embedded reader
was trained on."""
CJK = ("chinese", "japanese")


def density(file: File, style: Style) -> dict[str, Any]:
    """Tokens of a file and of its pages."""
    pages = list(paginate(file.text, style))
    visual = sum(num_visual_tokens(one.page.width, one.page.height) for one in pages)
    return {**text_tokens(file.text), "visual_tokens": visual, "pages": len(pages)}


@cache
def text_tokens(text: str) -> dict[str, int]:
    """Of a real tokenizer, our estimate and the embedded reader's."""
    return {
        "text_tokens": len(TOKENS.encode(text)),
        "estimated": estimated_text_tokens(text),
        "reader_tokens": len(READER_TOKENS.encode(text).ids),
    }


def errors(file: File, laid: LaidPage, text: str, ocr: Ocr) -> tuple[int, int, int]:
    """Edits with the marks in place, edits with them blanked, characters."""
    wanted = plain(text[laid.page.start : laid.page.end], file.language)
    pixels = draw(laid)
    with_marks = distance(wanted, plain(ocr.read(pixels, file.language), file.language))
    bare = blanked(laid, pixels)
    without = with_marks
    if not np.array_equal(bare, pixels):
        without = distance(wanted, plain(ocr.read(bare, file.language), file.language))
    return with_marks, without, len(wanted)


def mark_boxes(laid: LaidPage) -> list[tuple[str, int, int, int, int]]:
    """Every mark of a page: which, left, top, right, bottom in pixels."""
    out = []
    for index, line in enumerate(laid.lines):
        if marks.ANY_MARK.search(line.shown):
            top, bottom = laid.layout.rows_of(laid, index)
            boxes = laid.layout.boxes(laid, index)
            for char, (left, right) in zip(line.shown, boxes, strict=True):
                if char in marks.MARKS:
                    out.append((char, int(left), int(top) - 1, int(right) + 1, int(bottom) + 2))
    return out


def blanked(laid: LaidPage, pixels: np.ndarray) -> np.ndarray:
    """The page without its marks' pixels."""
    bare = pixels.copy()
    for _, left, top, right, bottom in mark_boxes(laid):
        part = bare[max(0, top) : bottom, left:right]
        part[part == marks.GRAY] = 255
    return bare


def told(pixels: np.ndarray, size: float) -> list[tuple[int, int, str]]:
    """Marks found in the pixels alone: row of pixels, column, which; from the level of gray and
    the shape, without the page's map."""
    shapes = {
        mark: marks.picture(marks.MARKS.index(mark), size).coverage.shape for mark in marks.MARKS
    }
    gray = pixels == marks.GRAY
    found = []
    # Runs down every column; a mark is a rectangle of its own height and width.
    for mark, (rows, columns) in shapes.items():
        whole = np.ones((pixels.shape[0] - rows + 1, pixels.shape[1] - columns + 1), bool)
        for row in range(rows):
            for column in range(columns):
                whole &= gray[row : row + whole.shape[0], column : column + whole.shape[1]]
        for y, x in np.argwhere(whole).tolist():
            above = y and gray[y - 1, x : x + columns].all()
            below = y + rows < len(gray) and gray[y + rows, x : x + columns].all()
            beside = (x and gray[y : y + rows, x - 1].all()) or (
                x + columns < gray.shape[1] and gray[y : y + rows, x + columns].all()
            )
            if not (above or below or beside):
                found.append((y, x, mark))
    return sorted(found)


def structure(laid: LaidPage, size: float) -> tuple[int, int]:
    """Line ends and indentations of a page, and how many of them the pixels tell."""
    wanted = [(char, left, top) for char, left, top, _, _ in mark_boxes(laid)]
    found = told(draw(laid), size)
    seen = 0
    for char, left, top in wanted:
        near = [one for one in found if one[2] == char and abs(one[1] - left) <= 3
                and top - 2 <= one[0] <= top + 1.4 * size + 2]  # fmt: skip
        if near:
            found.remove(near[0])
            seen += 1
    return len(wanted) + len(found), seen


def measured(file: File, style: Style, ocr: Ocr) -> dict[str, Any]:
    """Density of the whole file; errors and structure of its first READ_CHARS characters."""
    result = density(file, style)
    end = file.text.rfind("\n", 0, READ_CHARS) if len(file.text) > READ_CHARS else len(file.text)
    head = file._replace(text=file.text[: end if end > 0 else READ_CHARS])
    pages = paginate(head.text, style)
    laid = list(pages)
    found = [errors(head, one, pages.normalized.text, ocr) for one in laid]
    with_marks, without, chars = (sum(column) for column in zip(*found, strict=True))
    ends = [structure(one, style.font_size * style.scale) for one in laid]
    return result | {
        "kind": file.kind,
        "edits": with_marks,
        "edits_blanked": without,
        "chars_read": chars,
        "marks": sum(one for one, _ in ends),
        "marks_told": sum(one for _, one in ends),
    }


def preset_error(file: File, style: Style, ocr: Ocr) -> dict[str, int]:
    """Tokens of a whole file in one style, edits and characters of its beginning."""
    end = file.text.rfind("\n", 0, FRONT_CHARS) if len(file.text) > FRONT_CHARS else len(file.text)
    head = file._replace(text=file.text[: end if end > 0 else FRONT_CHARS])
    pages = paginate(head.text, style)
    edits = chars = 0
    for laid in list(pages):
        wanted = plain(pages.normalized.text[laid.page.start : laid.page.end], file.language)
        edits += distance(wanted, plain(ocr.read(draw(laid), file.language), file.language))
        chars += len(wanted)
    whole = density(file, style)
    tokens = {key: whole[key] for key in ("text_tokens", "visual_tokens")}
    return tokens | {"edits": edits, "chars_read": chars}


def fronts(
    files: list[File], pool: ThreadPoolExecutor, ocr: Ocr
) -> dict[str, dict[str, dict[str, float]]]:
    """Density and error of every preset, over all files and over the Chinese and Japanese ones."""
    wide = [file for file in files if file.kind in CJK]
    measured: dict[str, dict[str, dict[str, int]]] = {}
    out: dict[str, dict[str, dict[str, float]]] = {"all": {}, "cjk": {}}
    for name in (*FOR_ALL, *FOR_CJK):
        own, style = files if name in FOR_ALL else wide, preset_style(name)
        found = pool.map(lambda file, style=style: preset_error(file, style, ocr), own)
        measured[name] = {file.name: one for file, one in zip(own, found, strict=True)}
        for group, members in (("all", files), ("cjk", wide)):
            if members and (group == "cjk" or name in FOR_ALL):
                rows = [measured[name][file.name] for file in members]
                ratio, error = _shares(rows)
                out[group][name] = {"ratio": ratio, "cer": error}
                print(f"front, {group}: {name:12} {ratio:5.2f}  {100 * error:5.2f} %", flush=True)
    return out


def _shares(rows: list[dict[str, int]]) -> tuple[float, float]:
    text, visual, edits, chars = (
        sum(row[key] for row in rows)
        for key in ("text_tokens", "visual_tokens", "edits", "chars_read")
    )
    return text / visual, edits / max(1, chars)


def dominated(group: str, front: dict[str, dict[str, float]]) -> list[str]:
    """Tuned presets that another one beats in density and in error."""
    return [
        name
        for name in TUNED[group]
        if name in front
        and any(
            other["ratio"] > front[name]["ratio"] and other["cer"] < front[name]["cer"]
            for other in front.values()
        )
    ]


def plot(results: dict[str, dict[str, dict[str, Any]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for number, (style, files) in enumerate(results.items()):
        xs = [one["text_tokens"] / one["visual_tokens"] for one in files.values()]
        ys = [100 * max(1e-4, one["edits"] / one["chars_read"]) for one in files.values()]
        axes.plot(xs, ys, "o", ms=4, alpha=0.5, color=f"C{number % 10}", label=style)
        whole = total(files)
        axes.plot(whole["ratio"], 100 * whole["cer"], "*", ms=14, color=f"C{number % 10}")
    axes.set(xlabel="text tokens per visual token", ylabel="tesseract CER, %", yscale="log",
             title="Density against error: files (o) and all together (*)")  # fmt: skip
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def total(files: dict[str, dict[str, Any]]) -> dict[str, float]:
    def summed(key: str) -> int:
        return sum(one[key] for one in files.values())

    kinds: dict[str, list[int]] = {}
    for one in files.values():
        both = kinds.setdefault(one["kind"], [0, 0])
        both[0] += one["text_tokens"]
        both[1] += one["visual_tokens"]
    ratios = {kind: text / visual for kind, (text, visual) in kinds.items()}
    worst = min(ratios, key=lambda kind: ratios[kind])
    structured = [one for one in files.values() if one["kind"] in STRUCTURED]
    ends = sum(one["marks"] for one in structured)
    return {
        "ratio": summed("text_tokens") / summed("visual_tokens"),
        "estimated_ratio": summed("estimated") / summed("visual_tokens"),
        "reader_tokens_ratio": summed("reader_tokens") / summed("visual_tokens"),
        "worst": ratios[worst],
        "worst_kind": worst,  # type: ignore[dict-item]
        "chinese": ratios.get("chinese", 0.0),
        "cer": summed("edits") / max(1, summed("chars_read")),
        "cer_blanked": summed("edits_blanked") / max(1, summed("chars_read")),
        "structure": sum(one["marks_told"] for one in structured) / ends if ends else 1.0,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--pages", type=Path, help="write the first page of every file here")
    parser.add_argument("--quick", action="store_true", help="a third of the files, shorter")
    parser.add_argument("--styles", nargs="*", default=["before", "balanced"])
    parser.add_argument("--files", nargs="*", help="only these")
    parser.add_argument("--no-front", action="store_true", help="not every preset")
    parser.add_argument("--no-reader", action="store_true", help="not the embedded reader")
    parser.add_argument("--fresh", action="store_true", help="read pages that were read before")
    options = parser.parse_args()
    ocr = Ocr(ROOT / ".cache/ocr", fresh=options.fresh)
    files = corpus(3_000 if options.quick else 12_000)
    if options.quick:
        files = files[::3] + [one for one in files if one.kind == "chinese"][:1]
    if options.files:
        files = [one for one in files if one.name in options.files]
    results: dict[str, dict[str, dict[str, Any]]] = {}
    extra: dict[str, Any] = {"columns": columns(files)}
    if not options.no_reader:
        extra["reader"] = read_by_reader([file for file in files if file.language == "eng"])
        rows = extra["reader"].values()
        edits, chars = (sum(row[key] for row in rows) for key in ("edits", "chars"))
        print(f"embedded reader, lines it was asked for: {100 * edits / chars:.2f} % of characters")
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # tesseract runs in processes of its own
        if not options.no_front:
            extra["fronts"] = fronts(files, pool, ocr)
        for name in options.styles:
            style = style_of(name)
            done = pool.map(lambda file, style=style: measured(file, style, ocr), files)
            results[name] = {file.name: one for file, one in zip(files, done, strict=True)}
            print(f"\n{name}: text/visual, CER %, CER % with marks blanked, marks told", flush=True)
            for file in files:
                one = results[name][file.name]
                size = one["chars_read"] or 1
                ratio = one["text_tokens"] / one["visual_tokens"]
                wrong, blanked = (100 * one[key] / size for key in ("edits", "edits_blanked"))
                print(
                    f"  {file.name:18} {one['text_tokens']:6} / {one['visual_tokens']:5} = "
                    f"{ratio:5.2f}  {wrong:5.2f}  {blanked:5.2f}  "
                    f"{one['marks_told']}/{one['marks']}"
                )
            print(f"  {total(results[name])}", flush=True)
            if options.pages:
                save_pages(files, style, options.pages / name)
    if options.plot:
        plot(results, options.plot)
    extra["pages_read"] = {"anew": ocr.num_read, "kept": ocr.num_kept}
    report(results, extra, options)


def columns(files: list[File]) -> dict[str, dict[str, int]]:
    """By file: text tokens, visual tokens in columns, and how many columns are best."""
    out = {}
    for file in files:
        visual, count = column_tokens(file, preset_style("balanced"))
        text = text_tokens(file.text)["text_tokens"]
        out[file.name] = {"text_tokens": text, "visual_tokens": visual, "columns": count}
    text, visual = (
        sum(row[key] for row in out.values()) for key in ("text_tokens", "visual_tokens")
    )
    print(f"in columns, each file's best number of them: {text / visual:.2f}")
    return out


def save_pages(files: list[File], style: Style, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        page = next(iter(paginate(file.text, style)))
        Image.fromarray(draw(page)).save(folder / f"{file.name}.png")


def style_of(name: str) -> Style:
    """A preset; `before`: what `balanced` was, line by line and never cropped; or a JSON of
    changes to `balanced`."""
    if name == "before":
        return BEFORE
    if name.startswith("{"):
        return preset_style("balanced").with_(**json.loads(name))
    return preset_style(name)


def report(
    results: dict[str, dict[str, dict[str, Any]]],
    extra: dict[str, Any],
    options: argparse.Namespace,
) -> None:
    ratios: dict[str, float] = {}
    bars: dict[str, dict[str, Any]] = {}
    for group, front in extra.get("fronts", {}).items():
        beaten = dominated(group, front)
        bars[f"dominated_presets_{group}"] = {"value": len(beaten), "target": 0, "met": not beaten}
        for name, one in front.items():
            ratios |= {f"{group}_{name}_{key}": value for key, value in one.items()}
    for key, rows in (("columns_ratio", extra["columns"]), ("reader_cer", extra.get("reader", {}))):
        sums = {
            item: sum(row[item] for row in rows.values()) for item in next(iter(rows.values()), {})
        }
        if sums:
            ratios[key] = (
                sums["edits"] / sums["chars"]
                if key == "reader_cer"
                else sums["text_tokens"] / sums["visual_tokens"]
            )
    for name, files in results.items():
        for key, value in total(files).items():
            ratios[f"{name}_{key}"] = value
    if "before" in results and "balanced" in results and not options.files:
        new, old = total(results["balanced"]), total(results["before"])
        values = {
            "all_files": (new["ratio"], 3.4, True),
            "worst_kind": (new["worst"], 2.4, True),
            "chinese_over_before": (new["chinese"] / old["chinese"], 1.5, True),
            "cer_blanked_over_before": (new["cer_blanked"] / old["cer"], 1.0, False),
            "cer_over_before": (new["cer"] / old["cer"], 1.5, False),
            "structure_told": (new["structure"], 0.99, True),
        }
        for key, (value, target, least) in values.items():
            met = value >= target if least else value <= target
            bars[key] = {"value": round(value, 4), "target": target, "met": bool(met)}
    whole = {
        "bench": "density",
        "commit": commit(),
        "device": device_name(),
        "settings": {"quick": options.quick, "styles": options.styles, "tokenizer": "o200k_base",
                     "python": platform.python_version(), "date": time.strftime("%Y-%m-%d")},
        "ratios": ratios,
        "bars": bars,
        "spread": {},
    }  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(whole | {"files": results} | extra, indent=1) + "\n")
    print(json.dumps(whole))
    if not all(bar["met"] for bar in bars.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
