"""PDFs made for a purpose, with reportlab: prose in columns, tables, code; and one by hand."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import Any

from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph

Draw = Callable[[Any], None]


def pdf_of(*pages: Draw) -> bytes:
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=A4, invariant=1)
    for draw in pages:
        draw(canvas)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def prose(
    text: str, *, left: float = 72, top: float = 780, width: float = 450, **style: Any
) -> Draw:
    """One paragraph, wrapped by reportlab as a book's page wraps it."""

    def draw(canvas: Any) -> None:
        look: dict[str, Any] = {"fontName": "Times-Roman", "fontSize": 10, "leading": 12} | style
        paragraph = Paragraph(text, ParagraphStyle("made", **look))
        _, height = paragraph.wrapOn(canvas, width, 700)
        paragraph.drawOn(canvas, left, top - height)

    return draw


def both(*draws: Draw) -> Draw:
    def draw(canvas: Any) -> None:
        for one in draws:
            one(canvas)

    return draw


def columns(*texts: str, top: float = 740) -> Draw:
    """Two or three columns of prose beside each other, on the same baselines."""
    width = (A4[0] - 100 - 20 * (len(texts) - 1)) / len(texts)
    return both(
        *(
            prose(text, left=50 + number * (width + 20), top=top, width=width, alignment=4)
            for number, text in enumerate(texts)
        )
    )


def table(*rows: tuple[str, ...], edges: tuple[float, ...], top: float = 700) -> Draw:
    """Cells that begin at `edges`; an empty one is not in the file at all."""

    def draw(canvas: Any) -> None:
        canvas.setFont("Helvetica", 10)
        for number, row in enumerate(rows):
            for at, cell in zip(edges, row, strict=True):
                if cell:
                    canvas.drawString(at, top - 16 * number, cell)

    return draw


def code(text: str, *, left: float = 80, top: float = 700) -> Draw:
    def draw(canvas: Any) -> None:
        canvas.setFont("Courier", 9)
        for number, line in enumerate(text.splitlines()):
            canvas.drawString(left, top - 11 * number, line)

    return draw


def pdf_with(content: bytes, *, rotate: int = 0) -> bytes:
    """One page with this content stream, deflated: what is small here may be large there."""
    packed = zlib.compress(content, 9)
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Rotate %d "
        b"/Resources << /Font << /F1 5 0 R >> >> >>" % rotate,
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    file, starts = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        starts.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    rows = b"".join(b"%010d 00000 n \n" % start for start in starts)
    xref = b"xref\n0 6\n0000000000 65535 f \n" + rows
    tail = b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % len(file)
    return file + xref + tail
