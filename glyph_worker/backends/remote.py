"""Another server answers, asked over HTTP as OpenAI's API has it: pages as pictures, text streamed.

What stands in the job's record is an answer whose stream came to its end; a stream that breaks is
no answer, and the job is tried again, here or elsewhere. A server that is gone ends this worker,
whose jobs go to others and which waits for the server when it is started again.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import random
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import structlog
from PIL import Image

from glyph_worker.backends.asked import Asked
from glyph_worker.backends.backend import Answered, Check, OnFatal, OnProgress
from glyph_worker.backends.outside import OutsideBackend
from glyph_worker.backends.remote_request import OPENAI_LACKS, VLLM_LACKS, chat_request
from glyph_worker.backends.remote_stream import Stream
from glyph_worker.engine.sequence import AnswerRequest, FinishReason
from glyph_worker.errors import EngineFault, InvalidOption, InvalidSetting, ModelUnusable
from glyph_worker.features.digest import FeatureRecipe
from glyph_worker.features.types import PageRequest
from glyph_worker.model.front_half import FrontHalf
from glyph_worker.render.choose import checkpoint_folder
from glyph_worker.settings import Settings

log = structlog.get_logger(__name__)

START_PATIENCES = 10
"""At start a server is waited for so many times `patience_s`: it loads its weights."""
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may be answered a little later."""
MISCONFIGURED = frozenset({401, 403, 404, 405})
PROBES, PROBE_PAUSE_S = 3, 0.5


