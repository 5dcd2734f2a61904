"""Every key kept in Redis: its name, type, server and time to live. No I/O.

Broker server (AOF, noeviction). `job_ttl` is queue.job_ttl_s:
  {prefix}:job:{id}                 hash    one job's record; no TTL, from its end the job's own
  {prefix}:stream:{id}              stream  partial text and the end, newest 20,000; job_ttl
  {prefix}:blob:{digest}            string  a document, packed UTF-8; no TTL while an unfinished job
                                            needs it, then job_ttl
  {prefix}:needed                   zset    digest/id of every unfinished job's document; no TTL,
                                            swept by the reconciler
  {prefix}:idempotency:{tenant}:{h} hash    id and payload digest of a submit; 30 days, from the
                                            job's end as long as its record
  {prefix}:active                   zset    ids of jobs that are not final, by creation; no TTL,
                                            swept by the reconciler
  {prefix}:active:{tenant}          zset    the same of one tenant; no TTL
  {prefix}:ring:{priority}          list    tenants with pending jobs, next turn first; no TTL
  {prefix}:pending:{priority}:{t}   list    a tenant's jobs that are not yet published; no TTL
  {prefix}:deficit:{priority}       hash    tenant → unused turns, in cost; job_ttl
  {prefix}:turn                     string  counts dispatches; job_ttl
  {prefix}:backlog                  string  cost of all unfinished jobs; 30 days
  {prefix}:pace, :ratios            hash, list  what estimates are made of; 7 days
  {prefix}:totals                   hash    jobs ended, by status; 30 days
  {prefix}:events                   stream  every transition, newest 20,000; 7 days
  {prefix}:parts:{id}               set     ids of a job's parts that are not final; 30 days
  {prefix}:dead                     zset    ids of poisonous jobs, newest 10,000; 30 days
  {prefix}:webhooks                 zset    ids of ended jobs whose webhook is to be called; emptied
                                            by the gateway; 30 days
  {prefix}:outbox:{tenant}:{app}    zset    ids of ended jobs of which a Celery application is to be
                                            told; emptied by its workers; 30 days
  {prefix}:ended:{tenant}           zset    ids of ended jobs by creation, newest 20,000; 30 days
  {prefix}:file:{tenant}:{id}       hash    an uploaded file, or a batch's, compressed; 30 days. Of
                                            a deleted one its place in the list; 1 h
  {prefix}:files:{tenant}           zset    ids of a tenant's files by creation; 30 days
  {prefix}:batch:{tenant}:{id}      hash    a batch's state and, until it ends, its lines; 30 days
  {prefix}:batches:{tenant}         zset    ids of a tenant's batches by creation; 30 days
  {prefix}:batching                 zset    tenant/id of batches that are not final, by when a
                                            gateway is to look at them; 30 days
  {prefix}:signing                  string  a gateway that calls webhooks is there; 15 min
  {prefix}:tally                    hash    sums over ended jobs, for metrics; 30 days
  {prefix}:engines                  hash    answer worker → what its engine last said; 1 h
  {prefix}:workers                  hash    name → what a worker last said of itself; 1 h
  {prefix}:abilities                zset    what answer workers can be asked for, by when one last
                                            said so; 1 h
  {prefix}:reconciler               string  which worker looks for lost messages; 3 s
  {prefix}:ladder                   hash    presets stepped down under overload, since when; 1 min
  {prefix}:ladder:turn              string  a worker has looked at the load; 0.9 s
  {prefix}:cancels                  channel ids of running jobs to cancel; the record is the truth
  {prefix}:glyph.render, :glyph.answer   list    Celery's queues; no TTL
  {prefix}:unacked, :unacked_index, :unacked_mutex, :_kombu.*   kombu's own; no TTL
  {prefix}:/{db}.celeryev, :/{db}.celery.pidbox/…   channels  events for Flower, remote control

Cache server (allkeys-lru), see also store/cache.py:
  {prefix}:layout:{digest}          string  a tenant's document in a style, sealed; page_ttl_s
  {prefix}:page:{digest}            string  a page image, packed and sealed; page_ttl_s
  {prefix}:feature:{digest}         string  a page's features; features.ttl_s
  {prefix}:reading:{digest}         string  what a segment answered, sealed; features.ttl_s
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    prefix: str

    @property
    def root(self) -> str:
        return f"{self.prefix}:"

    def job(self, job_id: str) -> str:
        return f"{self.prefix}:job:{job_id}"

    def stream(self, job_id: str) -> str:
        return f"{self.prefix}:stream:{job_id}"

    def blob(self, document_digest: str) -> str:
        return f"{self.prefix}:blob:{document_digest}"

    def layout(self, layout_digest: str) -> str:
        return f"{self.prefix}:layout:{layout_digest}"

    def reading(self, reading_digest: str) -> str:
        return f"{self.prefix}:reading:{reading_digest}"

    def page(self, image_digest: str) -> str:
        return f"{self.prefix}:page:{image_digest}"

    @property
    def active(self) -> str:
        return f"{self.prefix}:active"

    @property
    def needed(self) -> str:
        return f"{self.prefix}:needed"

    @property
    def dead(self) -> str:
        return f"{self.prefix}:dead"

    @property
    def events(self) -> str:
        return f"{self.prefix}:events"

    @property
    def totals(self) -> str:
        return f"{self.prefix}:totals"

    @property
    def tally(self) -> str:
        return f"{self.prefix}:tally"

    @property
    def engines(self) -> str:
        return f"{self.prefix}:engines"

    @property
    def webhooks(self) -> str:
        return f"{self.prefix}:webhooks"

    def file(self, tenant: str, file_id: str) -> str:
        return f"{self.prefix}:file:{tenant}:{file_id}"

    def files_of(self, tenant: str) -> str:
        return f"{self.prefix}:files:{tenant}"

    def batch(self, tenant: str, batch_id: str) -> str:
        return f"{self.prefix}:batch:{tenant}:{batch_id}"

    def batches_of(self, tenant: str) -> str:
        return f"{self.prefix}:batches:{tenant}"

    def active_of(self, tenant: str) -> str:
        return f"{self.prefix}:active:{tenant}"

    def ended_of(self, tenant: str) -> str:
        return f"{self.prefix}:ended:{tenant}"

    @property
    def signing(self) -> str:
        return f"{self.prefix}:signing"

    @property
    def cancels(self) -> str:
        return f"{self.prefix}:cancels"

    @property
    def reconciler(self) -> str:
        return f"{self.prefix}:reconciler"

    @property
    def ladder(self) -> str:
        return f"{self.prefix}:ladder"

    @property
    def workers(self) -> str:
        return f"{self.prefix}:workers"

    @property
    def abilities(self) -> str:
        return f"{self.prefix}:abilities"
