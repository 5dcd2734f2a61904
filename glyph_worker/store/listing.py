"""A tenant's jobs by creation, newest first, page by page. Read-only."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

from glyph_worker.errors import InvalidOption
from glyph_worker.job import FINAL, Job, JobStatus, Priority
from glyph_worker.store.connection import Server
from glyph_worker.store.jobs import JobStore
from glyph_worker.store.keys import Keys

MAX_LOOKED_AT = 2_000
"""Records that one page reads at most; a filter that few fit gives a short page and a cursor."""
_CHUNK = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class JobPage:
    jobs: list[Job]
    next_cursor: str | None
    """Where the next page begins; None where nothing follows."""


class JobListing:
    """Raises StoreUnavailable, StoreFull or StoreDenied."""

    def __init__(self, client: Server, keys: Keys, jobs: JobStore) -> None:
        self._client = client
        self._keys = keys
        self._jobs = jobs

    def page(
        self,
        tenant: str,
        *,
        limit: int,
        cursor: str | None = None,
        statuses: Collection[JobStatus] = (),
        priority: Priority | None = None,
    ) -> JobPage:
        """Jobs of any of the statuses (none: all). Raises InvalidOption for a broken cursor."""
        wanted = frozenset(statuses) or frozenset(JobStatus)
        indexes = []
        if wanted - FINAL:
            indexes.append(self._keys.active_of(tenant))
        if wanted & FINAL:
            indexes.append(self._keys.ended_of(tenant))
        at = None if cursor is None else _opened(cursor)
        found: list[Job] = []
        for _ in range(MAX_LOOKED_AT // _CHUNK):
            rows = self._rows(indexes, at)
            jobs = self._jobs.get_many([job_id for _, job_id in rows], tenant=tenant)
            for row, job in zip(rows, jobs, strict=True):
                at = row
                # One that ended between the two reads stands in neither place twice.
                if job is None or job.status not in wanted:
                    continue
                if priority is not None and job.priority is not priority:
                    continue
                found.append(job)
                if len(found) == limit:
                    return JobPage(jobs=found, next_cursor=_closed(at))
            if len(rows) < _CHUNK:
                return JobPage(jobs=found, next_cursor=None)
        return JobPage(jobs=found, next_cursor=None if at is None else _closed(at))

    def _rows(self, indexes: list[str], at: tuple[float, str] | None) -> list[tuple[float, str]]:
        """(created, id) after `at`, newest first, at most _CHUNK."""
        most = "+inf" if at is None else repr(at[0])
        pipe = self._client.pipeline(transaction=False)
        for index in indexes:
            # Of the jobs created in the cursor's own moment some were shown: read on past them.
            pipe.zrevrangebyscore(index, most, "-inf", start=0, num=_CHUNK + 1_000, withscores=True)
        replies = cast("list[list[tuple[bytes, float]]]", pipe.execute())
        rows = {(score, raw.decode()) for reply in replies for raw, score in reply}
        ordered = sorted(rows, reverse=True)
        return [row for row in ordered if at is None or row < at][:_CHUNK]


def _closed(at: tuple[float, str]) -> str:
    return base64.urlsafe_b64encode(f"{at[0]!r} {at[1]}".encode()).decode().rstrip("=")


def _opened(cursor: str) -> tuple[float, str]:
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        score, _, job_id = raw.partition(" ")
        return float(score), job_id
    except (ValueError, binascii.Error):
        raise InvalidOption(
            "the cursor is none of a page before; send `next_cursor` as it came, or none",
            option="cursor",
        ) from None
