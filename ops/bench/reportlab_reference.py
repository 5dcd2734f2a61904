"""The look to match: text through reportlab and poppler, as the published renderer sets them up.

Written from that script's behaviour, for tests and benchmarks only; needs reportlab and pdftoppm.
"""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image
from reportlab.lib import colors
from reportlab.lib.enums import TA_CENTER, TA_JUSTIFY, TA_LEFT, TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Paragraph, SimpleDocTemplate

LINES_PER_PARAGRAPH = 30
_ALIGN = {"LEFT": TA_LEFT, "CENTER": TA_CENTER, "RIGHT": TA_RIGHT, "JUSTIFY": TA_JUSTIFY}


def pages(text: str, config: dict[str, Any]) -> list[np.ndarray]:
    """Text to pages, uint8[height, width, 3], with Glyph's config keys."""
    return [crop(page, config, last) for page, last in _marked(raster(pdf(text, config), config))]


def gray(page: np.ndarray) -> np.ndarray:
    """ITU-R 601 luma as Pillow's convert("L") computes it, uint8[height, width]."""
    red, green, blue = (page[..., i].astype(np.uint32) for i in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)


def pdf(text: str, config: dict[str, Any]) -> bytes:
    """The document as PDF."""
    size = config.get("page-size", A4)
    if isinstance(size, str):
        size = tuple(map(float, size.split(",")))
    font = _registered(config["font-path"])
    font_size = config.get("font-size", 9)
    mx, my = config.get("margin-x", 20), config.get("margin-y", 20)
    out = io.BytesIO()
    document = SimpleDocTemplate(
        out, pagesize=size, leftMargin=mx, rightMargin=mx, topMargin=my, bottomMargin=my
    )
    style = ParagraphStyle(
        name="page",
        parent=getSampleStyleSheet()["Normal"],
        fontName=font,
        fontSize=font_size,
        leading=config.get("line-height") or font_size + 1,
        textColor=_color(config, "font-color", "#000000"),
        backColor=_color(config, "para-bg-color", "#FFFFFF"),
        borderColor=_color(config, "para-border-color", "#FFFFFF"),
        borderWidth=config.get("border-width", 0),
        borderPadding=config.get("border-padding", 0),
        firstLineIndent=config.get("first-line-indent", 0),
        leftIndent=config.get("left-indent", 0),
        rightIndent=config.get("right-indent", 0),
        alignment=_ALIGN.get(config.get("alignment", "JUSTIFY"), TA_JUSTIFY),
        spaceBefore=config.get("space-before", 0),
        spaceAfter=config.get("space-after", 0),
        wordWrap="CJK" if re.search("[\u4e00-\u9fff]", text) else None,
    )
    markup = re.sub(
        " {2,}",
        lambda run: "&nbsp;" * len(run.group()),
        escape(text.replace("\xad", "").replace("\u200b", "")),
    ).split("\n")
    newline = config.get("newline-markup", "<br/>")
    story = [
        Paragraph(newline.join(markup[i : i + LINES_PER_PARAGRAPH]), style)
        for i in range(0, len(markup), LINES_PER_PARAGRAPH)
    ]
    background = _color(config, "page-bg-color", "#FFFFFF")

    def paint(canvas: Any, _document: Any) -> None:
        canvas.saveState()
        canvas.setFillColor(background)
        canvas.rect(0, 0, size[0], size[1], stroke=0, fill=1)
        canvas.restoreState()

    document.build(story, onFirstPage=paint, onLaterPages=paint)
    return out.getvalue()


def raster(raw: bytes, config: dict[str, Any]) -> list[np.ndarray]:
    """PDF to uncropped pages through pdftoppm's PPM output."""
    command = ["pdftoppm", "-r", str(config.get("dpi", 72)), "-"]
    stream = subprocess.run(command, input=raw, capture_output=True, check=True).stdout
    out, at = [], 0
    while at < len(stream):
        header = re.compile(rb"P6\s+(\d+)\s+(\d+)\s+255\s").match(stream, at)
        assert header is not None
        width, height = int(header[1]), int(header[2])
        at = header.end() + width * height * 3
        out.append(np.frombuffer(stream[header.end() : at], np.uint8).reshape(height, width, 3))
    scale = config.get("horizontal-scale", 1.0)
    if scale != 1.0:
        out = [
            np.asarray(Image.fromarray(page).resize((int(page.shape[1] * scale), page.shape[0])))
            for page in out
        ]
    return out


def crop(page: np.ndarray, config: dict[str, Any], last: bool) -> np.ndarray:
    """Cut the page to its ink and a margin, where the config asks for it."""
    wide = config.get("auto-crop-width", False)
    low = config.get("auto-crop-last-page", False) and last
    if not (wide or low):
        return page
    luma = np.asarray(Image.fromarray(page).convert("L"))
    background = np.median(luma[:2, :2])
    ink = np.abs(luma - background) > 5
    height, width = luma.shape
    right, lower = width, height
    columns, rows = np.flatnonzero(ink.any(0)), np.flatnonzero(ink.any(1))
    if wide and columns.size:
        right = min(width, int(columns[-1] + 1 + config.get("margin-x", 20)))
    if low and rows.size:
        lower = min(height, int(rows[-1] + config.get("margin-y", 20)))
    return page[:lower, :right]


def _marked(images: list[np.ndarray]) -> list[tuple[np.ndarray, bool]]:
    return [(image, index == len(images) - 1) for index, image in enumerate(images)]


def _color(config: dict[str, Any], key: str, default: str) -> Any:
    return colors.HexColor(config.get(key, default))


def _registered(path: str) -> str:
    name = "F" + hashlib.sha256(path.encode()).hexdigest()[:12]
    if name not in pdfmetrics.getRegisteredFontNames():
        pdfmetrics.registerFont(TTFont(name, path))
    return name
