"""Calls the webhooks of ended jobs: signed as Standard Webhooks says, retried, never inwards."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import structlog
from fastapi import APIRouter
from pydantic import BaseModel, Field

from glyph_worker.errors import GlyphError, InvalidSetting, UnknownJob, WebhookRefused
from glyph_worker.gateway.address import resolve
from glyph_worker.gateway.deps import Context, InContext, TenantName, threaded
from glyph_worker.gateway.problems import responses
from glyph_worker.gateway.schemas import job_fields
from glyph_worker.job import Job
from glyph_worker.settings import GatewaySettings
from glyph_worker.store.webhooks import DueWebhook, WebhookStore

log = structlog.get_logger(__name__)
router = APIRouter(tags=["webhooks"])

PERIOD_S = 0.5
MAX_AT_ONCE = 16
GROWTH, LONGEST_PAUSE_S = 6.0, 6 * 3600.0
"""Pauses of 5 s, 30 s, 3 min, 18 min, 1.8 h, 6 h …, each ± 10 %."""


class Signer:
    """Every tenant has its own secret, derived, so that none can sign for another."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Raises InvalidSetting. Two secrets, comma-separated, sign both ways during a change."""
        texts = [
            text.strip()
            for text in settings.webhook_secret.get_secret_value().split(",")
            if text.strip()
        ]
        self._secrets = [_decoded(text) for text in texts]

    @property
    def ready(self) -> bool:
        return bool(self._secrets)

    def secret_of(self, tenant: str) -> str:
        """What the tenant verifies with: `whsec_` and base64 of 32 bytes."""
        return "whsec_" + base64.b64encode(self._derived(tenant)[0]).decode()

    def headers(self, message_id: str, body: bytes, tenant: str, *, now: float) -> dict[str, str]:
        """https://github.com/standard-webhooks/standard-webhooks, symmetric signatures (v1)."""
        stamp = str(int(now))
        signed = f"{message_id}.{stamp}.".encode() + body
        signatures = [
            "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
            for secret in self._derived(tenant)
        ]
        return {
            "webhook-id": message_id,
            "webhook-timestamp": stamp,
            "webhook-signature": " ".join(signatures),
        }

    def _derived(self, tenant: str) -> list[bytes]:
        context = b"glyph-worker webhook of " + tenant.encode()
        return [hmac.digest(secret, context, hashlib.sha256) for secret in self._secrets]


def _decoded(text: str) -> bytes:
    try:
        secret = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except binascii.Error as exc:
        raise InvalidSetting("GLYPH_GATEWAY_WEBHOOK_SECRET is not base64 after whsec_") from exc
    if not 24 <= len(secret) <= 64:
        raise InvalidSetting(
            f"GLYPH_GATEWAY_WEBHOOK_SECRET has {len(secret)} bytes, 24 to 64 are wanted; "
            'make one with: echo "whsec_$(openssl rand -base64 32)"'
        )
    return secret


def check_address(url: str, settings: GatewaySettings) -> None:
    """At submit, so that the caller learns it. Raises WebhookRefused."""
    if not settings.webhook_secret.get_secret_value():
        raise WebhookRefused(
            "webhooks are off here: the operator sets GLYPH_GATEWAY_WEBHOOK_SECRET"
        )
    resolve(url, private=settings.webhook_private)


class Deliverer:
    """One per gateway process; several share the work through the store."""

    def __init__(
        self,
        context: Context,
        signer: Signer,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = context.settings.gateway
        self._context = context
        self._signer = signer
        self._clock = clock
        ttl_s = context.settings.queue.job_ttl_s
        self._store = WebhookStore(context.broker, context.keys, url=context.url, ttl_s=ttl_s)
        self._task: asyncio.Task[None] | None = None
        self.outcomes: dict[str, int] = {}
        """Deliveries by outcome: delivered, gone, refused, given_up, put_off."""

    def start(self) -> None:
        if self._signer.ready:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        lease_s = self._settings.webhook_timeout_s * 2 + 5
        timeout = httpx.Timeout(self._settings.webhook_timeout_s)
        # No redirects: one would lead past the check. No environment: its proxies as well.
        async with httpx.AsyncClient(timeout=timeout, trust_env=False) as http:
            while True:
                try:
                    due = await threaded(self._store.take, limit=MAX_AT_ONCE, lease_s=lease_s)
                    await asyncio.gather(*(self._settle(http, one) for one in due))
                except GlyphError as exc:
                    log.warning("webhook.waiting", error=exc.code)
                    due = []
                if len(due) < MAX_AT_ONCE:
                    await asyncio.sleep(PERIOD_S)

    async def _settle(self, http: httpx.AsyncClient, due: DueWebhook) -> None:
        outcome = await self._call(http, due)
        if outcome is None and due.tries >= self._settings.webhook_attempts:
            outcome = "given_up"
        self.outcomes[outcome or "put_off"] = self.outcomes.get(outcome or "put_off", 0) + 1
        log.info("webhook.tried", job_id=due.job_id, tries=due.tries, outcome=outcome or "put_off")
        if outcome is not None:
            await threaded(self._store.settle, due.job_id, outcome)
            return
        pause_s = min(LONGEST_PAUSE_S, self._settings.webhook_pause_s * GROWTH ** (due.tries - 1))
        await threaded(self._store.put_off, due.job_id, pause_s * random.uniform(0.9, 1.1))

    async def _call(self, http: httpx.AsyncClient, due: DueWebhook) -> str | None:
        """How it ended, or None for another try."""
        client = self._context.client(due.tenant)
        try:
            job = await threaded(client.status, due.job_id)
            address = await threaded(resolve, due.url, private=self._settings.webhook_private)
        except UnknownJob:
            return "gone"
        except WebhookRefused:
            return "refused"
        body = json.dumps(message(job), ensure_ascii=False, separators=(",", ":")).encode()
        # The same id at every try: the receiver drops what it has had.
        headers = self._signer.headers(f"msg_{job.id}", body, due.tenant, now=self._clock())
        headers |= {"content-type": "application/json", "host": address.host_header}
        try:
            async with http.stream(
                "POST", address.url, content=body, headers=headers,
                extensions={"sni_hostname": address.host},
            ) as reply:  # fmt: skip
                status = reply.status_code  # its body is nobody's business, and may be endless
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            log.info("webhook.unreachable", job_id=due.job_id, error=type(exc).__name__)
            return None
        if 200 <= status < 300:
            return "delivered"
        return "gone" if status == 410 else None


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


class WebhookSecret(BaseModel):
    secret: str = Field(examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])


@router.get(
    "/v1/webhook-secret",
    responses=responses(WebhookRefused),
    summary="What to verify webhooks with",
)
async def webhook_secret(tenant: TenantName, context: InContext) -> WebhookSecret:
    """Your own secret, for any Standard Webhooks library."""
    if not context.signer.ready:
        raise WebhookRefused(
            "webhooks are off here: the operator sets GLYPH_GATEWAY_WEBHOOK_SECRET"
        )
    return WebhookSecret(secret=context.signer.secret_of(tenant))
