"""GET /v1/reader: which model answers here, what it can be asked and how much, how pages can be
drawn.
"""

from __future__ import annotations

from functools import cache
from pathlib import PurePath

from fastapi import APIRouter
from pydantic import BaseModel, Field

from glyph_worker.gateway.deps import Context, InContext, TenantName
from glyph_worker.gateway.problems import responses
from glyph_worker.gateway.threads import threaded
from glyph_worker.settings import Settings
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


class Limits(BaseModel):
    """What a job may ask for here, of this gateway's settings."""

    max_document_bytes: int = Field(description="Largest document as text, UTF-8 bytes.")
    max_body_bytes: int = Field(description="Largest request, and so the largest file.")
    max_pages: int = Field(description="Most pages that a document may lay out to.")
    max_questions: int = Field(description="Most questions of one request.")
    max_question_chars: int = Field(description="Longest question, characters.")
    max_new_tokens: int = Field(description="Longest answer, tokens.")

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        limits = settings.limits
        return cls(
            max_document_bytes=limits.max_document_bytes,
            max_body_bytes=settings.gateway.max_body_bytes,
            max_pages=limits.max_pages,
            max_questions=settings.gateway.max_questions,
            max_question_chars=limits.max_question_chars,
            max_new_tokens=limits.max_new_tokens,
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
    style_sizes: dict[str, str] = Field(
        description="Of each style the size of its letters and of its pages, in words."
    )
    limits: Limits


@router.get("/v1/reader", responses=responses(), summary="Which model answers here")
async def reader(context: InContext, tenant: TenantName) -> Reader:
    models = await threaded(models_of, context)
    demonstration = models == [EMBEDDED]
    sizes = await threaded(_style_sizes)
    return Reader(
        models=models,
        demonstration=demonstration,
        about=ABOUT_EMBEDDED if demonstration else "",
        styles=sorted(sizes),
        style_sizes=sizes,
        limits=Limits.of(context.settings),
    )


def models_of(context: Context) -> list[str]:
    living = WorkerStore(context.broker, context.keys).living()
    announced = {info.model for info in living if info.kind == "answer" and info.model}
    return sorted(announced) or [PurePath(context.settings.model).name]


@cache
def _style_sizes() -> dict[str, str]:
    try:
        from glyph_worker.render.style.presets import PRESETS
    except ImportError:  # without the `render` extra
        return {}
    return {
        name: f"{style.font_size:g} pt at {style.dpi:g} dpi, pages of "
        + " × ".join(str(round(length * style.dpi / 72)) for length in style.page_size)
        + " px"
        for name, style in PRESETS.items()
    }
