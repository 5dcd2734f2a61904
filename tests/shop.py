"""A user's own Celery application, for the tests: runs of its tasks are counted in its Redis."""

from __future__ import annotations

import os
from typing import Any

import redis
from celery import Celery

from glyph_worker.client.tasks import GlyphTasks

RESULTS = os.environ["SHOP_RESULT_URL"]

app = Celery(os.environ["SHOP_NAME"], broker=os.environ["SHOP_BROKER_URL"], backend=RESULTS)
serializer = os.environ.get("SHOP_SERIALIZER", "json")
app.conf.update(
    task_serializer=serializer,
    result_serializer=serializer,
    accept_content=[serializer],
    broker_connection_retry_on_startup=True,
    # So that what a killed worker held comes back within a test.
    broker_transport_options={"visibility_timeout": 5, "unacked_restore_interval": 1},
)
glyph = GlyphTasks(app)

# Not shared: the tests import this module once for each application.


def count(name: str, value: str) -> None:
    with redis.Redis.from_url(RESULTS) as client:
        client.rpush(f"celery-ran:{name}", value)


@app.task(bind=True, shared=False)
def file_it(task: Any, answer: Any) -> str:
    count("file_it", task.request.id)
    return f"filed: {answer['text']}"


@app.task(bind=True, shared=False)
def report_it(task: Any, job_id: Any) -> str:
    count("report_it", job_id)
    return str(job_id)


@app.task(shared=False)
def write(text: str) -> str:
    return text


@app.task(bind=True, shared=False)
def collect(task: Any, answers: list[dict[str, Any]]) -> list[str]:
    count("collect", task.request.id)
    return [answer["text"] for answer in answers]
