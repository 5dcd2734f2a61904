"""Pages as every way of ops/bench/article that is not our service gets them: drawn beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Drawn:
    """A page: uint8 pixels [height, width], and the digest that names them."""

    pixels: Any
    digest: str


def draw(document: str, style: dict[str, Any]) -> list[Drawn]:
    from glyph_worker.render.out import raster
    from glyph_worker.render.paginate import paginate
    from glyph_worker.render.style.style import Style

    laid = paginate(document, Style.from_json(style))
    return [Drawn(raster.draw(one), one.page.digest) for one in laid]
