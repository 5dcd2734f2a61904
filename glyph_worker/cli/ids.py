"""A job's id as people type it: whole, or the beginning that only one job has."""

from __future__ import annotations

import re

from glyph_worker.errors import InvalidOption, StoreDenied
from glyph_worker.settings import Settings
from glyph_worker.store.jobs import JobStore

WHOLE_ID = 36
MIN_PREFIX = 4
_ID = re.compile(r"[A-Za-z0-9_-]+")


def all_jobs(settings: Settings) -> JobStore:
    """All tenants' records: who types here has the broker's password."""
    from glyph_worker.store.open import Stores

    return Stores.open(settings).jobs


def whole_id(jobs: JobStore, typed: str, *, tenant: str | None = None) -> str:
    """The id that begins as typed, of this tenant's jobs (None: of all).

    What is whole, or begins no job, comes back as it is, for whoever looks it up to refuse. Raises
    InvalidOption for a beginning that several jobs have.
    """
    if not MIN_PREFIX <= len(typed) < WHOLE_ID or not _ID.fullmatch(typed):
        return typed
    try:
        found = jobs.beginning_with(typed, tenant=tenant)
    except StoreDenied:
        return typed  # this user may not list keys: it types ids whole
    if typed in found or not found:
        return typed
    if len(found) > 1:
        listed = ", ".join(found[:5]) + (", …" if len(found) > 5 else "")
        raise InvalidOption(
            f"{len(found)} jobs begin with {typed!r}: {listed}; type more of the id", option="id"
        )
    return found[0]
