"""The gateway put together: routes, limits, errors, OpenAPI, start, end. Serves nothing alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware.cors import CORSMiddleware

from glyph_worker import __version__
from glyph_worker.gateway import (
    events,
    health,
    infer,
    jobs,
    metrics,
    page_images,
    reader,
    site,
    version,
    webhooks,
)
from glyph_worker.gateway.body_limit import BodyLimit
from glyph_worker.gateway.collectors import HttpMetrics
from glyph_worker.gateway.deps import Context
from glyph_worker.gateway.head import HeadAsGet
from glyph_worker.gateway.openai import batches, chat, models, unsupported, uploads
from glyph_worker.gateway.openai import requests as openai_requests
from glyph_worker.gateway.openai import responses as openai_responses
from glyph_worker.gateway.openai.batch_runner import BatchRunner
from glyph_worker.gateway.openai.errors import OpenAIErrors
from glyph_worker.gateway.problems import Problem, install
from glyph_worker.gateway.schemas import BatchBody, InferBody, SubmitBody
from glyph_worker.gateway.tracing import RequestSpans
from glyph_worker.settings import Settings

MAX_THREADS = 16
"""Blocking Redis calls at once; more would only queue in Redis."""

_DESCRIPTION = """Questions about long documents, answered by a model that reads rendered pages.

Submit a job, then poll it, long-poll it (`wait`), follow its events, or be called back. Errors are
`application/problem+json` with a stable `code`.
"""


def create_app(settings: Settings) -> FastAPI:
    """An ASGI app of its own. Raises InvalidSetting, StoreUnavailable (no broker is set)."""
    context = Context(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="gateway")
        asyncio.get_running_loop().set_default_executor(threads)
        context.deliverer.start()
        runner = BatchRunner(context)
        runner.start()
        try:
            yield
        finally:
            await runner.stop()
            await context.deliverer.stop()
            await context.watcher.stop()
            context.fetcher.close()
            context.traces.close()

    app = FastAPI(
        title="glyph-worker",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
        redirect_slashes=False,  # a redirect is no problem+json, and loses the body
    )
    app.state.context = context
    pages = (page_images, infer, reader, version, webhooks, health, metrics, site)
    for part in (jobs, events, *pages):
        app.include_router(part.router)
    for part in (models, chat, openai_responses, uploads, batches, unsupported):
        app.include_router(part.router)
    install(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    gateway = settings.gateway
    origins = [origin.strip() for origin in gateway.cors_origins.split(",") if origin.strip()]
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            # Any: OpenAI's clients send a dozen of their own, and only these origins may at all.
            allow_headers=["*"],
            expose_headers=["Location", "Retry-After", "retry-after-ms", "x-should-retry",
                            "x-request-id"],
        )  # fmt: skip
    app.add_middleware(BodyLimit, max_bytes=gateway.max_body_bytes)
    app.add_middleware(OpenAIErrors)
    app.add_middleware(HeadAsGet)  # outside of whatever reads a reply's body
    app.add_middleware(HttpMetrics, metrics=context.metrics)
    if settings.trace_endpoint:
        app.add_middleware(RequestSpans, traces=context.traces)
    return app


_OPENAI_BODIES = (
    openai_requests.ChatBody, openai_requests.ResponseBody, openai_requests.FileBatchBody,
)  # fmt: skip


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's schema, with the bodies that are read by hand, the problem and the keys."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        parts = schema.setdefault("components", {})
        models = parts.setdefault("schemas", {})
        bodies = (SubmitBody, BatchBody, InferBody, *_OPENAI_BODIES)
        for model in (Problem, *bodies):
            described = model.model_json_schema(ref_template="#/components/schemas/{model}")
            models.update(described.pop("$defs", {}))
            models[model.__name__] = described
        parts["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        # FastAPI declares its own 422; ours is a problem.
        for path in schema["paths"].values():
            for name, operation in path.items():
                replies = operation["responses"]
                for reply in replies.values():
                    content = reply.get("content", {})
                    if "#/components/schemas/HTTPValidationError" in str(content):
                        content.clear()
                        content["application/problem+json"] = {
                            "schema": {"$ref": "#/components/schemas/Problem"}
                        }
                if name in ("get", "post", "delete") and "operations" not in operation.get(
                    "tags", []
                ):
                    operation["security"] = [{"bearer": []}, {"key": []}, {}]
        for name in ("HTTPValidationError", "ValidationError"):
            models.pop(name, None)
        app.openapi_schema = schema
    return app.openapi_schema
