"""Calls the webhooks of ended jobs: signed, retried, never inwards, each for itself alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import structlog

from glyph_worker.client import Client
from glyph_worker.errors import GlyphError, UnknownJob, WebhookRefused
from glyph_worker.gateway.address import Resolver, Unresolved
from glyph_worker.gateway.signer import Signer
from glyph_worker.gateway.threads import threaded
from glyph_worker.gateway.views import job_fields
from glyph_worker.job import Job
from glyph_worker.setting_sections import GatewaySettings
from glyph_worker.store.webhooks import ANNOUNCE_S, DueWebhook, WebhookStore

log = structlog.get_logger(__name__)

PERIOD_S = 0.5
MAX_AT_ONCE, MAX_PER_RECEIVER = 64, 8
"""Deliveries at once, in all and to one host: one that drips leaves room for the others."""
YIELD_S = 1.0
"""A delivery whose receiver has its share already is due again after so long."""
GROWTH, LONGEST_PAUSE_S = 6.0, 6 * 3600.0
"""Pauses of 5 s, 30 s, 3 min, 18 min, 1.8 h, 6 h …, each ± 10 %."""


class Deliverer:
    """One per gateway process; several share the work through the store."""

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        store: WebhookStore,
        client_of: Callable[[str], Client],
        resolver: Resolver,
        signer: Signer,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`client_of` gives a tenant's client."""
        self._settings = settings
        self._store = store
        self._client_of = client_of
        self._resolver = resolver
        self._signer = signer
        self._clock = clock
        self._loop_task: asyncio.Task[None] | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._busy: Counter[str] = Counter()
        """Deliveries at work, by receiver."""
        self._announced_at = float("-inf")
        self.outcomes: dict[str, int] = {}
        """Deliveries by outcome: delivered, gone, refused, given_up, put_off."""

    def start(self) -> None:
        if self._signer.ready:
            self._loop_task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        tasks = [task for task in (self._loop_task, *self._calls) if task is not None]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._resolver.close()

    async def _run(self) -> None:
        # No redirects: one would lead past the check. No environment: its proxies as well.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        timeout = httpx.Timeout(self._settings.webhook_timeout_s)
        async with httpx.AsyncClient(timeout=timeout, trust_env=False, limits=limits) as http:
            while True:
                try:
                    await self._announce()
                    num_due = await self._take(http)
                except GlyphError as exc:
                    log.warning("webhook.waiting", error=exc.code)
                    num_due = 0
                except Exception:  # the loop's edge: nothing may end all tenants' webhooks
                    log.exception("webhook.crashed")
                    num_due = 0
                if num_due == 0 or len(self._calls) >= MAX_AT_ONCE:
                    await self._rest()

    async def _rest(self) -> None:
        """Until there is something to look for again."""
        if len(self._calls) >= MAX_AT_ONCE:
            await asyncio.wait(self._calls, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(PERIOD_S)

    async def _announce(self) -> None:
        if time.monotonic() - self._announced_at >= ANNOUNCE_S:
            await threaded(self._store.announce)
            self._announced_at = time.monotonic()

    async def _take(self, http: httpx.AsyncClient) -> int:
        """Begin what is due and has room. Returns how many were due."""
        lease_s = self._settings.webhook_timeout_s * 2 + 30
        room = MAX_AT_ONCE - len(self._calls)
        due = await threaded(self._store.take, limit=room, lease_s=lease_s)
        for one in due:
            receiver = _receiver(one.url)
            if self._busy[receiver] >= MAX_PER_RECEIVER:
                await threaded(self._store.give_back, one.job_id, YIELD_S)
                continue
            self._busy[receiver] += 1
            call = asyncio.get_running_loop().create_task(self._deliver(http, one, receiver))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
        return len(due)

    async def _deliver(self, http: httpx.AsyncClient, due: DueWebhook, receiver: str) -> None:
        """One delivery from start to end: whatever happens to it happens to no other."""
        try:
            await self._settle(due, await self._outcome(http, due))
        except GlyphError as exc:
            # The store; the lease brings it back.
            log.warning("webhook.waiting", job_id=due.job_id, error=exc.code)
        finally:
            self._busy[receiver] -= 1
            if not self._busy[receiver]:
                del self._busy[receiver]

    async def _outcome(self, http: httpx.AsyncClient, due: DueWebhook) -> str | None:
        """How it ended, or None for another try. Raises GlyphError for the store's troubles."""
        try:
            # A total: what a receiver sends byte by byte is never late by httpx' own clocks.
            async with asyncio.timeout(self._settings.webhook_timeout_s):
                return await self._call(http, due)
        except (TimeoutError, Unresolved, httpx.HTTPError, httpx.InvalidURL) as exc:
            log.info("webhook.unreachable", job_id=due.job_id, error=type(exc).__name__)
        except GlyphError:
            raise
        except Exception:  # a delivery's edge: it counts as a try, and ends as one
            log.exception("webhook.failed", job_id=due.job_id)
        return None

    async def _settle(self, due: DueWebhook, outcome: str | None) -> None:
        if outcome is None and due.tries >= self._settings.webhook_attempts:
            outcome = "given_up"
        said = outcome or "put_off"
        self.outcomes[said] = self.outcomes.get(said, 0) + 1
        log.info("webhook.tried", job_id=due.job_id, tries=due.tries, outcome=said)
        if outcome is not None:
            await threaded(self._store.settle, due.job_id, outcome)
            return
        growth = GROWTH ** min(due.tries - 1, 20)
        pause_s = min(LONGEST_PAUSE_S, self._settings.webhook_pause_s * growth)
        await threaded(self._store.put_off, due.job_id, pause_s * random.uniform(0.9, 1.1))

    async def _call(self, http: httpx.AsyncClient, due: DueWebhook) -> str | None:
        try:
            job = await threaded(self._client_of(due.tenant).status, due.job_id)
            address = await self._resolver.resolve(due.url)
        except UnknownJob:
            return "gone"
        except WebhookRefused:
            return "refused"
        body = json.dumps(message(job), ensure_ascii=False, separators=(",", ":")).encode()
        # The same id at every try: the receiver drops what it has had.
        headers = self._signer.headers(f"msg_{job.id}", body, due.tenant, now=self._clock())
        headers |= {"content-type": "application/json", "host": address.host_header}
        async with http.stream(
            "POST", address.url, content=body, headers=headers,
            extensions={"sni_hostname": address.host},
        ) as reply:  # fmt: skip
            status = reply.status_code  # its body is nobody's business, and may be endless
        if 200 <= status < 300:
            return "delivered"
        return "gone" if status == 410 else None


def _receiver(url: str) -> str:
    """Whom a URL belongs to, for the shares; it need not be sound."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return url[:200]


def message(job: Job) -> dict[str, Any]:
    """What a receiver gets: which job ended and how. The answer is fetched with a key."""
    ended = datetime.fromtimestamp(job.finished_at or 0.0, UTC).isoformat().replace("+00:00", "Z")
    fields = job_fields(job)
    kept = ("id", "status", "attempt", "created_at", "started_at", "finished_at", "error", "links")
    return {
        "type": f"job.{job.status.value}",
        "timestamp": ended,
        "data": {name: fields[name] for name in kept if name in fields},
    }
