"""A Celery application of your own that asks documents.

Run: SHOP_BROKER_URL=redis://… SHOP_RESULT_URL=redis://… celery -A celery_app worker

Broker and results are yours, on a server of yours or on ours; GLYPH_BROKER_URL says where ours is.
"""

import os

from celery import Celery, chain, chord
from celery.result import AsyncResult

from glyph_worker.client.tasks import GlyphTasks

app = Celery(
    "shop", broker=os.environ["SHOP_BROKER_URL"], backend=os.environ["SHOP_RESULT_URL"]
)  # fmt: skip
glyph = GlyphTasks(app)


@app.task
def file_it(answer):
    return f"filed: {answer['text']}"


@app.task
def report_it(job_id):
    return f"not answered: {job_id}"


@app.task
def fetch(path):
    with open(path) as file:
        return file.read()


@app.task
def collect(answers):
    return [answer["text"] for answer in answers]


def ask(text, question):
    """One job; `file_it` or `report_it` runs when it has ended. Its id is all you need to keep."""
    return glyph.submit(text, question, link=file_it.s(), link_error=report_it.s()).id


def answer(job_id):
    """In any process that imports this module: text, or None while there is none."""
    result = AsyncResult(job_id, app=app)
    return result.get()["text"] if result.ready() else None


def ask_a_file(path, question):
    return chain(fetch.s(path), glyph.ask_about_it(question), file_it.s())()


def ask_all(text, questions):
    return chord([glyph.ask(text, question) for question in questions])(collect.s())
