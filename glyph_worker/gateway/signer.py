"""Signatures of webhooks, as Standard Webhooks says. Calls nothing."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from glyph_worker.errors import InvalidSetting
from glyph_worker.setting_sections import GatewaySettings


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
