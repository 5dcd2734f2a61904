"""What ops/bench/article does not run through our service: our engine fed directly
(`article_direct.py`), and the peers: transformers' own `generate`, alone and behind plain Celery,
and vLLM where `PEER_VLLM_PYTHON` names a Python that can import it: fed directly
(`article_vllm.py`) and as a server behind plain Celery (`article_served.py`).

The same documents, questions, pages and checkpoint as our rows have, fused attention, as many
threads. Pages are drawn by our renderer, which favours the peers: the published one takes longer
(ops/bench/render). A peer is a process of its own, so that its memory can be told; it is given its
order as JSON on standard input.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from celery import Celery

from bench.article_direct import measure_direct
from bench.article_pages import draw
from bench.article_report import summary
from bench.article_rows import WARM_UP, Conversation, Row
from bench.article_served import NUM_TASKS, Served, VllmServer, openmp
from bench.machine import forget_peak, peak_bytes, resident_bytes
from glyph_worker.local.server import EmbeddedServer

STATIC_BATCH = 8
Job = tuple[str, str, str | None]
"""Document, question, and the right answer where one is known."""


class Library:
    """A checkpoint behind `generate`."""

    def __init__(self, model: str, style: dict[str, Any], answer_tokens: int) -> None:
        from glyph_worker.model.checkpoint import load_reader

        self.reader = load_reader(model, packed=False)
        self.style = style
        self.answer_tokens = answer_tokens

    def answer_one(self, document: str, question: str) -> str:
        return self.answer([(document, question)])[0]

    def answer(self, jobs: Sequence[tuple[str, str]]) -> list[str]:
        """Answers to (document, question) pairs as one left-padded batch."""
        import torch

        from glyph_worker.model.library import library_prompt

        prompts = [
            library_prompt(self.reader, [page.pixels for page in draw(text, self.style)], question)
            for text, question in jobs
        ]
        longest = max(prompt.input_ids.shape[1] for prompt in prompts)

        def pad(row: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.pad(row, (longest - row.shape[1], 0))

        with torch.inference_mode():
            out = self.reader.model.generate(
                input_ids=torch.cat([pad(p.input_ids) for p in prompts]),
                mm_token_type_ids=torch.cat([pad(p.mm_token_type_ids) for p in prompts]),
                attention_mask=torch.cat([pad(torch.ones_like(p.input_ids)) for p in prompts]),
                pixel_values=torch.cat([p.pixel_values for p in prompts]),
                image_grid_thw=torch.cat([p.image_grid_thw for p in prompts]),
                max_new_tokens=self.answer_tokens,
                do_sample=False,
                eos_token_id=list(self.reader.prompt.eos_token_ids) or None,
                pad_token_id=0,
            )
        ends = set(self.reader.prompt.eos_token_ids)
        rows = ([t for t in row if t not in ends] for row in out[:, longest:].tolist())
        return [self.reader.prompt.read_answer(row) for row in rows]


def measure_peer(
    row: Row, model: str, style: dict[str, Any], mixes: dict[str, list[Conversation]], tokens: int
) -> dict[str, Any]:
    """One repetition: a fresh process, a warm-up, then the mixes."""
    order = {
        "model": model, "style": style, "tokens": tokens, "peer": row.peer,
        "settings": row.settings,
        "mixes": {name: [asdict(one) for one in many] for name, many in mixes.items()},
    }  # fmt: skip
    python, module, env = sys.executable, "bench.article_peers", dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="glyph-peer-") as folder:
        if row.peer == "vllm":
            order = drawn(order, Path(folder))
            python, module = env["PEER_VLLM_PYTHON"], "bench.article_vllm"
            env |= openmp()
        done = subprocess.run(
            [python, "-m", module],
            input=json.dumps(order), capture_output=True, text=True, check=False, env=env,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{row.name} ended with {done.returncode}: {done.stderr[-2_000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def drawn(order: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The order for a peer that has nothing of ours: pages as files, prompts as token ids.

    `token_ids` have one placeholder per page, as vLLM wants them; `num_tokens` is what our own
    prompt of the same job has, visual tokens included.
    """
    from PIL import Image

    from glyph_worker.model.checkpoint import read_config, read_processor
    from glyph_worker.model.prompt import Prompt

    model = Path(order["model"])
    image = read_config(model)["image_token_id"]
    prompt = Prompt(model, image_token_id=image, eos_token_ids=())
    processor = read_processor(model)
    files: dict[str, list[tuple[str, int]]] = {}

    def pages(document: str) -> list[tuple[str, int]]:
        if document not in files:
            files[document] = []
            for number, page in enumerate(draw(document, order["style"])):
                pixels = page.pixels
                path = folder / f"{len(files)}-{number}.png"
                Image.fromarray(pixels).save(path)
                rows, columns = processor.visual_grid(pixels.shape[1], pixels.shape[0])
                files[document].append((str(path), rows * columns))
        return files[document]

    def job(document: str, question: str) -> dict[str, Any]:
        many = pages(document)
        ids = [token for n in range(len(many)) for token in (*prompt.page_lead(n), image)]
        ids += prompt.tail(question, num_pages=len(many))
        visual = sum(tokens for _, tokens in many)
        return {
            "token_ids": ids, "pages": [path for path, _ in many],
            "num_tokens": len(ids) - len(many) + visual,
        }  # fmt: skip

    mixes = {
        name: [job(document, question) for document, question, _ in _jobs(many)]
        for name, many in order["mixes"].items()
    }
    return order | {"warm_up": [job(WARM_UP, "ready?")], "mixes": mixes}


