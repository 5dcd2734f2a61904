"""From a load and a device to a fleet. Every figure is a formula of a few lines; none is measured
here. `ops/bench/plan` measures the device's costs and how far the formula is off."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field

from glyph_worker.plan.device import Device
from glyph_worker.plan.load import Load


class Site(BaseModel):
    """What stands around the answer workers. Measured values name their bench."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    utilisation: float = Field(default=0.7, gt=0, le=1)
    """Share of the workers' time that is planned for; the rest keeps queues short."""
    pages_per_core_s: float = Field(default=300, gt=0)
    """Pages a core draws per second, digests and transport included. An assumption;
    ops/bench/render draws faster, alone."""
    jobs_per_shard_s: float = Field(default=250, gt=0)
    """Jobs per second through one broker, all its round trips included. An assumption from a
    trial in which a job took 3.3 ms of the broker's CPU."""
    job_bytes: float = Field(default=3_000, gt=0)
    """Memory of one job's record, answer and queue entries on the broker."""
    broker_shard_bytes: float = Field(default=16e9, gt=0)
    """Memory of one broker."""
    cache_shard_bytes: float = Field(default=64e9, gt=0)
    """Memory of one cache server."""
    link_bytes_per_s: float = Field(default=1.25e9, gt=0)
    """Bandwidth of one server's link; 10 Gbit/s."""
    record_days: float = Field(default=1, gt=0)
    """How long records and documents are kept: queue.job_ttl_s."""
    feature_hours: float = Field(default=1, gt=0)
    """How long features are worth keeping. The cache server forgets the oldest when it is full,
    so this is a choice, up to features.ttl_s."""
    page_image_bytes: float = Field(default=25e3, gt=0)
    """A packed page image on the wire."""


class Plan(BaseModel):
    """The fleet. Rates and memory are of the busiest hour."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    jobs_per_s: float
    documents_per_s: float
    device_s_per_document: float
    """Device time of a document with all its questions."""
    jobs_per_device_s: float
    """Jobs per second that one full device answers."""
    answer_workers: int
    resident_documents: int
    """Documents whose keys and values fit on one device."""
    render_cores: int
    broker_bytes: float
    broker_bytes_per_s: float
    broker_shards: int
    cache_bytes: float
    cache_bytes_per_s: float
    """Features written and read, and page images, in both directions together."""
    cache_shards: int
    device_hours_per_day: float
    cost_per_day: float
    cost_per_1000_answers: float
    limited_by: str
    """What to buy first: the piece of work most of the device's time goes into."""


def make_plan(load: Load, device: Device, site: Site) -> Plan:
    """Pure: the same numbers in, the same plan out."""
    pages = load.pages * load.page_tokens
    parts = {
        "encoding pages": load.new_pages * load.page_tokens * device.encode_s,
        "prefilling pages": load.num_prefills * pages * device.prefill_s,
        "questions": load.questions * load.question_tokens * device.prefill_s,
        "answers": load.questions * load.answer_tokens * device.decode_s,
        "the rest of a job": load.questions * device.job_s,
    }
    device_s = sum(parts.values())
    busy = load.documents_per_s * device_s
    workers = max(1, math.ceil(busy / site.utilisation))
    text_bytes = load.pages * load.page_chars
    feature_bytes = pages * device.feature_bytes
    features_in = load.new_pages / load.pages * feature_bytes
    features_out = load.fetched_pages / load.pages * feature_bytes
    images = load.new_pages * site.page_image_bytes * 2  # the render worker writes, the other reads
    broker_bytes = (
        load.documents_per_day * site.record_days * (load.questions * site.job_bytes + text_bytes)
    )
    # The document in and out to both stages; a record is written and read some ten times.
    broker_rate = load.documents_per_s * (
        text_bytes * (1 + 2 * load.questions) + load.questions * 10 * site.job_bytes
    )
    cache_bytes = load.documents_per_s * 3_600 * site.feature_hours * features_in
    cache_rate = load.documents_per_s * (features_in + features_out + images)
    hours = load.documents_per_day * device_s / site.utilisation / 3_600
    cost = hours * device.hour_cost
    return Plan(
        jobs_per_s=load.jobs_per_s,
        documents_per_s=load.documents_per_s,
        device_s_per_document=device_s,
        jobs_per_device_s=load.questions / device_s,
        answer_workers=workers,
        resident_documents=int(device.kv_room_bytes // (pages * device.kv_bytes)),
        render_cores=max(
            1,
            math.ceil(
                load.documents_per_s * load.new_pages / site.pages_per_core_s / site.utilisation
            ),
        ),
        broker_bytes=broker_bytes,
        broker_bytes_per_s=broker_rate,
        broker_shards=_most(
            load.jobs_per_s / site.jobs_per_shard_s,
            broker_bytes / site.broker_shard_bytes,
            broker_rate / site.link_bytes_per_s,
        ),
        cache_bytes=cache_bytes,
        cache_bytes_per_s=cache_rate,
        cache_shards=_most(
            cache_bytes / site.cache_shard_bytes, cache_rate / site.link_bytes_per_s
        ),
        device_hours_per_day=hours,
        cost_per_day=cost,
        cost_per_1000_answers=1e3 * cost / (load.documents_per_day * load.questions),
        limited_by=max(parts, key=lambda name: parts[name]),
    )


def _most(*shares: float) -> int:
    return max(1, *(math.ceil(share) for share in shares))
