"""The stores a worker process uses, built from the settings once per process."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass

from glyph_worker.errors import StoreUnavailable
from glyph_worker.settings import Settings
from glyph_worker.store.backlog import Backlog
from glyph_worker.store.blobs import BlobStore
from glyph_worker.store.cancels import CancelChannel
from glyph_worker.store.connection import Server, connect
from glyph_worker.store.features import CacheStore
from glyph_worker.store.jobs import JobStore
from glyph_worker.store.keys import Keys
from glyph_worker.store.layouts import LayoutStore
from glyph_worker.store.overload import Overload
from glyph_worker.store.page_images import PageImages
from glyph_worker.store.parts import PartStore
from glyph_worker.store.readings import ReadingStore
from glyph_worker.store.streams import StreamStore
from glyph_worker.store.tally import Tally
from glyph_worker.store.workers import WorkerStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Stores:
    owner: str
    """Names this process; a restart is another owner, so its predecessor's claims are not its."""
    broker: Server
    jobs: JobStore
    backlog: Backlog
    streams: StreamStore
    cancels: CancelChannel
    blobs: BlobStore
    layouts: LayoutStore
    page_images: PageImages
    parts: PartStore
    readings: ReadingStore
    workers: WorkerStore
    ladder: Overload
    tally: Tally
    cache: CacheStore

    @classmethod
    def open(cls, settings: Settings) -> Stores:
        """Connects to nothing yet. Raises StoreUnavailable when no broker is configured."""
        if settings.broker_url is None or settings.cache_server is None:
            raise StoreUnavailable("no broker: set GLYPH_BROKER_URL=redis://…")
        broker_url = settings.broker_url.get_secret_value()
        cache_url = settings.cache_server.get_secret_value()
        keys, page_ttl_s = Keys(settings.key_prefix), settings.render.page_ttl_s
        broker, queue = connect(broker_url), settings.queue
        # Short patience and no retries: without the cache a job costs more time, no more.
        cache = connect(cache_url, timeout_s=settings.features.timeout_s, num_retries=0)
        workers = WorkerStore(broker, keys)
        return cls(
            owner=f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}",
            broker=broker,
            jobs=JobStore(
                broker,
                keys,
                ttl_s=queue.job_ttl_s,
                lease_s=queue.lease_s,
                window=queue.dispatch_window,
            ),
            backlog=Backlog(broker, keys, settings=queue),
            cancels=CancelChannel(broker, keys),
            streams=StreamStore(broker, keys, queue.job_ttl_s),
            blobs=BlobStore(broker, keys, ttl_s=queue.job_ttl_s),
            layouts=LayoutStore(cache, keys, ttl_s=page_ttl_s),
            page_images=PageImages(cache, keys, ttl_s=page_ttl_s),
            parts=PartStore(broker, keys, ttl_s=queue.job_ttl_s, window=queue.dispatch_window),
            readings=ReadingStore(cache, keys, ttl_s=settings.features.ttl_s),
            workers=workers,
            ladder=Overload(broker, keys, workers, settings.render),
            tally=Tally(broker, keys),
            cache=CacheStore.of(settings),
        )
