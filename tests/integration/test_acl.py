"""The example of separate users, loaded by a real server: each can do its work and no more."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import redis
from flower_process import Flower
from gateway_process import GatewayProcess
from waiting import PATIENCE_S, wait_until

from glyph_worker.client import Client
from glyph_worker.errors import StoreDenied
from glyph_worker.local.server import find_server, free_port
from glyph_worker.settings import Settings

EXAMPLES = Path(__file__).parents[2] / "ops" / "redis"


class Guarded:
    """A server with ops/redis/broker.conf and users.acl; only address and folders are its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        conf, acl = folder / "broker.conf", folder / "users.acl"
        # One user more, who can ask the server what it refused.
        tester = "user tester on >change-me-tester ~* &* +@all\n"
        acl.write_text((EXAMPLES / "users.acl").read_text() + tester)
        lines = (EXAMPLES / "broker.conf").read_text().splitlines()
        own = {"bind": "127.0.0.1", "port": self.port, "dir": folder, "aclfile": acl}
        kept = [line for line in lines if line.partition(" ")[0] not in own]
        conf.write_text("\n".join([*kept, *(f"{name} {value}" for name, value in own.items())]))
        program = find_server()
        assert program is not None
        self._process = subprocess.Popen([program, str(conf)], stdout=subprocess.DEVNULL)

    def url(self, user: str) -> str:
        return f"redis://{user}:change-me-{user}@127.0.0.1:{self.port}/0"

    def connect(self, user: str) -> redis.Redis:
        return redis.Redis.from_url(self.url(user))

    def answers(self) -> bool:
        with self.connect("worker") as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

    def refused(self) -> set[tuple[str, str, str]]:
        """Who wanted what, as far as the server refused it: user, reason, key or command."""
        with self.connect("tester") as client:
            return {(row["username"], row["reason"], row["object"]) for row in client.acl_log()}

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=PATIENCE_S)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Guarded]:
    guarded = Guarded(tmp_path)
    try:
        wait_until(guarded.answers, description="the guarded server answers")
        yield guarded
    finally:
        guarded.stop()


def test_workers_producers_a_gateway_and_flower_do_their_work_as_users_of_their_own(
    server: Guarded, tmp_path: Path, cache_url: str, tiny_checkpoint: Path, fleet_class: Any
) -> None:
    fleet = fleet_class.on(tmp_path, server.url("worker"), cache_url, tiny_checkpoint)
    flower = Flower(server.url("flower"))
    gateway = None
    try:
        wait_until(flower.ready, description="flower answers")
        fleet.start("render", wait=False)
        fleet.start("answer")
        client = Client(Settings.load(environ={"GLYPH_BROKER_URL": server.url("producer")}))
        asked = client.submit(
            "a lamp: 12 EUR\n" * 9, "what?", max_new_tokens=40, idempotency_key="k", deadline_s=99
        )
        answer = client.wait(asked.id, timeout=PATIENCE_S)
        assert "".join(delta.text for delta in client.stream(asked.id)) == answer.text
        other = client.submit("a chair: 40 EUR\n" * 9, "what?", max_new_tokens=1_000, deadline_s=99)
        assert client.status(other.id).id == other.id
        # Whether any backend can do that is read from what workers say of themselves.
        formed = client.submit("a sofa: 70 EUR\n" * 9, "what?", choices=["70", "80"])
        assert client.wait(formed.id, timeout=PATIENCE_S).text in ("70", "80")
        client.cancel(other.id)
        wait_until(lambda: client.status(other.id).status.final, description="it is cancelled")
        again = client.retry(other.id)
        assert [job and job.id for job in client.status_many([other.id, again.id])] == [
            other.id,
            again.id,
        ]
        environ = fleet.environ | {"GLYPH_BROKER_URL": server.url("gateway")}
        gateway = GatewayProcess(tmp_path, environ)
        with gateway.http() as http:
            body = {"document": "a desk: 90 EUR\n" * 9, "question": "what?", "max_new_tokens": 8}
            job = http.post("/v1/jobs", json=body).json()
            client.wait(job["id"], timeout=PATIENCE_S)
            assert http.get(f"/v1/jobs/{job['id']}").json()["status"] == "succeeded"
            assert "event: end" in http.get(f"/v1/jobs/{job['id']}/events").text
            assert http.get(f"/v1/jobs/{job['id']}/pages/1.png").status_code == 200
            assert "glyph_broker_up 1.0" in http.get("/metrics").text
            assert http.get("/readyz").status_code == 200
            listed = http.get("/v1/jobs", params={"status": "succeeded"}).json()["jobs"]
            assert job["id"] in [row["id"] for row in listed]
            assert http.get("/v1/reader").status_code == 200
        use_openais_surface(gateway.url, tiny_checkpoint.name)
        wait_until(
            lambda: flower.tasks().get(asked.id, {}).get("state") == "SUCCESS",
            description="flower has seen the job",
        )
    finally:
        if gateway is not None:
            gateway.stop()
        flower.stop()
        fleet.stop()
    # Flower tries remote control, goes on without, and is refused nothing else.
    control = {
        row
        for row in server.refused()
        if row[0] == "flower" and ("celery.pidbox" in row[2] or row[2] == "publish")
    }
    assert server.refused() - control == set()


