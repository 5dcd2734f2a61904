"""Webhooks that wait to be called: ids of ended jobs by due time. Calls nothing itself."""

from __future__ import annotations

from dataclasses import dataclass

from glyph_worker.store.connection import Server
from glyph_worker.store.keys import Keys
from glyph_worker.store.scripts import Scripts

ANNOUNCE_S, ANNOUNCED_S = 60.0, 900
"""How often a gateway that signs says so, and how long that is believed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DueWebhook:
    job_id: str
    tenant: str
    url: str
    tries: int
    """This one included."""


class WebhookStore:
    """At least once: taken, tried, settled. Raises StoreUnavailable, StoreFull, StoreDenied."""

    def __init__(self, client: Server, keys: Keys, *, ttl_s: int) -> None:
        self._client = client
        self._keys = keys
        self._run = Scripts(client, keys, ttl_s=ttl_s)

    def announce(self) -> None:
        """There is a gateway that calls webhooks."""
        self._client.set(self._keys.signing, "1", ex=ANNOUNCED_S)

    def are_called(self) -> bool:
        """Whether a gateway that calls webhooks was there in the last ANNOUNCED_S seconds."""
        return bool(self._client.exists(self._keys.signing))

    def take(self, *, limit: int, lease_s: float) -> list[DueWebhook]:
        """Those due now; each comes back after `lease_s` unless it is settled."""
        # What a record holds may be anything: one that cannot be read is refused as a URL.
        flat = [raw.decode("utf-8", "replace") for raw in self._run("webhooks", limit, lease_s)]
        return [
            DueWebhook(job_id=i, tenant=tenant, url=url, tries=int(tries))
            for i, tenant, url, tries in zip(
                flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=True
            )
        ]

    def settle(self, job_id: str, outcome: str) -> None:
        """No further try; `outcome` (delivered, gone, refused, given_up) goes into the record."""
        self._run("webhook_settle", job_id, "", outcome)

    def put_off(self, job_id: str, pause_s: float) -> None:
        self._run("webhook_settle", job_id, pause_s, "")

    def give_back(self, job_id: str, pause_s: float) -> None:
        """Taken but not tried: due again after the pause, and no try is counted."""
        self._run("webhook_settle", job_id, pause_s, "untried")
