"""What the routes share: settings, a client per tenant, the watcher. One per gateway process."""

from __future__ import annotations

import asyncio
import contextvars
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from glyph_worker.client import Client
from glyph_worker.gateway.files import FileIntake
from glyph_worker.gateway.tenants import Tenants
from glyph_worker.gateway.watcher import Watcher
from glyph_worker.settings import Settings
from glyph_worker.store.connection import connect
from glyph_worker.store.keys import Keys
from glyph_worker.traces import Traces

T = TypeVar("T")

MAX_CLIENTS = 1_000


class Context:
    """Raises StoreUnavailable when the settings name no broker."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tenants = Tenants(settings.gateway)
        self._clients: OrderedDict[str, Client] = OrderedDict()
        self.client("default")  # settings without a broker end here
        assert settings.broker_url is not None
        self.url = settings.broker_url.get_secret_value()
        self.keys = Keys(settings.key_prefix)
        self.broker = connect(self.url)
        self.watcher = Watcher(self.broker, self.keys, url=self.url)
        self.num_streams = 0
        self.traces = Traces(settings.trace_endpoint, service="glyph-gateway")
        self.files = FileIntake(settings)
        # Here and not above: they know the context.
        from glyph_worker.gateway.metrics import GatewayMetrics
        from glyph_worker.gateway.page_images import PageDrawer
        from glyph_worker.gateway.webhooks import Deliverer, Signer

        self.drawer = PageDrawer(self)
        self.signer = Signer(settings.gateway)
        self.deliverer = Deliverer(self, self.signer)
        self.metrics = GatewayMetrics(self)

    def client(self, tenant: str) -> Client:
        """The tenant's own client: to it, other tenants' jobs are unknown."""
        if tenant not in self._clients:
            self._clients[tenant] = Client(self.settings, tenant=tenant)
            if len(self._clients) > MAX_CLIENTS:
                self._clients.popitem(last=False)
        return self._clients[tenant]


# Async though they wait for nothing: FastAPI would send a plain function to a thread, once each.
async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


async def _tenant(request: Request) -> str:
    context: Context = request.app.state.context
    return context.tenants.tenant_of(request)


async def _client(request: Request) -> Client:
    context: Context = request.app.state.context
    return context.client(context.tenants.tenant_of(request))


InContext = Annotated[Context, Depends(_context)]
TenantName = Annotated[str, Depends(_tenant)]
TenantClient = Annotated[Client, Depends(_client)]
"""The client of whoever holds the API key; raises KeyMissing before the body is read."""


async def threaded(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run a blocking call of the one synchronous core beside the event loop."""
    # With the request's context, so that what it calls knows the request's span.
    run = partial(contextvars.copy_context().run, call, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(None, run)
