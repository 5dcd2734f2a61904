"""Where the answer stage gets a job's pages and, when they must be encoded, their pixels."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import structlog

from glyph_worker.document import Document, Page
from glyph_worker.errors import TransientError
from glyph_worker.features.digest import page_image_digest, tenant_salt
from glyph_worker.features.types import PageRequest
from glyph_worker.render.choose import resolve_style, shape_of, style_of
from glyph_worker.render.out.raster import draw
from glyph_worker.render.out.wire import WireError, unpack_page
from glyph_worker.render.pages.page import LaidPage
from glyph_worker.render.pictured import lay_out
from glyph_worker.settings import Settings
from glyph_worker.store.job_record import ClaimedJob
from glyph_worker.store.open import Stores

log = structlog.get_logger(__name__)

MAX_COUNTED = 1_000
_COUNTED: OrderedDict[str, int] = OrderedDict()
_COUNTED_LOCK = threading.Lock()


def salt_of(settings: Settings, tenant: str) -> str:
    """What keeps this tenant's pages and features apart from the others'."""
    features = settings.features
    secret = features.salt_secret.get_secret_value()
    return tenant_salt(secret, tenant, shared=features.shared_pool)


class PageSource:
    """One job's pages: laid out and drawn by a render worker, or here when the cache lost them."""

    def __init__(self, settings: Settings, stores: Stores, claimed: ClaimedJob) -> None:
        self._stores = stores
        self._claimed = claimed
        steps = int(claimed.notes.get("style_steps", 0))
        self.style = style_of(settings, claimed.options, steps=steps)
        self._shape = shape_of(settings)
        own = resolve_style(settings, claimed.options.style).name
        self.stepped_from = own if own != self.style.name else ""
        self.salt = salt_of(settings, claimed.tenant)
        self._laid: list[LaidPage] | None = None
        self._lock = threading.Lock()
        self.num_drawn = 0
        self.draw_ms = 0.0

    def pages(self) -> list[Page]:
        """In order. Raises JobExpired when neither layout nor document is left."""
        try:
            layout = self._stores.layouts.get(
                self._claimed.document_digest, self.style.digest, salt=self.salt
            )
        except TransientError as exc:
            log.warning("cache.skipped", what="layout", error=exc.code)
            layout = None
        if layout is None:
            return [laid.page for laid in self._lay_out()]
        return list(layout.pages)

    def document(self) -> Document:
        """Raises JobExpired when it is gone, StoreUnavailable."""
        return self._stores.blobs.get(self._claimed.document_digest)

    def document_tokens(self, count: Callable[[str], int]) -> int:
        """Text tokens of the document, counted once per document and process."""
        name = self._claimed.document_digest
        with _COUNTED_LOCK:
            if name in _COUNTED:
                _COUNTED.move_to_end(name)
                return _COUNTED[name]
        number = count(self._stores.blobs.get(name).text)
        with _COUNTED_LOCK:
            _COUNTED[name] = number
            while len(_COUNTED) > MAX_COUNTED:
                _COUNTED.popitem(last=False)
        return number

    def request(self, page: Page) -> PageRequest:
        return PageRequest(
            page_digest=page.digest,
            width=page.width,
            height=page.height,
            pixels=lambda: self._pixels(page),
        )

    def _pixels(self, page: Page) -> np.ndarray:
        try:
            packed = self._stores.page_images.get(page_image_digest(page.digest, self.salt))
            if packed is not None:
                pixels = unpack_page(packed)
                if pixels.shape[:2] == (page.height, page.width):
                    return pixels
                raise WireError(f"page {page.index} is {pixels.shape}")
        except (TransientError, WireError) as exc:
            log.warning("cache.skipped", what="page", error=type(exc).__name__)
        began = time.perf_counter()
        laid = self._lay_out()
        if page.index >= len(laid) or laid[page.index].page != page:
            # Drawn all the same, it would be kept under another page's name.
            self._stores.layouts.drop(
                self._claimed.document_digest, self.style.digest, salt=self.salt
            )
            raise TransientError("the stored layout is not the document's; it is laid out again")
        pixels = draw(laid[page.index])
        self.num_drawn += 1
        self.draw_ms += (time.perf_counter() - began) * 1e3
        return pixels

    def _lay_out(self) -> list[LaidPage]:
        with self._lock:
            if self._laid is None:
                document = self._stores.blobs.get(self._claimed.document_digest)
                self._laid = list(lay_out(document, self.style, self._shape))
            return self._laid
