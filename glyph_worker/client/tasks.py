"""Asking from a Celery application of your own: results, links, and a signature for its canvas.

    glyph = GlyphTasks(app)                       # once, where the app is made
    job = glyph.submit(text, "Who pays?", link=file_it.s())
    chord([glyph.ask(text, question) for question in questions])(collect.s())

Nothing of ours runs tasks of yours, and no worker of ours knows your broker. The script that ends
a job notes it in your application's outbox; your workers look there (`Courier`) and publish with
your app, so that your broker, serializer, routes and result backend are used as they are. Imports
celery; `import glyph_worker` does not.
"""

from __future__ import annotations

import threading
from typing import Any, Unpack

import structlog
from celery import Celery, Task, bootsteps
from celery.canvas import Signature, maybe_signature
from celery.exceptions import Ignore
from celery.result import AsyncResult
from kombu.serialization import dumps, loads, prepare_accept_content

from glyph_worker import codec
from glyph_worker.client.client import Client
from glyph_worker.document import Document
from glyph_worker.errors import GlyphError, JobError, RefusedError, TransientError
from glyph_worker.job import JobStatus
from glyph_worker.options import SubmitOptions, check
from glyph_worker.queue.results import JobControl, JobRecords, JobResults, result_fields
from glyph_worker.store.backlog import Noted
from glyph_worker.store.outbox import DueLinks, Outbox

log = structlog.get_logger(__name__)

ASK, ANSWERED = "glyph_worker.ask", "glyph_worker.answered"

POLL_S, LEASE_S, MAX_AT_ONCE = 0.2, 30.0, 100
"""How often a worker looks into the outbox; how long what it took is its own."""
AGAIN_S = 2.0
"""After a broker that takes no message, or a refusal that names no time."""


class GlyphTasks:
    """Makes an app know our jobs: `AsyncResult(job.id, app=app)`, revoke, links, `ask`."""

    def __init__(self, app: Celery, client: Client | None = None, *, name: str = "") -> None:
        """`name` addresses links; it must be the application's alone among those of the client's
        tenant, and the same in its producers and workers. It is the app's own by default.

        Raises InvalidSetting, StoreUnavailable (no broker is set) where no client is given.
        """
        self.app = app
        self.client = client or Client.from_env()
        self.name = name or app.main or "celery"
        settings = self.client.settings
        self.records = app.glyph_records = JobRecords(settings, tenant=self.client.tenant)
        app.glyph_tasks = self
        app.backend_cls, app.control_cls = JobResults, JobControl
        # Either may have been looked at before.
        app._backend_cache = None
        app._local.__dict__.pop("backend", None)
        app.__dict__.pop("control", None)
        app.steps["worker"].add(Courier)
        self.outbox = Outbox(
            self.client._redis, self.client._keys, tenant=self.client.tenant, name=self.name,
            ttl_s=settings.queue.job_ttl_s,
        )  # fmt: skip
        # Acknowledged late: the message is what brings a submit back whose worker died at it.
        app.task(
            name=ASK, bind=True, base=AskTask, acks_late=True, reject_on_worker_lost=True,
            max_retries=None, shared=False,
        )(_ask)  # fmt: skip
        app.task(name=ANSWERED, bind=True, acks_late=True, shared=False)(_answered)

    def ask(
        self, document: str | bytes | Document, question: str, **options: Unpack[SubmitOptions]
    ) -> Signature:
        """A signature whose result is the answer's fields; for chain, group, chord and links.

        The document is stored now and only its digest travels; it is kept for the records' time to
        live, so that the signature is to be run within that. Raises what `Client.submit` raises for
        a bad document or option, StoreUnavailable, StoreFull, StoreDenied.
        """
        check(options)
        source = Document.of(document, max_bytes=self.client.settings.limits.max_document_bytes)
        self.client._blobs.put(source)
        kwargs = {"question": question, "digest": source.digest, "options": dict(options)}
        return self.app.tasks[ASK].signature(kwargs=kwargs, immutable=True)

    def ask_about_it(self, question: str, **options: Unpack[SubmitOptions]) -> Signature:
        """The same about the text that the task before it in a chain returns."""
        check(options)
        return self.app.tasks[ASK].signature(
            kwargs={"question": question, "options": dict(options)}
        )

    def submit(
        self,
        document: str | bytes | Document,
        question: str,
        *,
        link: Signature | None = None,
        link_error: Signature | None = None,
        **options: Unpack[SubmitOptions],
    ) -> AsyncResult:
        """As `Client.submit`; the job's end publishes one of the signatures on the app's broker.

        `link` gets the answer's fields as its first argument, `link_error` the job's id (failed or
        cancelled); an immutable signature gets nothing. Task ids are set here, so that a repeated
        delivery repeats no id. At least one worker of the app must run for that.
        """
        noted = Noted()
        if link is not None or link_error is not None:
            noted = self._noted(link=link, link_error=link_error)
        job = self.client.submit_noted(document, question, noted=noted, **options)
        return AsyncResult(job.id, app=self.app)

    def _noted(self, **signatures: Signature | None) -> Noted:
        """In the app's own serializer, with their task ids."""
        kept = {name: one for name, one in signatures.items() if one is not None}
        for one in kept.values():
            one.freeze(one.options.get("task_id"))
        content_type, encoding, body = dumps(kept, serializer=self.app.conf.task_serializer)
        raw = body.encode() if isinstance(body, str) else body
        fields = {"content_type": content_type, "encoding": encoding, "body": raw}
        return Noted(outbox=self.name, links=codec.pack("links", fields))

    def deliver(self) -> int:
        """Publish what has ended since. Returns how many jobs that were; for workers."""
        due = self.outbox.take(limit=MAX_AT_ONCE, lease_s=LEASE_S)
        for one in due:
            try:
                self._publish(one)
            except GlyphError:
                raise
            except Exception:  # one entry's edge: whatever its broker says, others go on
                log.exception("links.put_off", job_id=one.job_id)
                self.outbox.put_off(one.job_id, AGAIN_S)
            else:
                self.outbox.settle(one.job_id)
        return len(due)

    def _publish(self, due: DueLinks) -> None:
        found = self.records.find(due.job_id)
        if found is None or not found[0].status.final:
            return
        job, answer = found
        packed = codec.unpack("links", due.packed)
        signatures = loads(
            packed["body"], packed["content_type"], packed["encoding"],
            accept=prepare_accept_content(self.app.conf.accept_content),
        )  # fmt: skip
        if (answered := signatures.get("answered")) is not None:
            maybe_signature(answered, app=self.app).apply_async()
        succeeded = job.status is JobStatus.SUCCEEDED and answer is not None
        name = "link" if succeeded else "link_error"
        if signatures.get(name) is not None:
            args: Any = job.id if answer is None else result_fields(answer)
            maybe_signature(signatures[name], app=self.app).apply_async((args,))


