"""Ends a gateway whose broker refuses it: trying again would never help."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from glyph_worker.errors import ConfigurationError
from glyph_worker.store.connection import check_allowed

log = structlog.get_logger(__name__)

PERIOD_S = 5.0


class BrokerWatch:
    """Asks now and then, on a connection of its own, as a new one would be refused first."""

    def __init__(self, url: str, on_refused: Callable[[], None]) -> None:
        """`on_refused` is called once, from a thread."""
        self._url = url
        self._on_refused = on_refused
        self._stop = threading.Event()
        self.refused: ConfigurationError | None = None
        """Why the gateway ends, once it does."""

    def start(self) -> None:
        """Raises StoreDenied or StoreUnsuitable when the broker refuses us now."""
        check_allowed(self._url)
        threading.Thread(target=self._run, name="broker-watch", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_S):
            try:
                check_allowed(self._url)
            except ConfigurationError as exc:
                log.error("gateway.misconfigured", error=exc.code, message=str(exc))
                self.refused = exc
                self._on_refused()
                return
