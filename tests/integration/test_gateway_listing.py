"""What the gateway tells without a worker: lists, version, reference, methods, a typed client."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from browser import browser, console
from gateway_process import GatewayProcess
from waiting import wait_until

from glyph_worker import Client, Settings, __version__
from glyph_worker.store.connection import connect

KEYS = "acme:acme-key-0123456789,birch:birch-key-0123456789,cedar:cedar-key-0123456789"
ACME, BIRCH = ({"X-API-Key": f"{name}-key-0123456789"} for name in ("acme", "birch"))


@pytest.fixture(scope="module")
def gateway(
    redis_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    url = redis_server.url(12)
    with connect(url) as client:
        client.flushdb()
    gateway = GatewayProcess(
        tmp_path_factory.mktemp("listing"), {"GLYPH_BROKER_URL": url},
        GLYPH_GATEWAY_API_KEYS=KEYS, GLYPH_GATEWAY_CORS_ORIGINS="http://shop.example",
    )  # fmt: skip
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def jobs(gateway: GatewayProcess, redis_server: Any) -> list[str]:
    """Seven of acme's in their order: four wait (one of them bulk), three are cancelled."""
    settings = Settings.load(environ={"GLYPH_BROKER_URL": redis_server.url(12)})
    client = Client(settings, tenant="acme")
    made = [client.submit("a text", f"Question {n}?").id for n in range(6)]
    made.append(client.submit("a text", "Bulk?", priority="bulk").id)
    for job_id in made[:3]:
        client.cancel(job_id)
    Client(settings, tenant="birch").submit("a text", "Whose?")
    return made


@pytest.fixture
def http(gateway: GatewayProcess) -> Iterator[httpx.Client]:
    with gateway.http(headers=ACME) as client:
        yield client


def ids_of(reply: httpx.Response) -> list[str]:
    assert reply.status_code == 200, reply.text
    return [job["id"] for job in reply.json()["jobs"]]


def test_jobs_are_listed_newest_first_page_by_page(http: httpx.Client, jobs: list[str]) -> None:
    assert ids_of(http.get("/v1/jobs")) == jobs[::-1]
    found, cursor = [], None
    for _ in range(4):
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        reply = http.get("/v1/jobs", params=params)
        found += ids_of(reply)
        cursor = reply.json()["next_cursor"]
    assert found == jobs[::-1]
    assert cursor is None


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"status": "cancelled"}, [2, 1, 0]),
        ({"status": "queued"}, [6, 5, 4, 3]),
        ({"status": "queued,cancelled", "limit": 5}, [6, 5, 4, 3, 2]),
        ({"status": "succeeded"}, []),
        ({"priority": "bulk"}, [6]),
        ({"priority": "interactive", "status": "queued"}, [5, 4, 3]),
    ],
)
def test_a_list_is_filtered(
    http: httpx.Client, jobs: list[str], params: dict[str, str], expected: list[int]
) -> None:
    assert ids_of(http.get("/v1/jobs", params=params)) == [jobs[n] for n in expected]


def test_a_list_shows_its_tenants_jobs_only(gateway: GatewayProcess, jobs: list[str]) -> None:
    with gateway.http(headers=BIRCH) as http:
        found = ids_of(http.get("/v1/jobs"))
    assert len(found) == 1
    assert not set(found) & set(jobs)


@pytest.mark.parametrize(
    "params",
    [{"status": "done"}, {"cursor": "!!"}, {"limit": 0}, {"ids": "a", "status": "queued"}],
)
def test_a_broken_filter_is_refused(http: httpx.Client, params: dict[str, Any]) -> None:
    reply = http.get("/v1/jobs", params=params)
    assert reply.status_code == 422
    assert reply.json()["code"] == "invalid_option"


def test_times_that_are_not_yet_are_null(http: httpx.Client, jobs: list[str]) -> None:
    job = http.get(f"/v1/jobs/{jobs[3]}").json()
    assert job["created_at"] > 0
    assert (job["started_at"], job["finished_at"], job["deadline_at"]) == (None, None, None)


def test_the_version_is_the_packages(http: httpx.Client) -> None:
    assert http.get("/v1/version").json()["version"] == __version__


