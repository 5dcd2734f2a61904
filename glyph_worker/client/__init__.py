"""Producers' side, blocking and for asyncio."""

from glyph_worker.client.aio import AsyncClient
from glyph_worker.client.client import Client

__all__ = ["AsyncClient", "Client"]
