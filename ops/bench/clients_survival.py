"""Background responses and a batch through OpenAI's client, while everything is killed in turn.

Two gateways stand behind one address. Workers, gateways and broker are killed one after another;
each is started again, as a supervisor does. Nothing but the client's own retries, and a key on each
POST, comes to the caller's help.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
from chaos.address import OneAddress
from chaos.crew import Crew
from chaos.follow import Gateway

from bench.served import listens, until
from glyph_worker.client import Client
from glyph_worker.errors import GlyphError
from glyph_worker.settings import Settings
from glyph_worker.store.connection import connect
from glyph_worker.store.keys import Keys

DOCUMENT = "Orchid GmbH pays 1,204.50 EUR on 2026-12-01.\nContact: Mara Lindqvist, ext. 417\n" * 8
QUESTIONS = [f"Who pays the amount number {n}?" for n in range(8)]
NEW_TOKENS = 8
FINAL = frozenset({"completed", "failed", "cancelled", "incomplete"})
BATCH_FINAL = frozenset({"completed", "failed", "expired", "cancelled"})
VICTIMS = ("answer", "gateway 0", "render", "broker", "gateway 1")


def settings_for(checkpoint: Path) -> Settings:
    return Settings.load(
        environ={
            "GLYPH_MODEL": str(checkpoint), "GLYPH_DEVICE": "cpu", "GLYPH_QUEUE_LEASE_S": "4",
            "GLYPH_QUEUE_JOB_TTL_S": "3600", "OMP_NUM_THREADS": "1",
        }
    )  # fmt: skip


def survive(
    folder: Path, checkpoint: Path, *, num_responses: int, num_lines: int, num_kills: int
) -> dict[str, Any]:
    """What was asked, what ended, and whether each equals the client's own answer."""
    crew = Crew(settings_for(checkpoint), folder, num_render=1, num_answer=1)
    environ = crew.environ(crew.broker_url, crew.cache_url) | {"OMP_NUM_THREADS": "1"}
    gateways = [Gateway(folder / f"gateway-{n}.log", environ) for n in range(2)]
    try:
        crew.start()
        for gateway in gateways:
            gateway.start()
        ports = [gateway.port for gateway in gateways]
        until(lambda: all(listens(port) for port in ports), "both gateways listen")
        until(lambda: len(crew.serving()) == 2, "workers serve")
        with OneAddress(ports) as address:
            return _run(
                crew, gateways, address, num_responses=num_responses, num_lines=num_lines,
                num_kills=num_kills,
            )  # fmt: skip
    finally:
        for gateway in gateways:
            gateway.stop()
        crew.stop()