class RemoteBackend(OutsideBackend):
    name = "remote"

    def __init__(self, settings: Settings, *, on_fatal: OnFatal) -> None:
        """Wait for the server. Raises ModelUnusable, InvalidSetting."""
        logging.getLogger("httpx").setLevel(logging.WARNING)  # a line a request says nothing
        self._section = settings.remote
        self._slots = settings.engine.max_slots
        if not self._section.url:
            raise InvalidSetting(
                "GLYPH_BACKEND=remote needs GLYPH_REMOTE_URL, e.g. http://127.0.0.1:8000/v1"
            )
        front = FrontHalf(
            checkpoint_folder(settings.model),
            device=settings.device,
            dtype=settings.dtype,
            tower=False,
        )
        super().__init__(front, slots=self._slots, on_fatal=on_fatal)
        self.recipe = FeatureRecipe.of(front, packing=settings.features.packing)
        try:
            self._client = self._loop.run(self._connect())
            card = self._loop.run(self._first_card())
        except BaseException:
            self._loop.stop(self._close)
            raise
        self._served = self._section.model or str(card["id"])
        served_window = card.get("max_model_len")
        own_window = settings.engine.window_tokens or front.max_positions
        self._admit(min(own_window, served_window or own_window))
        where = urlsplit(self._section.url)
        self.how = f"{self._served} at {where.hostname}:{where.port or where.scheme}"
        self.lacks = OPENAI_LACKS if self._section.dialect == "openai" else VLLM_LACKS
        if self._section.dialect == "vllm" and not self.prompt.has_thinking_switch:
            self.lacks |= {"thinking"}

    async def _connect(self) -> httpx.AsyncClient:
        section = self._section
        key = section.api_key.get_secret_value()
        return httpx.AsyncClient(
            base_url=section.url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(
                section.read_timeout_s, connect=section.connect_timeout_s, pool=None
            ),
            limits=httpx.Limits(max_connections=2 * self._slots + 4),
            trust_env=False,
        )

    async def _close(self) -> None:
        if hasattr(self, "_client"):
            await self._client.aclose()

    async def _first_card(self) -> dict[str, Any]:
        """What it says of the model, once it is up. Raises ModelUnusable, InvalidSetting."""
        deadline = time.monotonic() + START_PATIENCES * self._section.patience_s
        while True:
            try:
                response = await self._client.get("models")
                if response.status_code in MISCONFIGURED:
                    raise InvalidSetting(
                        f"{self._section.url} answers {response.status_code} to a list of its "
                        "models; check GLYPH_REMOTE_URL (it ends with /v1) and "
                        "GLYPH_REMOTE_API_KEY"
                    )
                if response.status_code == 200:
                    return self._card(response.json())
                why = f"it answers {response.status_code}"
            except httpx.TransportError as exc:
                why = repr(exc)
            except ValueError as exc:
                why = f"its list of models cannot be read: {exc}"
            if time.monotonic() > deadline:
                raise ModelUnusable(
                    f"no server that could answer at {self._section.url}: {why}; start it, or "
                    "set GLYPH_REMOTE_URL"
                )
            log.info("remote.waiting", url=self._section.url, why=why)
            await asyncio.sleep(1.0)

    def _card(self, listed: Any) -> dict[str, Any]:
        cards = [card for card in listed.get("data", ()) if isinstance(card, dict)]
        names = [str(card.get("id")) for card in cards]
        wanted = self._section.model
        if not cards or (wanted and wanted not in names):
            raise ModelUnusable(
                f"{self._section.url} serves {', '.join(names) or 'no model'}, "
                f"{wanted or 'one'} is asked for; set GLYPH_REMOTE_MODEL to one of them"
            )
        return cards[names.index(wanted)] if wanted else cards[0]

    @property
    def model(self) -> str:
        return self._served[-64:]

    @property
    def device(self) -> str:
        return "remote"

    def answer(
        self,
        request: AnswerRequest,
        pages: Sequence[PageRequest],
        *,
        salt: str,
        on_progress: OnProgress,
        check: Check,
    ) -> Answered:
        with self._sums.job() as inside:
            checked = self._checker.make(request, now=time.monotonic(), dtype_group="remote")
            phases = checked.phases
            stream = Stream(self.prompt, request, max_answer=phases.max_answer)
            asked = Asked(checked, stream.text, dtype="remote")
            pictures = []
            for page in pages:
                check()
                pictures.append(_png(page.pixels()))
            asked.fetched()
            history = request.history if self.prompt.reads_history else ()
            body = chat_request(
                request, pictures, history, model=self._served, dialect=self._section.dialect,
                max_tokens=phases.max_thinking + phases.max_answer,
                priorities=self._section.priorities,
            )  # fmt: skip
            raw = json.dumps(body).encode()
            reason = self._follow(
                request.sequence_id, lambda: self._ask(raw, stream, asked), asked, inside,
                on_progress=on_progress, check=check,
            )  # fmt: skip
            stream.settle(asked)
            self._count(asked)
            self._sums.add(prefill_tokens=asked.num_prompt - asked.num_reused)
            result = asked.result(reason or "cancelled")
        # Whether it had the pages' features the server does not say.
        return Answered(result=result, pages_encoded=len(pages))

    async def _ask(self, body: bytes, stream: Stream, asked: Asked) -> FinishReason:
        """Until the answer is whole. Asks again only while nothing of an answer has come."""
        deadline = time.monotonic() + self._section.patience_s
        pause_s = 0.1
        while True:
            try:
                reason = await self._ask_once(body, stream, asked)
                if reason is not None:
                    return reason
                why = "it is busy"
            except httpx.TransportError as exc:
                why = repr(exc)
                if not await self._is_up():
                    self._die(exc)
                    raise EngineFault(
                        f"the server at {self._section.url} is gone ({why}); another worker takes "
                        "the job"
                    ) from exc
                if asked.began:
                    raise EngineFault(f"the server broke off its answer: {why}") from exc
            if time.monotonic() > deadline:
                raise EngineFault(
                    f"the server at {self._section.url} takes no request for "
                    f"{self._section.patience_s:g} s: {why}"
                )
            await asyncio.sleep(pause_s * random.uniform(0.5, 1))
            pause_s = min(2 * pause_s, 5.0)

    async def _ask_once(self, body: bytes, stream: Stream, asked: Asked) -> FinishReason | None:
        """How the answer ended; None where the server is busy. Raises InvalidOption, EngineFault,
        httpx.TransportError."""
        headers = {"Content-Type": "application/json"}
        async with self._client.stream(
            "POST", "chat/completions", content=body, headers=headers
        ) as response:
            if response.status_code in BUSY:
                return None
            if response.status_code != 200:
                await response.aread()
                raise self._refused(response)
            async for event in _events(response):
                reason = stream.take(event, asked)
                self._count(asked)
                if reason is not None:
                    return reason  # leaving closes the connection, which ends it there too
        if stream.reason is not None:
            return stream.reason
        raise EngineFault("the server ended its stream without an end of the answer")

    def _refused(self, response: httpx.Response) -> Exception:
        try:
            said = response.json()
            error = said.get("error") or said
            message = str(error.get("message") or error.get("detail") or said)
        except (ValueError, AttributeError):
            message = response.text
        if response.status_code in MISCONFIGURED:
            exc = EngineFault(
                f"{self._section.url} answers {response.status_code}: {message[:300]}"
            )
            self._die(exc)
            return exc
        return InvalidOption(
            f"backend remote: the server refuses the request with {response.status_code}: "
            f"{message[:500]}; leave out what it names, or ask less"
        )

    async def _is_up(self) -> bool:
        for _ in range(PROBES):
            try:
                response = await self._client.get("models", timeout=self._section.connect_timeout_s)
                if response.status_code == 200:
                    return True
            except httpx.TransportError:
                pass
            await asyncio.sleep(PROBE_PAUSE_S)
        return False

    def stop(self) -> None:
        self._loop.stop(self._close)


def _png(pixels: np.ndarray[Any, Any]) -> str:
    """uint8 [height, width] as base64."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return base64.b64encode(out.getvalue()).decode()


async def _events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON of server-sent events, up to `[DONE]`. Raises EngineFault for what is none."""
    async for line in response.aiter_lines():
        field, _, value = line.partition(":")
        value = value.strip()
        if field != "data" or not value:
            continue
        if value == "[DONE]":
            return
        try:
            event = json.loads(value)
        except ValueError as exc:
            raise EngineFault(f"the server streams what is no JSON: {value[:80]!r}") from exc
        if isinstance(event, dict):
            yield event
