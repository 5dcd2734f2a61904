"""Which parser of HTML is linear, which reader of PDF keeps the order, what joined lines save?

    ops/bench/intake [--quick] [--json PATH]

HTML: CPU seconds for evil markup at two lengths: ours (lexbor, tamed), lexbor alone, and lxml and
html5lib where they are installed. PDF: made pages with a known text (prose, columns, tables, code)
and this machine's manuals (their first pages), read by us, pypdf (plain and layout) and pdfium's
own order; the share of words that stand in the right order, beside poppler's `pdftotext` and
`pdftotext -layout`, the first of which is the manuals' yardstick. Joined lines: visual tokens of
the same text before and after.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from difflib import SequenceMatcher
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pypdf
import pypdfium2
from selectolax.lexbor import LexborHTMLParser

from bench.machine import commit, device_name, publish
from bench.made_pdfs import both, code, columns, pdf_of, prose, table
from bench.render_corpus import english
from glyph_worker.intake.html import text_of_markup
from glyph_worker.intake.pdf import text_of_pdf
from glyph_worker.render.out.preview import num_visual_tokens
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style

EVIL = {
    "<a ": "<a ", "<!--": "<!--", "<svg>": "<svg><p>x", "<div>": "<div>", "<b>": "<b>x",
    "<p><b id=n>": "<p><b id={}>x", "attributes": " a{}=1", "tables": "<table><tr><td>",
    "a page": "<div><h2>T</h2><p>Some <b>bold</b> <a href=/x>link</a>.</p><ul><li>a</ul></div>",
}  # fmt: skip
MANUALS = (
    Path("/usr/share/doc/libtasn1-doc/libtasn1.pdf"),
    Path("/usr/share/doc/shared-mime-info/shared-mime-info-spec.pdf"),
)
MAX_WORDS = 1_500
"""Of a text, that are compared: comparing costs the square."""
TOO_LONG_S = 20.0


def parsers() -> dict[str, Callable[[str], Any]]:
    found: dict[str, Callable[[str], Any]] = {"ours": text_of_markup, "lexbor": LexborHTMLParser}
    if find_spec("lxml"):
        import lxml.html

        huge = lxml.html.HTMLParser(huge_tree=True)
        found["lxml"] = lambda markup: lxml.html.fromstring(markup, parser=huge)
    if find_spec("html5lib"):
        import html5lib

        found["html5lib"] = html5lib.parse
    return found


def html_rows(lengths: tuple[int, int]) -> dict[str, dict[str, list[float | None]]]:
    """CPU seconds by markup and parser, at both lengths; None where the first took too long."""
    rows: dict[str, dict[str, list[float | None]]] = {}
    for name, unit in EVIL.items():
        rows[name] = {}
        for parser, parse in parsers().items():
            times: list[float | None] = []
            for length in lengths:
                if times and (times[-1] is None or times[-1] > 0.3):
                    times.append(None)
                    continue
                start = "<a" if name == "attributes" else ""
                markup = start + "".join(unit.format(n) for n in range(length // len(unit)))
                began = time.process_time()
                try:
                    parse(markup)
                    times.append(round(time.process_time() - began, 4))
                except Exception:  # noqa: BLE001  ("Document is empty", too deep, …)
                    times.append(None)
            rows[name][parser] = times
    return rows


def pdf_texts(raw: bytes) -> dict[str, str]:
    document, reader = pypdfium2.PdfDocument(raw), pypdf.PdfReader(io.BytesIO(raw))
    found = {
        "ours": text_of_pdf(raw, max_bytes=1 << 30)[0],
        "pdfium": "\n".join(page.get_textpage().get_text_range() for page in document),
        "pypdf": "\n".join(page.extract_text() for page in reader.pages),
        "pypdf layout": "\n".join(
            page.extract_text(extraction_mode="layout") for page in reader.pages
        ),
    }
    if shutil.which("pdftotext"):
        for name, more in (("pdftotext", ()), ("pdftotext -layout", ("-layout",))):
            done = subprocess.run(
                ["pdftotext", *more, "-", "-"], input=raw, capture_output=True, check=True
            )
            found[name] = done.stdout.decode()
    return found


def in_order(text: str, right: str) -> float:
    """Share of the right text's words that `text` has in the same order."""
    # A cell's border is no word, and what joins or breaks a word is asked apart.
    got, wanted = (
        [word for word in words.replace(" | ", " ").split() if word.strip(".…")]  # no leaders
        for words in (text, right)
    )
    got, wanted = got[: MAX_WORDS + 200], wanted[:MAX_WORDS]
    blocks = SequenceMatcher(None, wanted, got, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / max(1, len(wanted))


def whole_rows(text: str, rows: list[tuple[str, ...]]) -> float:
    """Share of a table's rows that stand on one line each, cells in order."""
    lines = [" ".join(line.replace("|", " ").split()) for line in text.splitlines()]
    wanted = [" ".join(" ".join(cell for cell in row if cell).split()) for row in rows]
    return sum(row in lines for row in wanted) / len(rows)


def made(seed_text: str) -> dict[str, tuple[bytes, str, list[tuple[str, ...]]]]:
    """Name → (PDF, its text, its table's rows)."""
    parts = [seed_text[at : at + 1_400].rpartition(" ")[0].strip() for at in (0, 5_000, 9_000)]
    parts = [" ".join(part.split()) for part in parts]
    rows: list[tuple[str, ...]] = [("Harbour", "Ships", "Tons", "Remark")]
    rows += [
        (f"Quay {n}", str(n * 7) if n % 3 else "", f"{n},400", "closed" if n % 4 == 0 else "")
        for n in range(1, 13)
    ]
    edges = (72, 180, 280, 380)
    source = "\n".join(f"{'    ' * (n % 4)}step_{n} = f({n})" for n in range(12))
    joined = "\n".join(" ".join(cell for cell in row if cell) for row in rows)
    return {
        "prose": (pdf_of(prose(parts[0]), prose(parts[1])), "\n".join(parts[:2]), []),
        "two columns": (pdf_of(columns(*parts[:2])), "\n".join(parts[:2]), []),
        "three columns": (pdf_of(columns(*parts)), "\n".join(parts), []),
        "table": (
            pdf_of(both(prose(parts[0][:300]), table(*rows, edges=edges, top=650),
                        prose(parts[1][:300], top=430))),
            "\n".join((parts[0][:300], joined, parts[1][:300])),
            rows,
        ),
        "code": (pdf_of(code(source)), source, []),
    }  # fmt: skip


def tokens(text: str) -> int:
    style = preset_style("balanced")
    return sum(num_visual_tokens(one.page.width, one.page.height) for one in paginate(text, style))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    lengths = (3_000, 12_000) if given.quick else (10_000, 40_000)
    html = html_rows(lengths)
    print(f"HTML: CPU seconds at {lengths[0]} and {lengths[1]} characters", file=sys.stderr)
    for name, row in html.items():
        print(f"  {name:12}", "  ".join(f"{p}: {t}" for p, t in row.items()), file=sys.stderr)
    cases = made(english(20_000))
    order: dict[str, dict[str, float]] = {}
    rows_kept: dict[str, float] = {}
    saved: dict[str, float] = {}
    for name, (raw, right, rows) in cases.items():
        texts = pdf_texts(raw)
        order[name] = {by: round(in_order(text, right), 4) for by, text in texts.items()}
        if rows:
            rows_kept = {by: round(whole_rows(text, rows), 3) for by, text in texts.items()}
    ms_per_page: dict[str, float] = {}
    for path in () if given.quick else MANUALS:
        if not path.is_file():
            continue
        raw = path.read_bytes()
        num_pages = len(pypdfium2.PdfDocument(raw))
        began = time.process_time()
        own = text_of_pdf(raw, max_bytes=1 << 30)[0]
        ms_per_page[path.name] = round((time.process_time() - began) / num_pages * 1e3, 1)
        texts = pdf_texts(raw)
        if "pdftotext" in texts:
            right = texts.pop("pdftotext")
            order[path.name] = {by: round(in_order(text, right), 4) for by, text in texts.items()}
        saved[path.name] = round(tokens(texts["pdfium"].replace("\r", "")) / tokens(own), 3)
    raw, _, _ = cases["prose"]
    plain = pdf_texts(raw)["pdfium"].replace("\r", "")
    saved["prose"] = round(tokens(plain) / tokens(text_of_pdf(raw, max_bytes=1 << 30)[0]), 3)
    for name, shares in order.items():
        print(f"PDF, words in order, {name}: {shares}", file=sys.stderr)
    print(f"table rows whole: {rows_kept}\nvisual tokens, broken / joined lines: {saved}",
          file=sys.stderr)  # fmt: skip
    worst = max(times["ours"][1] or TOO_LONG_S for times in html.values())
    least = min(order[name]["ours"] for name in cases)
    report = {
        "bench": "intake", "commit": commit(), "device": device_name(),
        "settings": {"html_chars": lengths, "style": "balanced"},
        "ratios": {"words_in_order": order, "table_rows_whole": rows_kept,
                   "visual_tokens_broken_over_joined": saved},
        "bars": {
            "html_worst_cpu_s": {"value": worst, "target": 0.8, "met": worst <= 0.8},
            "made_words_in_order": {"value": least, "target": 0.99, "met": least >= 0.99},
            "table_rows_whole": {"value": rows_kept["ours"], "target": 1.0,
                                 "met": rows_kept["ours"] == 1.0},
        },
        "spread": {}, "html_cpu_s": html, "pdf_ms_per_page": ms_per_page,
    }  # fmt: skip
    publish(report, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
