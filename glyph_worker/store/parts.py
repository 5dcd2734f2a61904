"""Parts of a job on an over-long document: jobs of their own, whose last end wakes it.

A part's record names its job; `parts:{job}` holds those that are not final. All changes are made by
the scripts that park and end jobs, so that no crash leaves the one without the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from glyph_worker import codec
from glyph_worker.job import Answer, Job, Stage
from glyph_worker.job_options import JobOptions
from glyph_worker.store.connection import Server
from glyph_worker.store.job_record import ClaimedJob, Record, outcome_of
from glyph_worker.store.keys import Keys
from glyph_worker.store.scripts import Scripts, flat


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One question about one part of a document."""

    job_id: str
    """The same for the same part of the same job, so that nothing is asked twice."""
    document_digest: str
    question: str
    options: JobOptions
    cost: float
    """As of a submission."""


class PartStore:
    """Raises StoreUnavailable, StoreFull or StoreDenied from every method."""

    def __init__(self, client: Server, keys: Keys, *, ttl_s: int, window: int) -> None:
        self._client = client
        self._keys = keys
        self._window = window
        self._run = Scripts(client, keys, ttl_s=ttl_s)

    def park(
        self, claimed: ClaimedJob, parts: Sequence[Part], *, fields: dict[str, Any]
    ) -> bool | None:
        """Queue the parts, and the job again when they have all ended. `fields` go into its record.

        True: parked; False: a cancel is asked; None: fenced off. With no part left to end the job
        is queued at once.
        """
        own = flat({"stage": Stage.READING.value} | fields)
        args: list[Any] = [len(own), *own]
        for part in parts:
            fields_of_part = flat(
                {
                    "question": part.question,
                    "options": codec.pack("options", part.options.to_fields()),
                }
            )
            args += [part.job_id, part.cost, part.document_digest, len(fields_of_part)]
            args += fields_of_part
        found = int(
            self._run("park", claimed.job_id, claimed.attempt, claimed.owner, self._window, *args)
        )
        return {1: True, 2: False}.get(found)

    def outcomes(self, job_ids: Sequence[str]) -> list[tuple[Job, Answer | None] | None]:
        """Each part with its answer, if it has one; None where there is no record."""
        found: list[tuple[Job, Answer | None] | None] = []
        for at in range(0, len(job_ids), _CHUNK):
            pipe = self._client.pipeline(transaction=False)
            for job_id in job_ids[at : at + _CHUNK]:
                pipe.hgetall(self._keys.job(job_id))
            chunk = job_ids[at : at + _CHUNK]
            for job_id, record in zip(chunk, cast("list[Record]", pipe.execute()), strict=True):
                found.append(outcome_of(job_id, record)[:2] if record else None)
        return found


_CHUNK = 200
"""Records in one reply."""
