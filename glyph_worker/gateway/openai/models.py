"""GET /v1/models: the checkpoints of the living answer workers, as OpenAI's clients list them."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel

from glyph_worker.errors import RequestError
from glyph_worker.gateway.deps import Context, InContext, TenantName
from glyph_worker.gateway.openai.errors import refusals
from glyph_worker.gateway.reader import models_of
from glyph_worker.gateway.threads import threaded

router = APIRouter(tags=["openai"])

BELIEVED_S = 2.0
"""How long what was heard of the workers is taken for true: a request need not ask each time."""


class UnknownModel(RequestError):
    code = "model_not_found"
    http_status = 404


class Model(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "glyph-worker"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


@router.get("/v1/models", responses=refusals(), summary="Which models answer here")
async def models(context: InContext, tenant: TenantName) -> ModelList:
    return ModelList(data=[Model(id=name) for name in await known_models(context)])


@router.get("/v1/models/{model:path}", responses=refusals(UnknownModel), summary="One of them")
async def model(
    model: Annotated[str, Path(max_length=200)], context: InContext, tenant: TenantName
) -> Model:
    await check_model(context, model)
    return Model(id=model)


async def known_models(context: Context) -> list[str]:
    heard_at, names = context.models_heard
    if time.monotonic() - heard_at > BELIEVED_S:
        names = await threaded(models_of, context)
        context.models_heard = (time.monotonic(), names)
    return names


async def check_model(context: Context, name: str) -> None:
    """Raises UnknownModel, which names those there are."""
    known = await known_models(context)
    if name not in known:
        raise UnknownModel(
            f"model {name[:80]!r} does not answer here; {' and '.join(known)} does", param="model"
        )
