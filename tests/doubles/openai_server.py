"""A real OpenAI-style server for tests: pages as PNG in, our own engine behind, text streamed out.

Loopback only. What goes wrong with such servers can be asked of it.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import socket
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

from glyph_worker.answer_form import AnswerForm
from glyph_worker.backends.own import OwnBackend
from glyph_worker.engine.result import SequenceProgress
from glyph_worker.engine.sequence import AnswerRequest, PageInput
from glyph_worker.errors import RequestError
from glyph_worker.features.types import PageRequest
from glyph_worker.job_options import Sampling

MODEL = "served-glyph"


class OpenAiServer:
    """Serves from its making to `close`."""

    def __init__(self, backend: OwnBackend) -> None:
        self.backend = backend
        self.num_busy = 0
        """Requests that are to be told to come again."""
        self.breaks = False
        """Connections are to be cut after the first text."""
        self.status = 0
        """What every request is to be refused with; 0: none."""
        self.bodies: list[dict[str, Any]] = []
        """Requests as they came, pictures left out."""
        self.uuids: list[str] = []
        self.up = True
        self._open: set[socket.socket] = set()
        self.num_answered = 0
        self.num_cancelled = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                outer._open.add(self.connection)

            def finish(self) -> None:
                outer._open.discard(self.connection)
                with contextlib.suppress(OSError):
                    super().finish()

            def do_GET(self) -> None:
                self._json({"data": [{"id": MODEL, "max_model_len": backend.max_tokens}]})

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                outer._answer(self, json.loads(raw))

            def _json(self, value: Any, status: int = 200) -> None:
                raw = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                self.send_header("Connection", "close")  # or it would outlive the server
                self.end_headers()
                self.close_connection = True
                self.wfile.write(raw)

            def log_message(self, *_: Any) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def die(self) -> None:
        """As kill -9 does it: every connection ends, in the middle of whatever it carries."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.close()

    def close(self) -> None:
        self.up = False
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextmanager
    def refusing(self, status: int) -> Iterator[None]:
        self.status = status
        try:
            yield
        finally:
            self.status = 0

    def _answer(self, http: Any, body: dict[str, Any]) -> None:
        self.bodies.append(body)
        if self.status:
            http._json({"error": {"message": "not like that"}}, self.status)
            return
        if self.num_busy:
            self.num_busy -= 1
            http._json({"error": {"message": "busy"}}, 503)
            return
        *pictures, first = body["messages"][0]["content"]
        try:
            request, pages = self._request(body, pictures, first["text"])
        except RequestError as exc:
            http._json({"error": {"message": str(exc)}}, 400)
            return
        http.send_response(200)
        http.send_header("Content-Type", "text/event-stream")
        http.send_header("Connection", "close")
        http.end_headers()
        http.close_connection = True
        sent, tokens_sent = "", 0
        live = self.backend.engine.core.live

        def new_tokens(all_tokens: Sequence[int]) -> dict[str, Any]:
            nonlocal tokens_sent
            fresh, tokens_sent = list(all_tokens[tokens_sent:]), len(all_tokens)
            return {"token_ids": fresh} if body.get("return_token_ids") else {}

        def send(delta: dict[str, Any], **more: Any) -> None:
            event = {"choices": [{"index": 0, "delta": delta, **more}]}
            http.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            http.wfile.flush()

        def on_progress(seen: SequenceProgress) -> None:
            nonlocal sent
            so_far = live.get(request.sequence_id)
            tokens = new_tokens(so_far.token_ids) if so_far is not None else {}
            send({"content": seen.text[len(sent) :]}, **tokens)
            sent = seen.text
            if self.breaks and sent:
                raise ConnectionError

        try:
            done = self.backend.answer(
                request, pages, salt="", on_progress=on_progress, check=lambda: None
            ).result
            send(
                {"content": done.text[len(sent) :]},
                finish_reason=done.finish_reason,
                **new_tokens(done.token_ids),
            )
            usage = {
                "prompt_tokens": done.num_prompt_tokens,
                "completion_tokens": done.num_answer_tokens,
                "prompt_tokens_details": {"cached_tokens": done.num_prefix_tokens_reused},
            }
            http.wfile.write(f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n".encode())
            http.wfile.write(b"data: [DONE]\n\n")
            self.num_answered += 1
        except OSError:
            self.num_cancelled += 1

    def _request(
        self, body: dict[str, Any], pictures: list[dict[str, Any]], first: str
    ) -> tuple[AnswerRequest, list[PageRequest]]:
        pages, inputs = [], []
        # Questions and answers in turn.
        *earlier, question = [first, *(message["content"] for message in body["messages"][1:])]
        for part in pictures:
            raw = base64.b64decode(part["image_url"]["url"].partition("base64,")[2])
            pixels = np.asarray(Image.open(io.BytesIO(raw)))
            height, width = pixels.shape
            self.uuids.append(part["uuid"])
            pages.append(
                PageRequest(
                    page_digest=part["uuid"], width=width, height=height, pixels=lambda p=pixels: p
                )
            )
            inputs.append(PageInput(digest=part["uuid"], width=width, height=height))
        structured = body.get("structured_outputs") or {}
        form = AnswerForm.of(
            response_format=body.get("response_format"),
            choices=structured.get("choice", ()),
            regex=structured.get("regex", ""),
        )
        names = ("temperature", "top_p", "top_k", "seed")
        request = AnswerRequest(
            sequence_id=uuid.uuid4().hex,
            pages=tuple(inputs),
            question=question,
            history=tuple(zip(earlier[::2], earlier[1::2], strict=True)),
            max_new_tokens=body["max_tokens"],
            form=form,
            sampling=Sampling(**{name: body[name] for name in names if name in body}),
        )
        return request, pages
