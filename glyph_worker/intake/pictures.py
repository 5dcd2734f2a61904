"""Pictures as sheets: bounded before they are decoded, upright, on white, and encoded again; gray
where they have no colour to speak of.

Runs in the bounded child. A picture's header says its size, and a page that would not fit into
memory is refused before a pixel of it is read.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageOps, ImageSequence

from glyph_worker.document import Sheet
from glyph_worker.errors import UnreadableDocument
from glyph_worker.intake.places import check_bytes

if TYPE_CHECKING:
    import pypdfium2

MAX_PIXELS = 50_000_000
"""Of one picture: an A4 page at 600 dots per inch has 35 million."""
MAX_ASPECT = 50
MAX_PAGES = 1_000
MAX_SIDE = 2_200
"""Pixels a side of what is kept: an A4 page at 190 dots per inch. What is larger is shrunk."""
LOSSLESS_BYTES = 600_000
"""A larger PNG is kept as JPEG."""
PDF_DPI = 150
_QUALITY = 88
_SAMPLE_SIDE, _TINT, _COLORED_SHARE = 600, 56, 0.0005


def sheets_of_pictures(raw: bytes, *, max_bytes: int) -> list[Sheet]:
    """One for each picture in a PNG, a JPEG or a TIFF, without text.

    Raises UnreadableDocument for what is no picture, damaged or too large to be decoded,
    DocumentTooLarge for more than `max_bytes` of pages.
    """
    sheets: list[Sheet] = []
    num_bytes = 0
    try:
        # Its own limit says no size; ours is looked at before anything is decoded.
        Image.MAX_IMAGE_PIXELS = None
        picture = Image.open(io.BytesIO(raw), formats=("PNG", "JPEG", "TIFF"))
        for number, frame in enumerate(ImageSequence.Iterator(picture), start=1):
            if number > MAX_PAGES:
                raise UnreadableDocument(
                    f"the picture has over {MAX_PAGES} pages; send them in several files"
                )
            _check_size(frame.width, frame.height, number)
            kept = encoded(ImageOps.exif_transpose(frame))
            num_bytes += len(kept[0])
            check_bytes(num_bytes, number, max_bytes)
            sheets.append(_sheet(number, *kept))
    except (OSError, ValueError, SyntaxError, EOFError) as exc:
        # SyntaxError: Pillow's word for a broken PNG.
        raise UnreadableDocument(
            f"the picture cannot be read: {_first_words(exc)}; save it again as PNG, or send text"
        ) from exc
    return sheets


def picture_of_page(page: pypdfium2.PdfPage) -> bytes:
    """A PDF's page as it is looked at, encoded."""
    width, height = page.get_size()
    scale = min(PDF_DPI / 72, MAX_SIDE / max(width, height, 1.0))
    small = page.render(scale=scale / 3).to_pil()
    gray = not has_color(small)
    return encoded(page.render(scale=scale, grayscale=gray).to_pil())[0]


def encoded(picture: Image.Image) -> tuple[bytes, int, int]:
    """(PNG, or JPEG where that is much smaller; width; height): on white, not too large, gray or
    RGB."""
    picture = on_white(picture)
    if max(picture.size) > MAX_SIDE:
        picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS, reducing_gap=3)
    png = io.BytesIO()
    picture.save(png, "PNG")
    kept = png.getvalue()
    if len(kept) > LOSSLESS_BYTES:
        jpeg = io.BytesIO()
        picture.save(jpeg, "JPEG", quality=_QUALITY)
        kept = min(kept, jpeg.getvalue(), key=len)
    return kept, picture.width, picture.height


def on_white(picture: Image.Image) -> Image.Image:
    """Gray, or RGB where it has colour, with what is transparent white."""
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        wide = picture.convert("F")
        _, high = wide.getextrema()
        scale = 255 / max(255.0, float(high))  # type: ignore[arg-type]
        return wide.point(lambda value: value * scale).convert("L")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        picture = Image.alpha_composite(white, layer)
    if picture.mode in ("1", "L"):
        return picture.convert("L")
    colored = picture.convert("RGB")
    return colored if has_color(colored) else picture.convert("L")


def has_color(picture: Image.Image) -> bool:
    """Whether more of it is coloured than a scanner's noise and a paper's tint are."""
    small = picture.convert("RGB")
    small.thumbnail((_SAMPLE_SIDE, _SAMPLE_SIDE), Image.Resampling.BOX)
    red, green, blue = small.split()
    most = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    least = ImageChops.darker(ImageChops.darker(red, green), blue)
    counts = ImageChops.subtract(most, least).histogram()
    return sum(counts[_TINT:]) > _COLORED_SHARE * sum(counts)


def _sheet(number: int, picture: bytes, width: int, height: int) -> Sheet:
    return Sheet(
        number=number, width=width, height=height, start=0, end=0, picture=picture, always=False
    )


def _check_size(width: int, height: int, number: int) -> None:
    which = "the picture" if number == 1 else f"page {number} of the picture"
    if width * height > MAX_PIXELS:
        raise UnreadableDocument(
            f"{which} is {width} x {height} pixels, limit is {MAX_PIXELS:,} in all; send it "
            "smaller, e.g. a page at 200 dots per inch",
            width=width,
            height=height,
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UnreadableDocument(
            f"{which} is {width} x {height} pixels, a stripe and no page; send it whole",
            width=width,
            height=height,
        )


def _first_words(exc: BaseException) -> str:
    return str(exc).partition("<")[0].strip()[:120] or type(exc).__name__