def _run(
    crew: Crew,
    gateways: list[Gateway],
    address: OneAddress,
    *,
    num_responses: int,
    num_lines: int,
    num_kills: int,
) -> dict[str, Any]:
    client = Client(crew.settings)
    expected = []
    for question in QUESTIONS:
        job = client.submit(DOCUMENT, question, max_new_tokens=NEW_TOKENS)
        expected.append(client.wait(job.id, timeout=300).text)
    model = Path(crew.settings.model).name
    http = openai.DefaultHttpxClient(trust_env=False, timeout=30)
    ai = openai.OpenAI(
        base_url=f"http://127.0.0.1:{address.port}/v1", api_key="none", http_client=http,
        max_retries=30,
    )  # fmt: skip
    killer = _Killer(crew, gateways, num_kills)
    began = time.monotonic()
    killer.start()
    try:
        rows = [
            {
                "custom_id": f"line-{n}", "method": "POST", "url": "/v1/chat/completions",
                "body": {
                    "model": model, "max_completion_tokens": NEW_TOKENS,
                    "messages": [_turn(QUESTIONS[n % len(QUESTIONS)])],
                },
            }
            for n in range(num_lines)
        ]  # fmt: skip
        raw = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        file = ai.files.create(file=("in.jsonl", raw), purpose="batch")
        batch = ai.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h",
            extra_headers={"Idempotency-Key": "the-batch"},
        )  # fmt: skip

        def made(number: int) -> str:
            text = f"{DOCUMENT}\n\n{QUESTIONS[number % len(QUESTIONS)]}"
            return ai.responses.create(
                model=model, input=text, background=True, max_output_tokens=NEW_TOKENS,
                extra_headers={"Idempotency-Key": f"response-{number}"},
            ).id  # fmt: skip

        with ThreadPoolExecutor(4) as pool:
            ids = list(pool.map(made, range(num_responses)))
            responses = list(pool.map(lambda one: _polled(ai, one), ids))
        while (done := ai.batches.retrieve(batch.id)).status not in BATCH_FINAL:
            time.sleep(0.3)
    finally:
        killer.stop()
    lines = []
    if done.output_file_id is not None:
        lines = [json.loads(row) for row in ai.files.content(done.output_file_id).text.splitlines()]
    right = sum(one.output_text == expected[n % len(QUESTIONS)] for n, one in enumerate(responses))
    right_lines = sum(
        row["response"]["body"]["choices"][0]["message"]["content"]
        == expected[int(row["custom_id"].removeprefix("line-")) % len(QUESTIONS)]
        for row in lines
    )
    jobs, commits = _records(crew)
    ai.close()
    client.close()
    return {
        "num_responses": num_responses,
        "responses_ended": sum(one.status in FINAL for one in responses),
        "responses_right": right,
        "num_lines": num_lines,
        "batch": done.status,
        "lines_right": right_lines,
        "lines_twice": len(lines) - len({row["custom_id"] for row in lines}),
        "jobs_too_many": jobs - (num_responses + num_lines + len(QUESTIONS)),
        "ended_twice": sum(count != 1 for count in commits),
        "kills": killer.killed,
        "seconds": round(time.monotonic() - began, 1),
    }


def _turn(question: str) -> dict[str, Any]:
    texts = [{"type": "text", "text": text} for text in (DOCUMENT, question)]
    return {"role": "user", "content": texts}


def _polled(ai: openai.OpenAI, response_id: str) -> Any:
    while (now := ai.responses.retrieve(response_id)).status not in FINAL:
        time.sleep(0.3)
    return now


def _records(crew: Crew) -> tuple[int, list[int]]:
    """How many jobs there are, and how often each was ended."""
    keys = Keys(crew.settings.key_prefix)
    with connect(crew.broker_url) as client:
        names = list(client.scan_iter(keys.job("*"), count=1_000))
        return len(names), [int(client.hget(name, "num_commits") or 0) for name in names]


class _Killer:
    """Kills the next in turn whenever some more jobs have ended, and starts again what is down."""

    def __init__(self, crew: Crew, gateways: list[Gateway], num_kills: int) -> None:
        self._crew, self._gateways, self._num_kills = crew, gateways, num_kills
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="killer", daemon=True)
        self.killed: list[str] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        victims = itertools.cycle(VICTIMS)
        while len(self.killed) < self._num_kills and not self._stop.is_set():
            if self._moved():
                self._kill(next(victims))
            self._revive()
        while not self._stop.wait(0.2):
            self._revive()

    def _moved(self) -> bool:
        """Waits until two more jobs have ended, so that every kill meets work in progress."""
        before = self._ended()
        while not self._stop.wait(0.1):
            self._revive()
            now = self._ended()
            if before < 0:
                before = now
            elif now >= before + 2:
                return True
        return False

    def _ended(self) -> int:
        try:
            with connect(self._crew.broker_url, timeout_s=2.0, num_retries=0) as client:
                found = client.hgetall(Keys(self._crew.settings.key_prefix).totals)
        except GlyphError:
            return -1
        return sum(int(count) for count in found.values())

    def _kill(self, victim: str) -> None:
        if victim == "broker":
            assert self._crew.broker is not None
            self._crew.restart(self._crew.broker, after_s=0.3)
        elif victim.startswith("gateway"):
            self._gateways[int(victim.split()[1])].kill()
        else:
            next(one for one in self._crew.workers if one.kind == victim).kill()
        self.killed.append(victim)

    def _revive(self) -> None:
        self._crew.revive()
        for gateway in self._gateways:
            gateway.revive()