def _jobs(conversations: list[dict[str, Any]]) -> list[Job]:
    return [
        (one["document"], asked["text"], asked["right"])
        for one in conversations
        for asked in one["questions"]
    ]


def measure(order: dict[str, Any]) -> dict[str, Any]:
    """Every mix in this process, in batches of the peer's size."""
    library = Library(order["model"], order["style"], order["tokens"])
    library.answer([(WARM_UP, "ready?")])
    size = STATIC_BATCH if order["peer"] == "static" else 1
    me, found = os.getpid(), {}
    ready = resident_bytes(me)
    for name, conversations in order["mixes"].items():
        jobs, answers, times_ms = _jobs(conversations), [], []
        forget_peak(me)
        began = time.perf_counter()
        for start in range(0, len(jobs), size):
            batch, handed_in = jobs[start : start + size], time.perf_counter()
            answers += library.answer([job[:2] for job in batch])
            times_ms += [(time.perf_counter() - handed_in) * 1e3] * len(batch)
        wall_s = time.perf_counter() - began
        found[name] = _found(jobs, answers, times_ms, wall_s, peak_bytes(me), ready)
    return found


def measure_ours(order: dict[str, Any]) -> dict[str, Any]:
    """Our own engine, fed as vLLM is."""
    jobs = {name: _jobs(many) for name, many in order["mixes"].items()}
    found = measure_direct(order, {name: [job[:2] for job in many] for name, many in jobs.items()})
    return {
        name: _found(jobs[name], one["answers"], one["times_ms"], one["wall_s"], one["peak"],
                     one["ready"])
        for name, one in found.items()
    }  # fmt: skip


def measure_served(order: dict[str, Any]) -> dict[str, Any]:
    """As `measure_celery`, vLLM's server doing the work."""
    vllm = VllmServer(order["model"])
    try:
        return measure_celery(order | {"url": vllm.url}, vllm)
    finally:
        vllm.stop()


def measure_celery(order: dict[str, Any], vllm: VllmServer | None = None) -> dict[str, Any]:
    """Every mix through a Celery worker of one process, all jobs of a mix sent at once."""
    with tempfile.TemporaryDirectory(prefix="glyph-peer-") as folder:
        server = EmbeddedServer(Path(folder))
        server.start()
        worker = subprocess.Popen(
            [sys.executable, "-m", "bench.article_peers", "serve"],
            stdin=subprocess.PIPE, stdout=sys.stderr,
            env=os.environ | {"PEER_BROKER_URL": server.url(), "PEER_ORDER": json.dumps(
                {name: order.get(name) for name in ("model", "style", "tokens", "url")})},
        )  # fmt: skip
        try:
            app = celery_app(server.url())
            app.send_task("answer", (WARM_UP, "ready?")).get(timeout=120)
            pids = vllm.pids() if vllm else [worker.pid]
            found, ready = {}, resident_bytes(*pids)
            for name, conversations in order["mixes"].items():
                jobs = _jobs(conversations)
                if vllm:
                    vllm.forget()
                forget_peak(*pids)
                began = time.time()
                sent = [app.send_task("answer", job[:2]) for job in jobs]
                done = [task.get(timeout=600) for task in sent]
                wall_s = time.time() - began
                times_ms = [(ended - began) * 1e3 for _, ended in done]
                peak = peak_bytes(*pids)
                answers = [answer for answer, _ in done]
                found[name] = _found(jobs, answers, times_ms, wall_s, peak, ready)
            return found
        finally:
            worker.terminate()
            worker.wait()
            server.stop()


def celery_app(url: str) -> Celery:
    app = Celery("peer", broker=url, backend=url, set_as_current=False)
    app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1)
    return app


def serve() -> None:
    """The Celery worker: `generate` in the process that takes the messages, or vLLM's server."""
    order = json.loads(os.environ["PEER_ORDER"])
    app = celery_app(os.environ["PEER_BROKER_URL"])
    if order["url"]:
        ask = Served(order["url"], order["style"], order["tokens"]).answer
        threads = {"pool": "threads", "concurrency": NUM_TASKS}
    else:
        ask = Library(order["model"], order["style"], order["tokens"]).answer_one
        threads = {"pool": "solo"}

    @app.task(name="answer")  # type: ignore[untyped-decorator]
    def answer(document: str, question: str) -> tuple[str, float]:
        """The answer, and when it was there."""
        return ask(document, question), time.time()

    app.Worker(loglevel="error", quiet=True, **threads).start()


def _found(jobs: list[Job], answers: list[str], times_ms: list[float], wall_s: float, peak: int,
           ready: int) -> dict[str, Any]:  # fmt: skip
    rights = [a.strip() == j[2].strip() for j, a in zip(jobs, answers, strict=True) if j[2]]
    return summary(times_ms, wall_s, rights) | {
        "peak_bytes": peak, "beyond_weights_bytes": peak - ready,
    }  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        asked = json.load(sys.stdin)
        ways = {
            "direct": measure_ours, "celery": measure_celery, "vllm-served": measure_served,
        }  # fmt: skip
        print(json.dumps(ways.get(asked["peer"], measure)(asked)))