def use_openais_surface(url: str, model: str) -> None:
    """Files, a batch and a response, each to its end."""
    turn = {"role": "user", "content": "a stool: 7 EUR\n\nwhat?"}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions",
            "body": {"model": model, "messages": [turn], "max_completion_tokens": 4}}  # fmt: skip
    http = openai.DefaultHttpxClient(trust_env=False, timeout=PATIENCE_S)
    with openai.OpenAI(base_url=f"{url}/v1", api_key="x", http_client=http, max_retries=0) as ai:
        made = [
            ai.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch").id
            for _ in range(3)
        ]
        gone = [ai.files.delete(one.id).id for one in ai.files.list(limit=1) if one.id != made[0]]
        assert gone == made[:0:-1]
        batch = ai.batches.create(
            input_file_id=made[0], endpoint="/v1/chat/completions", completion_window="1h"  # type: ignore[arg-type]
        )  # fmt: skip
        done = wait_until(
            lambda: (now := ai.batches.retrieve(batch.id)).status == "completed" and now,
            description="the batch is complete",
        )
        assert b'"custom_id":"1"' in ai.files.content(done.output_file_id).read()
        assert [one.id for one in ai.batches.list()] == [batch.id]
        asked = ai.responses.create(
            model=model, input=turn["content"], background=True, max_output_tokens=4
        )
        events = list(ai.responses.retrieve(asked.id, stream=True))
        assert events[-1].type in ("response.completed", "response.incomplete")
        long = ai.responses.create(
            model=model, input=turn["content"] + "?", background=True, max_output_tokens=1_000
        )
        assert ai.responses.cancel(long.id).status in ("cancelled", "completed", "incomplete")