def test_allow_names_every_method_of_every_path(http: httpx.Client) -> None:
    described = http.get("/openapi.json").json()["paths"]
    for path, verbs in described.items():
        reply = http.request("PATCH", path.replace("{number}", "1"))
        assert reply.status_code == 405, path
        declared = {name.upper() for name in verbs} & {"GET", "POST", "PUT", "DELETE"}
        assert declared <= set(reply.headers["allow"].split(", ")), path


def test_a_page_of_an_allowed_origin_may_send_what_openais_client_sends(
    http: httpx.Client,
) -> None:
    asked = "authorization,content-type,idempotency-key,x-stainless-retry-count"
    preflight = {
        "Origin": "http://shop.example", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": asked,
    }  # fmt: skip
    reply = http.options("/v1/chat/completions", headers=preflight)
    assert reply.status_code == 200
    assert set(asked.split(",")) <= set(
        reply.headers["access-control-allow-headers"].lower().replace(" ", "").split(",")
    )
    other = http.options("/v1/jobs", headers=preflight | {"Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # selenium's sockets
def test_the_reference_shows_every_operation_from_here_alone(
    gateway: GatewayProcess, http: httpx.Client, tmp_path: Path
) -> None:
    reply = http.get("/docs")
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert "//" not in reply.text.replace("<!doctype html>", "")
    described = http.get("/openapi.json").json()["paths"]
    count = sum(len(verbs) for verbs in described.values())
    with browser(tmp_path / "profile") as driver:
        driver.get(gateway.url + "/docs")
        boxes = "return document.querySelectorAll('#operations details').length"
        wait_until(lambda: driver.execute_script(boxes) == count, description="all operations")
        driver.find_element("id", "filter").send_keys("embeddings-none")
        seen = "return [...document.querySelectorAll('#operations details')].filter(b => !b.hidden)"
        assert driver.execute_script(seen) == []
        driver.find_element("id", "filter").clear()
        driver.find_element("id", "filter").send_keys("/v1/batches/")
        shown = len(driver.execute_script(seen))
        assert 1 <= shown < count
        driver.execute_script(
            "document.querySelector('#operations details:not([hidden])').open = 1"
        )
        assert "curl -s" in driver.find_element("id", "operations").text
        assert console(driver) == []


def test_a_typed_client_is_made_of_the_schema_and_works(
    gateway: GatewayProcess, http: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """openapi-python-client, as a user would call it, and one round of a job with what it makes."""
    schema, config = tmp_path / "openapi.json", tmp_path / "config.yaml"
    schema.write_text(json.dumps(http.get("/openapi.json").json()))
    config.write_text(
        "package_name_override: glyph_http\npost_hooks: []\n"
        "content_type_overrides: {image/png: application/octet-stream}\n"
    )
    done = subprocess.run(
        [
            sys.executable, "-m", "openapi_python_client", "generate", "--path", str(schema),
            "--config", str(config), "--meta", "none", "--fail-on-warning",
            "--output-path", str(tmp_path / "glyph_http"),
        ],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.syspath_prepend(tmp_path)
    client_module = importlib.import_module("glyph_http")
    models = importlib.import_module("glyph_http.models")
    api = importlib.import_module("glyph_http.api.jobs")
    names = {name.removesuffix(".py") for name in _modules(tmp_path / "glyph_http/api/jobs")}
    submit = importlib.import_module(f"{api.__name__}.{_one(names, 'submit_v1_jobs_post')}")
    status = importlib.import_module(f"{api.__name__}.{_one(names, 'status_v1_jobs_job_id_get')}")
    with client_module.AuthenticatedClient(
        base_url=gateway.url, token="cedar-key-0123456789"
    ) as client:
        body = models.SubmitBody(document="a text", question="Typed?")
        job = submit.sync(client=client, body=body)
        assert isinstance(job, models.JobView)
        again = status.sync(client=client, job_id=job.id)
        assert isinstance(again, models.JobView)
        assert again.id == job.id
        assert again.started_at is None
        unknown = status.sync_detailed(client=client, job_id="none")
        assert unknown.status_code == 404


def _modules(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.py") if not path.name.startswith("__")]


def _one(names: set[str], wanted: str) -> str:
    assert wanted in names, sorted(names)
    return wanted
