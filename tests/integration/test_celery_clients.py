"""A user's own Celery application beside ours: results, revoke, links and a canvas of its own."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import chain, chord, group
from celery.exceptions import TaskRevokedError
from celery.exceptions import TimeoutError as CeleryTimeout
from celery.result import AsyncResult
from waiting import PATIENCE_S, wait_until

from glyph_worker import Answer, JobFailed
from glyph_worker.store.connection import connect

ROOT = Path(__file__).parents[2]
DOCUMENT = "Orchid GmbH pays 1,204.50 EUR on 2026-12-01.\n" * 20


class Shop:
    """The application in this process, and a worker of it in another."""

    def __init__(self, folder: Path, environ: dict[str, str], module: str = "shop") -> None:
        self._folder, self._module = folder, module
        self._environ = environ
        self.workers: list[subprocess.Popen[bytes]] = []
        before = dict(os.environ)
        os.environ.update(environ)
        sys.modules.pop(module, None)
        self.at = [str(ROOT / "ops/recipes"), str(ROOT / "tests")]
        sys.path[:0] = self.at
        try:
            self.code = importlib.import_module(module)
        finally:
            os.environ.clear()
            os.environ.update(before)
            del sys.path[: len(self.at)]
            sys.modules.pop(module, None)
        self.app, self.glyph = self.code.app, self.code.glyph
        self.results = redis.Redis.from_url(environ["SHOP_RESULT_URL"])

    def start(self) -> subprocess.Popen[bytes]:
        log = (self._folder / f"{self._module}-{len(self.workers)}.log").open("wb")
        with log:
            worker = subprocess.Popen(
                [
                    sys.executable, "-m", "celery", "-A", self._module, "worker", "-P", "threads",
                    "-c", "4", "-l", "warning", "--without-gossip", "--without-mingle", "-n",
                    f"w{len(self.workers)}@{os.getpid()}{id(self)}",
                ],
                env={
                    **os.environ, **self._environ,
                    "PYTHONPATH": os.pathsep.join(self.at), "PYTHONWARNINGS": "ignore",
                    "C_FORCE_ROOT": "1",
                },
                stdout=log, stderr=log,
            )  # fmt: skip
        self.workers.append(worker)
        return worker

    def ran(self, name: str) -> list[str]:
        found: list[bytes] = self.results.lrange(f"celery-ran:{name}", 0, -1)  # type: ignore[assignment]
        return [raw.decode() for raw in found]

    def result(self, task_id: str) -> AsyncResult:
        return AsyncResult(task_id, app=self.app)

    def stop(self) -> None:
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            try:
                worker.wait(timeout=30)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        # Celery's results unsubscribe when they are collected, over a new connection if theirs is
        # closed: there is no subscription any more.
        consumer = self.app.backend.result_consumer
        consumer.stop()
        consumer._pubsub = None
        self.app.backend.client.connection_pool.disconnect()
        self.app.pool.force_close_all()
        self.results.connection_pool.disconnect()
        self.glyph.client.close()


def environ_of(fleet: Any, broker: str, results: str, name: str, **more: str) -> dict[str, str]:
    return {
        **fleet.environ,
        "SHOP_BROKER_URL": broker,
        "SHOP_RESULT_URL": results,
        "SHOP_NAME": name,
        **more,
    }


@pytest.fixture(scope="module")
def served(module_fleet: Any) -> Any:
    module_fleet.start("render", wait=False)
    module_fleet.start("answer")
    return module_fleet


@pytest.fixture(scope="module")
def apart(served: Any, redis_server: Any, tmp_path_factory: Any) -> Iterator[Shop]:
    """On databases of its own, with pickles: no serializer of ours is involved."""
    urls = redis_server.url(8), redis_server.url(9)
    for url in urls:
        with connect(url) as client:
            client.flushdb()
    environ = environ_of(served, *urls, "apart", SHOP_SERIALIZER="pickle")
    shop = Shop(tmp_path_factory.mktemp("apart"), environ)
    shop.start()
    yield shop
    shop.stop()


@pytest.fixture(scope="module")
def beside(served: Any, tmp_path_factory: Any) -> Iterator[Shop]:
    """On our own database."""
    url = served.environ["GLYPH_BROKER_URL"]
    shop = Shop(tmp_path_factory.mktemp("beside"), environ_of(served, url, url, "beside"))
    shop.start()
    yield shop
    shop.stop()


@pytest.fixture(scope="module")
def recipe(served: Any, redis_server: Any, tmp_path_factory: Any) -> Iterator[Shop]:
    urls = redis_server.url(10), redis_server.url(11)
    environ = environ_of(served, *urls, "shop")
    shop = Shop(tmp_path_factory.mktemp("recipe"), environ, "celery_app")
    shop.start()
    yield shop
    shop.stop()


@pytest.fixture(params=["apart", "beside"])
def shop(request: pytest.FixtureRequest) -> Shop:
    found: Shop = request.getfixturevalue(request.param)
    return found


def test_an_async_result_is_the_clients_result(served: Any, shop: Shop) -> None:
    jobs = served.client.submit_many(DOCUMENT, ["Who?", "When?", "How much?"], max_new_tokens=4)
    for job in jobs:
        result = shop.result(job.id)
        fields = result.get(timeout=PATIENCE_S)
        assert Answer.from_fields(fields) == served.client.result(job.id)
        assert result.state == "SUCCESS"
        assert result.ready()
        assert result.successful()
        assert not result.failed()
        assert result.date_done is not None


def test_an_async_result_of_a_failed_job_raises_its_error(served: Any, shop: Shop) -> None:
    job = served.client.submit(DOCUMENT, "Who?", style="impressionist")
    result = shop.result(job.id)
    with pytest.raises(JobFailed) as found:
        result.get(timeout=PATIENCE_S)
    assert found.value.code == "invalid_style"
    assert found.value.job_id == job.id
    assert result.failed()
    assert isinstance(shop.result(job.id).get(propagate=False), JobFailed)


def test_a_job_that_waits_is_pending_and_revoke_cancels_it(
    broker_url: str, cache_url: str, tmp_path: Path, fleet_class: Any, tiny_checkpoint: Path
) -> None:
    idle = fleet_class.on(tmp_path, broker_url, cache_url, tiny_checkpoint)
    shop = Shop(tmp_path, environ_of(idle, broker_url, broker_url, "idle"))
    job = idle.client.submit(DOCUMENT, "Who?")
    result = shop.result(job.id)
    assert result.state == "PENDING"
    assert not result.ready()
    with pytest.raises(CeleryTimeout):
        result.get(timeout=0.05)
    result.revoke()
    assert idle.client.status(job.id).status == "cancelled"
    assert result.state == "REVOKED"
    with pytest.raises(TaskRevokedError):
        shop.result(job.id).get(timeout=1)
    idle.client.close()
    shop.stop()


def test_another_tenants_job_is_unknown_to_the_app(served: Any, beside: Shop) -> None:
    other = served.client.for_tenant("other").submit(DOCUMENT, "Who?", max_new_tokens=2)
    assert beside.result(other.id).state == "PENDING"
    assert not beside.result(other.id).exists()
    assert not beside.glyph.records.cancel(other.id)


def test_the_apps_own_tasks_keep_their_own_results(shop: Shop) -> None:
    result = shop.code.write.delay("mine")
    assert result.get(timeout=PATIENCE_S) == "mine"
    assert shop.result(result.id).state == "SUCCESS"
    result.forget()
    assert shop.result(result.id).state == "PENDING"


def test_a_link_runs_once_with_the_answer(served: Any, shop: Shop) -> None:
    link = shop.code.file_it.s()
    job = shop.glyph.submit(
        DOCUMENT, "Who?", link=link, link_error=shop.code.report_it.s(), max_new_tokens=4
    )
    text = served.client.wait(job.id, timeout=PATIENCE_S).text
    linked = shop.result(link.id)
    assert linked.get(timeout=PATIENCE_S) == f"filed: {text}"
    assert shop.ran("file_it").count(link.id) == 1
    assert job.id not in shop.ran("report_it")


def test_a_failed_jobs_error_link_runs_with_its_id(shop: Shop) -> None:
    link_error = shop.code.report_it.s()
    job = shop.glyph.submit(
        DOCUMENT, "Who?", link=shop.code.file_it.s(), link_error=link_error, style="impressionist"
    )
    assert shop.result(link_error.id).get(timeout=PATIENCE_S) == job.id
    assert shop.ran("report_it").count(job.id) == 1


def test_a_chain_asks_about_what_the_task_before_returned(served: Any, shop: Shop) -> None:
    ask = shop.glyph.ask_about_it("Who?", max_new_tokens=4)
    result = chain(shop.code.write.s(DOCUMENT), ask, shop.code.file_it.s())()
    filed = result.get(timeout=PATIENCE_S)
    asked = result.parent
    assert filed == f"filed: {asked.get(timeout=PATIENCE_S)['text']}"
    assert served.client.result(asked.id).text == asked.get()["text"]


def test_a_group_of_asks_answers_in_order(shop: Shop) -> None:
    questions = ["Who?", "When?", "How much?"]
    result = group(shop.glyph.ask(DOCUMENT, one, max_new_tokens=4) for one in questions)()
    found = result.get(timeout=PATIENCE_S)
    assert [one["receipt"]["answer_tokens"] >= 1 for one in found] == [True] * 3
    assert [shop.result(one.id).get()["text"] for one in result] == [one["text"] for one in found]


def test_an_ask_that_fails_fails_its_chord(shop: Shop) -> None:
    bad = shop.glyph.ask(DOCUMENT, "Who?", style="impressionist")
    good = shop.glyph.ask(DOCUMENT, "Who?", max_new_tokens=2)
    body = shop.code.collect.s()
    result = chord([good, bad])(body)
    with pytest.raises(Exception, match="impressionist"):
        result.get(timeout=PATIENCE_S)
    assert result.id not in shop.ran("collect")


def test_an_eager_app_asks_and_waits(served: Any, apart: Shop) -> None:
    found = apart.glyph.ask(DOCUMENT, "Who?", max_new_tokens=3).apply().get()
    assert found["receipt"]["answer_tokens"] >= 1


def test_a_chord_of_fifty_asks_fires_once_while_workers_are_killed(
    served: Any, beside: Shop
) -> None:
    """An answer worker and a render worker die; a supervisor starts others."""
    asks = [beside.glyph.ask(DOCUMENT, f"Who is {n}?", max_new_tokens=12) for n in range(50)]
    result = chord(asks)(beside.code.collect.s())
    done = [0]

    def ended(at_least: int) -> bool:
        done[0] = sum(beside.result(one.id).ready() for one in result.parent)
        return done[0] >= at_least

    for kind, at_least in (("answer", 3), ("render", 15)):
        wait_until(lambda least=at_least: ended(least), description="some asks have ended")
        at = next(n for n, (name, _) in enumerate(served.started) if name == kind)
        served.kill(served.processes[at])
        served.revive()
    texts = result.get(timeout=PATIENCE_S)
    assert len(texts) == 50
    assert texts == [served.client.result(one.id).text for one in result.parent]
    assert beside.ran("collect").count(result.id) == 1


def test_the_recipe_asks_files_and_collects(recipe: Shop, tmp_path: Path) -> None:
    code = recipe.code
    job_id = code.ask(DOCUMENT, "Who?")
    wait_until(lambda: code.answer(job_id) is not None, description="the recipe's answer")
    path = tmp_path / "contract.txt"
    path.write_text(DOCUMENT)
    assert code.ask_a_file(str(path), "Who?").get(timeout=PATIENCE_S).startswith("filed: ")
    assert len(code.ask_all(DOCUMENT, ["Who?", "When?"]).get(timeout=PATIENCE_S)) == 2


def test_the_documentations_examples_make_an_app(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they stand, but that their broker and results are ours to ask."""
    page = (ROOT / "ops/docs/celery.md").read_text()
    url = served.environ["GLYPH_BROKER_URL"]
    monkeypatch.setenv("GLYPH_BROKER_URL", url)
    job = served.client.submit(DOCUMENT, "Who?", max_new_tokens=2)
    answer = served.client.wait(job.id, timeout=PATIENCE_S)
    namespace: dict[str, Any] = {"__name__": "documentation"}
    for program in re.findall(r"^```py\n(.*?)^```$", page, re.M | re.S):
        exec(re.sub(r"redis://[\d.:/]+", url, program), namespace)
        result = namespace["AsyncResult"](job.id, app=namespace["app"])
        assert Answer.from_fields(result.get(timeout=PATIENCE_S)) == answer
        for records in (namespace["app"].glyph_records,):
            records._jobs._client.connection_pool.disconnect()
    namespace["glyph"].client.close()