class AskTask(Task):  # type: ignore[misc]
    """Keeps questions and documents out of what Flower and logs show of a message."""

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        options.setdefault("argsrepr", "(…)")
        options.setdefault("kwargsrepr", "{…}")
        return super().apply_async(args, kwargs, **options)


def _ask(
    task: Any,
    text: str | None = None,
    *,
    question: str,
    options: dict[str, Any],
    digest: str = "",
) -> Any:
    """Runs in a worker of the application: submits the job under the task's own id and leaves the
    rest of the task, with its chain, chord and links, to the message that follows the job's end.

    The same as `Task.replace`, but that the replacement is published by the outbox.
    """
    glyph: GlyphTasks = task.app.glyph_tasks
    request = task.request
    try:
        document = glyph.client._blobs.get(digest) if digest else Document.of(
            _text(text), max_bytes=glyph.client.settings.limits.max_document_bytes
        )  # fmt: skip
        if request.is_eager:
            job = glyph.client.submit(document, question, **options)
            return result_fields(glyph.client.wait(job.id))
        follow_up = task.app.tasks[ANSWERED].si(request.id)
        follow_up.set(
            chord=request.chord, chain=request.chain, link=request.callbacks,
            link_error=request.errbacks, group_id=request.group, group_index=request.group_index,
            root_id=request.root_id, parent_id=request.parent_id,
            replaced_task_nesting=(request.replaced_task_nesting or 0) + 1,
            **_where(task),
        )  # fmt: skip
        follow_up.set(task_id=request.id)
        noted = glyph._noted(answered=follow_up)
        glyph.client.submit_noted(document, question, noted=noted, job_id=request.id, **options)
    except RefusedError as exc:
        raise task.retry(exc=exc, countdown=exc.retry_after_s) from exc
    except TransientError as exc:
        raise task.retry(exc=exc, countdown=AGAIN_S) from exc
    raise Ignore


def _text(text: Any) -> Any:
    """Of the task before: text, or the fields of an answer."""
    return text["text"] if isinstance(text, dict) and isinstance(text.get("text"), str) else text


def _where(task: Any) -> dict[str, Any]:
    """The queue that the task came from, if the app knows it: its follow-up is for its workers."""
    key = (task.request.delivery_info or {}).get("routing_key")
    return {"queue": key} if key in task.app.amqp.queues else {}


def _answered(task: Any, job_id: str) -> Any:
    """The end of an `ask`, under its id: celery's own tracer does what an application's does."""
    glyph: GlyphTasks = task.app.glyph_tasks
    try:
        answer = glyph.client.result(job_id)
    except JobError:
        raise
    except TransientError as exc:
        raise task.retry(exc=exc, countdown=AGAIN_S, max_retries=None) from exc
    assert answer is not None, "published before the job's end"
    return result_fields(answer)


class Courier(bootsteps.StartStopStep):  # type: ignore[misc]
    """A thread of the application's worker that empties its outbox."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **_: Any) -> None:
        self._tasks: GlyphTasks | None = getattr(worker.app, "glyph_tasks", None)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def include_if(self, worker: Any) -> bool:
        return getattr(worker.app, "glyph_tasks", None) is not None

    def start(self, worker: Any) -> None:
        self._thread = threading.Thread(target=self._run, name="glyph-courier", daemon=True)
        self._thread.start()

    def stop(self, worker: Any) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    terminate = stop

    def _run(self) -> None:
        assert self._tasks is not None
        while not self._stop.is_set():
            try:
                num_due = self._tasks.deliver()
            except GlyphError as exc:
                log.warning("links.waiting", error=exc.code)
                num_due = 0
            except Exception:  # the loop's edge: links of all jobs pass here
                log.exception("links.crashed")
                num_due = 0
            if num_due < MAX_AT_ONCE:
                self._stop.wait(POLL_S)
