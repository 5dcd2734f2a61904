"""Webhooks over HTTP: what they are verified with, and whether one may be asked for."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from glyph_worker.errors import WebhookRefused
from glyph_worker.gateway.address import Unresolved
from glyph_worker.gateway.deps import Context, InContext, TenantName
from glyph_worker.gateway.problems import responses
from glyph_worker.gateway.threads import threaded

router = APIRouter(tags=["webhooks"])


async def check_webhook(url: str, context: Context) -> None:
    """At submit, so that the caller learns it. Raises WebhookRefused."""
    _check_on(context)
    try:
        await context.resolver.resolve(url)
    except Unresolved as exc:
        raise WebhookRefused(exc.message) from exc
    # The client asks the store whether anybody signs: we do, whatever it heard of us last.
    await threaded(context.webhooks.announce)


def _check_on(context: Context) -> None:
    if not context.signer.ready:
        raise WebhookRefused(
            "webhooks are off here: the operator sets GLYPH_GATEWAY_WEBHOOK_SECRET"
        )


class WebhookSecret(BaseModel):
    secret: str = Field(examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])


@router.get(
    "/v1/webhook-secret",
    responses=responses(WebhookRefused),
    summary="What to verify webhooks with",
)
async def webhook_secret(tenant: TenantName, context: InContext) -> WebhookSecret:
    """Your own secret, for any Standard Webhooks library."""
    _check_on(context)
    return WebhookSecret(secret=context.signer.secret_of(tenant))