QUEUES = ("glyph.render", "glyph:glyph.render")
REFUSED: dict[str, list[tuple[str, ...]]] = {
    "producer": [
        # A queue is put on, and nothing else.
        *(
            (*command[:1], queue, *command[1:])
            for queue in QUEUES
            for command in (
                ("RPOP",), ("LPOP",), ("BRPOP", "1"), ("LRANGE", "0", "-1"), ("LINDEX", "0"),
                ("LTRIM", "1", "0"), ("LREM", "0", "x"), ("LSET", "0", "x"), ("DEL",), ("UNLINK",),
                ("EXPIRE", "1"), ("RENAME", "glyph:ring:0"),
                ("LMOVE", "glyph:ring:0", "LEFT", "LEFT"),
            )
        ),
        ("LMOVE", "glyph:ring:0", "glyph.render", "LEFT", "LEFT"),
        ("HVALS", "unacked"), ("DEL", "unacked"), ("HVALS", "glyph:unacked"),
        ("ZADD", "glyph:unacked_index", "0", "x"), ("SADD", "_kombu.binding.x", "x"),
        # Records: by their ids, which cannot be listed.
        ("KEYS", "*"), ("SCAN", "0"), ("RANDOMKEY",), ("DBSIZE",),
        ("ZRANGE", "glyph:active", "0", "-1"),
        ("ZREVRANGE", "glyph:dead", "0", "-1"), ("XRANGE", "glyph:events", "-", "+"),
        ("XREAD", "STREAMS", "glyph:events", "0"), ("DEL", "glyph:job:1"),
        ("UNLINK", "glyph:blob:1"), ("RENAME", "glyph:job:1", "glyph:job:2"),
        ("DUMP", "glyph:job:1"),
        ("SORT", "glyph:ring:0"),
        ("COPY", "glyph:blob:1", "glyph:blob:2"), ("XTRIM", "glyph:stream:1", "MAXLEN", "0"),
        ("GET", "glyph:reconciler"), ("SET", "glyph:reconciler", "x"), ("DEL", "glyph:workers"),
        ("HSET", "glyph:workers", "x", "y"), ("HGETALL", "glyph:tally"), ("SET", "other", "x"),
        ("HGETALL", "glyph:workers"), ("ZADD", "glyph:abilities", "0", "x"),
        ("HSET", "glyph:ladder", "steps", "2"),
        # The server.
        ("EVAL", "return 1", "0"), ("SCRIPT", "FLUSH"), ("SCRIPT", "KILL"), ("FUNCTION", "FLUSH"),
        ("CONFIG", "GET", "requirepass"), ("CONFIG", "SET", "maxmemory", "1"), ("FLUSHALL",),
        ("FLUSHDB",), ("SHUTDOWN",), ("CLIENT", "LIST"), ("CLIENT", "KILL", "TYPE", "normal"),
        ("ACL", "LIST"), ("MONITOR",), ("SWAPDB", "0", "1"), ("INFO",),
        # Channels.
        ("PUBLISH", "/0.celery.pidbox", "x"), ("PUBLISH", "glyph:/0.celery.pidbox", "x"),
        ("PUBLISH", "/0.celeryev/worker.online", "x"), ("SUBSCRIBE", "glyph:cancels"),
    ],
    "gateway": [
        ("RPOP", "glyph.render"), ("DEL", "glyph:glyph.render"), ("KEYS", "*"), ("SCAN", "0"),
        ("DEL", "glyph:job:1"), ("XRANGE", "glyph:events", "-", "+"),
        ("HSET", "glyph:workers", "x", "y"), ("ZADD", "glyph:abilities", "0", "x"),
        ("HINCRBYFLOAT", "glyph:tally", "x", "1"), ("HVALS", "unacked"), ("SCRIPT", "FLUSH"),
        ("EVAL", "return 1", "0"), ("CONFIG", "GET", "*"), ("FLUSHALL",),
        ("PUBLISH", "/0.celery.pidbox", "x"),
    ],
    "flower": [
        ("HGETALL", "glyph:job:1"), ("GET", "glyph:blob:1"),
        ("XREAD", "STREAMS", "glyph:stream:1", "0"),
        *((command, queue, *rest) for queue in QUEUES for command, *rest in (
            ("BRPOP", "1"), ("RPOP",), ("LPUSH", "x"), ("LRANGE", "0", "-1"), ("DEL",))),
        # Remote control: shutdown, revoke and the like.
        ("PUBLISH", "/0.celery.pidbox", "x"), ("PUBLISH", "glyph:/0.celery.pidbox", "x"),
        ("PUBLISH", "/0.celeryev/worker.offline", "x"), ("PUBLISH", "glyph:cancels", "x"),
        ("LPUSH", "answer-1@host.celery.pidbox", "x"), ("SUBSCRIBE", "glyph:cancels"),
        ("SUBSCRIBE", "/0.celery.pidbox"),
        ("HVALS", "unacked"), ("HDEL", "unacked", "x"), ("ZADD", "unacked_index", "0", "x"),
        ("SET", "unacked_mutex", "x"), ("SREM", "_kombu.binding.glyph.render", "x"),
        ("KEYS", "*"), ("SCAN", "0"), ("EVAL", "return 1", "0"), ("SCRIPT", "FLUSH"), ("FLUSHALL",),
        ("CONFIG", "GET", "*"), ("CLIENT", "LIST"),
    ],
    "worker": [
        ("FLUSHALL",), ("FLUSHDB",), ("ACL", "SETUSER", "worker", "allkeys"), ("KEYS", "*"),
        ("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "GET", "*"), ("SCRIPT", "FLUSH"),
        ("FUNCTION", "FLUSH"), ("SHUTDOWN",), ("CLIENT", "KILL", "TYPE", "normal"),
        ("GET", "other"),
        ("PUBLISH", "other", "x"), ("MONITOR",), ("SWAPDB", "0", "1"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("user", sorted(REFUSED))
def test_what_a_user_does_not_need_is_refused(server: Guarded, user: str) -> None:
    allowed = []
    for command in REFUSED[user]:
        with server.connect(user) as client:
            try:
                client.execute_command(*command)
            except redis.exceptions.NoPermissionError:
                continue
            except redis.RedisError:
                pass
            allowed.append(command)
    assert allowed == []


@pytest.mark.parametrize("user", ["gateway", "producer"])
def test_a_script_does_no_more_than_its_user_may(server: Guarded, user: str) -> None:
    with server.connect(user) as client:
        script = client.script_load("return redis.call('DEL', 'glyph.render')")
        with pytest.raises(redis.exceptions.ResponseError, match=r"permission|ACL"):
            client.evalsha(script, 1, "glyph:")


def test_a_wrong_password_and_the_default_user_are_refused(server: Guarded) -> None:
    for login in ("", "producer:wrong@"):
        url = f"redis://{login}127.0.0.1:{server.port}/0"
        client = Client(Settings.load(environ={"GLYPH_BROKER_URL": url}))
        with pytest.raises(StoreDenied):
            client.submit("text", "why?")
