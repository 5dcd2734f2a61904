"""GET /v1/version: which release answers, so that a client need not guess."""

from __future__ import annotations

import platform

from fastapi import APIRouter
from pydantic import BaseModel

from glyph_worker import __version__
from glyph_worker.gateway.deps import TenantName
from glyph_worker.gateway.problems import responses

router = APIRouter(tags=["operations"])


class VersionView(BaseModel):
    version: str
    python: str


@router.get("/v1/version", responses=responses(), summary="Which release answers")
async def version_view(tenant: TenantName) -> VersionView:
    return VersionView(version=__version__, python=platform.python_version())
