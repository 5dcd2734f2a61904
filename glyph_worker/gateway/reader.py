"""GET /v1/reader: which model answers here, what it can be asked, how pages can be drawn."""

from __future__ import annotations

from functools import cache
from pathlib import PurePath

from fastapi import APIRouter
from pydantic import BaseModel, Field

from glyph_worker.gateway.deps import Context, InContext, TenantName
from glyph_worker.gateway.problems import responses
from glyph_worker.gateway.threads import threaded
from glyph_worker.store.workers import WorkerStore

router = APIRouter(tags=["operations"])

EMBEDDED = "nano"
ABOUT_EMBEDDED = (
    "The embedded reader is a demonstration: a small model that copies what stands in the "
    "document. Ask it for a value by its name (What is the total?), for a line by its number or "
    "by a word in it, or for what follows a phrase; it says “not found” where it sees none. It "
    "knows no facts, follows no instructions and explains nothing: a question like “Why?” gets a "
    "word from the page, and not an answer. Asked about strangers’ documents in a person’s own "
    "words it is right about once in four times. It reads its own render style only."
)


class Reader(BaseModel):
    models: list[str] = Field(
        description="Names of the checkpoints of the living answer workers; else of this "
        "gateway's own settings."
    )
    demonstration: bool = Field(description="The embedded reader answers, and nothing better.")
    about: str = Field(description="What a demonstration can be asked; else empty.")
    styles: list[str] = Field(
        description="Presets that `style` takes beside `auto`; empty where this gateway has no "
        "renderer to ask."
    )


@router.get("/v1/reader", responses=responses(), summary="Which model answers here")
async def reader(context: InContext, tenant: TenantName) -> Reader:
    models = await threaded(models_of, context)
    demonstration = models == [EMBEDDED]
    return Reader(
        models=models,
        demonstration=demonstration,
        about=ABOUT_EMBEDDED if demonstration else "",
        styles=await threaded(_styles),
    )


def models_of(context: Context) -> list[str]:
    living = WorkerStore(context.broker, context.keys).living()
    announced = {info.model for info in living if info.kind == "answer" and info.model}
    return sorted(announced) or [PurePath(context.settings.model).name]


@cache
def _styles() -> list[str]:
    try:
        from glyph_worker.render.style.presets import PRESETS
    except ImportError:  # without the `render` extra
        return []
    return sorted(PRESETS)
