"""Skip the pixels: which pages need none, asked by a process without model or torch. Never raises.

A render worker does not know which answer worker will take the job, so a page counts as known
only when every live recipe has its features stored. Features may vanish before they are fetched:
the answer worker must be able to draw the page itself.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from glyph_worker.errors import GlyphError
from glyph_worker.features.digest import SHARED, FeatureRecipe
from glyph_worker.features.types import FeatureStore

log = logging.getLogger(__name__)


class KnownPages:
    def __init__(self, store: FeatureStore) -> None:
        self._store = store

    def known(self, page_digests: Sequence[str], *, salt: str = SHARED) -> list[bool]:
        """True where nobody needs the page's pixels. All False when in doubt."""
        unknown = [False] * len(page_digests)
        if not page_digests:
            return unknown
        try:
            recipes = [FeatureRecipe.from_wire(raw) for raw in self._store.recipes()]
            if not recipes or None in recipes:
                return unknown
            names = [
                recipe.salted(salt).feature_digest(page)
                for page in page_digests
                for recipe in recipes
                if recipe is not None
            ]
            stored = self._store.stored(names)
        except GlyphError as exc:
            log.warning("cache server does not say which pages are known: %s", exc)
            return unknown
        step = len(recipes)
        return [all(stored[at : at + step]) for at in range(0, len(stored), step)]
