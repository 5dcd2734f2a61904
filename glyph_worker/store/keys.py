"""Every key kept in Redis: its name, type, server and time to live. No I/O.

Broker server (AOF, noeviction):
  {prefix}:job:{id}            hash    one job's record; TTL job_ttl_s, renewed while it lives
  {prefix}:blob:{digest}       string  a document, zlib-packed UTF-8; TTL job_ttl_s from last use
  {prefix}:active              zset    ids of jobs that are not final, by creation time; no TTL
  {prefix}:workers             hash    name → what a worker last said of itself; TTL 1 h
  {prefix}:reconciler          string  which worker looks for lost messages; TTL 3 s
  {prefix}:cancels             channel ids of running jobs to cancel; the record's flag is the truth
  glyph.render, glyph.answer   list    Celery's queues (with a suffix per priority); no TTL
  unacked, unacked_index, unacked_mutex, _kombu.*, celery.*   Celery's own; no TTL

Cache server (allkeys-lru), see store/cache.py and features/:
  {prefix}:layout:{digest}     string  the pages of a document in a style; TTL page_ttl_s
  {prefix}:page:{digest}       string  a page image, packed; TTL page_ttl_s
  {prefix}:feature:{digest}    string  a page's features; TTL features.ttl_s
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    prefix: str

    def job(self, job_id: str) -> str:
        return f"{self.prefix}:job:{job_id}"

    def blob(self, document_digest: str) -> str:
        return f"{self.prefix}:blob:{document_digest}"

    @property
    def active(self) -> str:
        return f"{self.prefix}:active"

    @property
    def cancels(self) -> str:
        return f"{self.prefix}:cancels"

    @property
    def reconciler(self) -> str:
        return f"{self.prefix}:reconciler"

    @property
    def workers(self) -> str:
        return f"{self.prefix}:workers"

    def layout(self, layout_digest: str) -> str:
        return f"{self.prefix}:layout:{layout_digest}"
