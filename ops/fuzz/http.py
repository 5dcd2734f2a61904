"""Does any HTTP request bring an error 500, cost over 5 s of CPU, or hold up a health check?

    ops/fuzz/http [--count 10000] [--seed 1] [--patience 1.0] [--json PATH]
    ops/fuzz/http --only NUMBER --seed 1           # one of them again, with its answer

A real gateway on loopback, with an embedded server and no worker, is sent one request after
another: JSON, forms, noise, piles of brackets, half HTTP. Each is charged with the processor time
that the gateway and its children take while it is answered. All the while another thread asks
`/healthz` on fresh connections; `--patience` is the longest it may wait for it, in seconds.
"""

from __future__ import annotations

import argparse
import base64
import json
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import redis
from gateway_process import GatewayProcess

from fuzz.evil_requests import EvilRequest, evil_request
from glyph_worker.gateway.openai.errors import is_ours
from glyph_worker.local.server import EmbeddedServer

PROBLEM = b"application/problem+json"
MAX_CPU_S = 5.0
ANSWER_S = 60.0
MEANT = {501, 503, 504}
"""Statuses from 500 on that are answers and no faults: full, too late; each is a problem."""
FLUSH_EVERY = 500
SECRET = "whsec_" + base64.b64encode(b"f" * 32).decode()


class Health:
    """Asks on a fresh connection, again and again, until it is stopped."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stopped = threading.Event()
        self.num_asked = self.num_failed = 0
        self.longest_s = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        request = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
        while not self._stopped.wait(0.05):
            began = time.monotonic()
            status = ask(self._port, request)[0]
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            self.num_asked += 1
            self.num_failed += status != 200


def ask(port: int, raw: bytes, *, sound: bool = True) -> tuple[int, bytes]:
    """Status and all that was said; 0 where nothing was."""
    said = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as connection:
            try:
                connection.sendall(raw)
                if not sound:
                    connection.shutdown(socket.SHUT_WR)  # else it would wait for the rest
            except OSError:
                pass  # refused in the middle; it may have said why
            while part := connection.recv(65_536):
                said += part
    except OSError:
        pass
    words = said.split(b" ", 2)
    return (int(words[1]) if len(words) > 2 and words[1].isdigit() else 0), said


def cpu_s(process: psutil.Process) -> float:
    """Of the gateway and of those children it has waited for."""
    times = process.cpu_times()
    return float(sum((times.user, times.system, times.children_user, times.children_system)))


def fault_of(request: EvilRequest, status: int, said: bytes, seconds: float) -> str | None:
    if seconds > MAX_CPU_S:
        return f"{seconds:.1f} s of CPU"
    if status >= 500 and status not in MEANT:
        return f"status {status}"
    if status == 0 and request.sound:
        return "no answer"
    head = said.partition(b"\r\n\r\n")[0].lower()
    words = request.raw.split(b" ", 2)
    path = words[1].split(b"?")[0].decode("latin-1") if len(words) > 2 else ""
    if status >= 400 and is_ours(path):
        named = b'"error":' in said or words[0] == b"HEAD" or PROBLEM in head
        return None if named else f"status {status} is no error of OpenAI's shape"
    if status >= 400 and PROBLEM not in head:
        return f"status {status} is no problem+json"
    return None


def run(port: int, process: psutil.Process, broker: redis.Redis, args: argparse.Namespace) -> Any:
    health = Health(port)
    statuses: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    faults: list[dict[str, Any]] = []
    most_s, most_at, began = 0.0, -1, time.monotonic()
    for number in range(args.count):
        request = evil_request(number, args.seed)
        before_s = cpu_s(process)
        status, said = ask(port, request.raw, sound=request.sound)
        seconds = cpu_s(process) - before_s
        statuses[str(status)] += 1
        kinds[request.kind] += 1
        if seconds > most_s:
            most_s, most_at = seconds, number
        if (fault := fault_of(request, status, said, seconds)) is not None:
            faults.append({"number": number, "kind": request.kind, "fault": fault})
            print(f"request {number} ({request.kind}): {fault}", file=sys.stderr)
        if number % FLUSH_EVERY == FLUSH_EVERY - 1:
            broker.flushdb()
        if not process.is_running():
            faults.append({"number": number, "kind": request.kind, "fault": "the gateway ended"})
            break
    health.stop()
    return {
        "fuzz": "http", "seed": args.seed, "requests": sum(kinds.values()), "kinds": dict(kinds),
        "statuses": dict(sorted(statuses.items())), "faults": faults,
        "most_cpu_s": round(most_s, 2), "most_cpu_request": most_at,
        "health": {"asked": health.num_asked, "failed": health.num_failed,
                   "longest_s": round(health.longest_s, 3)},
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int)
    parser.add_argument("--patience", type=float, default=1.0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        server = EmbeddedServer(folder / "redis")
        server.start()
        gateway = GatewayProcess(
            folder,
            {"GLYPH_BROKER_URL": server.url(0)},
            GLYPH_GATEWAY_MAX_WAIT_S="0.1",
            GLYPH_GATEWAY_REQUEST_TIMEOUT_S="1",
            GLYPH_GATEWAY_WEBHOOK_SECRET=SECRET,
        )
        try:
            if args.only is not None:
                request = evil_request(args.only, args.seed)
                print(request.kind, request.raw[:2_000])
                print(
                    ask(gateway.port, request.raw, sound=request.sound)[1][:4_000].decode(
                        errors="replace"
                    )
                )
                return 0
            process = psutil.Process(gateway.process.pid)
            with redis.Redis.from_url(server.url(0)) as broker:
                found = run(gateway.port, process, broker, args)
            crashes = ("gateway.crashed", "watcher.crashed", "Exception in ASGI")
            found["crashes_logged"] = sum(gateway.whole_log.count(word) for word in crashes)
        finally:
            gateway.stop()
            server.stop()
    text = json.dumps(found)
    if args.json:
        args.json.write_text(text + "\n")
    print(text)
    health = found["health"]
    well = health["failed"] == 0 and health["longest_s"] <= args.patience
    return 0 if well and not found["faults"] and not found["crashes_logged"] else 1


if __name__ == "__main__":
    sys.exit(main())
