"""The rest of OpenAI's paths, refused by name: a client learns that it is not a typing error."""

from __future__ import annotations

from fastapi import APIRouter, Request

from glyph_worker.errors import RequestError
from glyph_worker.gateway.deps import TenantName
from glyph_worker.gateway.openai.errors import ROOTS

router = APIRouter(include_in_schema=False)

SUPPORTED = ("/v1/chat", "/v1/responses", "/v1/models", "/v1/files", "/v1/batches")
METHODS = ["GET", "POST", "DELETE"]


class Unsupported(RequestError):
    code = "unsupported_endpoint"
    http_status = 404


async def refuse(request: Request, tenant: TenantName) -> None:
    """Raises Unsupported."""
    raise Unsupported(
        f"{request.method} {request.url.path[:80]} is not supported here; of OpenAI's API there "
        f"are {', '.join(SUPPORTED)}, and everything else is under /v1/jobs"
    )


for root in ROOTS:
    if root not in SUPPORTED:
        for path in (root, root + "/{rest:path}"):
            router.add_api_route(path, refuse, methods=METHODS)
for path in (
    "/v1/responses/{id}/input_items",
    "/v1/responses/compact",
    "/v1/chat/completions/{id}",
):
    router.add_api_route(path, refuse, methods=METHODS)
router.add_api_route("/v1/responses/{id}", refuse, methods=["DELETE"])
router.add_api_route("/v1/responses", refuse, methods=["GET"])
router.add_api_route("/v1/chat/completions", refuse, methods=["GET"])
