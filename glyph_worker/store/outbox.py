"""Ended jobs of which a Celery application is to be told. Filled by the script that ends a job."""

from __future__ import annotations

from dataclasses import dataclass

from glyph_worker.store.connection import Server
from glyph_worker.store.keys import Keys
from glyph_worker.store.scripts import Scripts


@dataclass(frozen=True, kw_only=True, slots=True)
class DueLinks:
    job_id: str
    packed: bytes
    """As its producer noted them."""


class Outbox:
    """One application's. At least once: taken, told, settled. Raises StoreUnavailable, StoreFull,
    StoreDenied from every method."""

    def __init__(self, client: Server, keys: Keys, *, tenant: str, name: str, ttl_s: int) -> None:
        self._who = (tenant, name)
        self._run = Scripts(client, keys, ttl_s=ttl_s)

    def take(self, *, limit: int, lease_s: float) -> list[DueLinks]:
        """Those due now; each comes back after `lease_s` unless it is settled."""
        flat = self._run("outbox", *self._who, limit, lease_s)
        return [
            DueLinks(job_id=job_id.decode(), packed=packed)
            for job_id, packed in zip(flat[::2], flat[1::2], strict=True)
        ]

    def settle(self, job_id: str) -> None:
        self._run("outbox_settle", *self._who, job_id, "")

    def put_off(self, job_id: str, pause_s: float) -> None:
        self._run("outbox_settle", *self._who, job_id, pause_s)
