"""Producers' side, blocking and for asyncio.

client      submit, status, result, wait, cancel; start here
aio         the same verbs for asyncio
checks      a submit as it came → a request of known types, or a refusal
follow_up   a question that follows an answered one
submitting  what is asked becomes jobs, whole or not at all
tasks       asking from a Celery application of your own
"""

from glyph_worker.client.aio import AsyncClient
from glyph_worker.client.client import Client

__all__ = ["AsyncClient", "Client"]
