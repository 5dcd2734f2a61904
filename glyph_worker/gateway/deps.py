"""What the routes share, put together once per gateway process; knows no route."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated

from fastapi import Depends, Request

from glyph_worker.client import Client
from glyph_worker.gateway.address import Resolver
from glyph_worker.gateway.collectors import GatewayMetrics
from glyph_worker.gateway.deliverer import Deliverer
from glyph_worker.gateway.drawer import PageDrawer
from glyph_worker.gateway.fetcher import Fetcher
from glyph_worker.gateway.files import FileIntake
from glyph_worker.gateway.signer import Signer
from glyph_worker.gateway.tenants import DEFAULT_TENANT, Tenants
from glyph_worker.settings import Settings
from glyph_worker.store.batches import BatchStore
from glyph_worker.store.connection import connect
from glyph_worker.store.keys import Keys
from glyph_worker.store.uploads import UploadStore
from glyph_worker.store.watcher import Watcher
from glyph_worker.store.webhooks import WebhookStore
from glyph_worker.traces import Traces

MAX_CLIENTS = 1_000
LINGER_S = 5.0


class Context:
    """Raises StoreUnavailable when the settings name no broker."""

    def __init__(self, settings: Settings) -> None:
        gateway = settings.gateway
        self.settings = settings
        self.tenants = Tenants(gateway)
        self._default = Client(settings, tenant=DEFAULT_TENANT)  # without a broker it ends here
        self._clients: OrderedDict[str, Client] = OrderedDict()
        assert settings.broker_url is not None
        self.url = url = settings.broker_url.get_secret_value()
        self.keys = Keys(settings.key_prefix)
        self.broker = connect(url)
        self.watcher = Watcher(self.broker, self.keys, linger_s=LINGER_S)
        self.num_streams = 0
        self.uploads = UploadStore(self.broker, self.keys)
        self.batches = BatchStore(self.broker, self.keys)
        self.models_heard: tuple[float, list[str]] = (float("-inf"), [])
        """When the workers were last asked which models answer, and what they said."""
        self.traces = Traces(settings.trace_endpoint, service="glyph-gateway")
        self.files = FileIntake(settings)
        self.drawer = PageDrawer(settings, self.broker, self.keys)
        self.signer = Signer(gateway)
        self.resolver = Resolver(private=gateway.webhook_private)
        # Never inwards, whatever webhooks may: who submits names it, and reads what is there.
        self.fetcher = Fetcher(gateway, Resolver(private=False, what="document_url"))
        self.webhooks = WebhookStore(self.broker, self.keys, ttl_s=settings.queue.job_ttl_s)
        self.deliverer = Deliverer(
            gateway, store=self.webhooks, client_of=self.client, resolver=self.resolver,
            signer=self.signer,
        )  # fmt: skip
        self.metrics = GatewayMetrics(
            self.broker, self.keys, num_streams=lambda: self.num_streams,
            webhook_outcomes=self.deliverer.outcomes,
        )  # fmt: skip

    def client(self, tenant: str) -> Client:
        """The tenant's own client: to it, other tenants' jobs are unknown."""
        if tenant not in self._clients:
            self._clients[tenant] = self._default.for_tenant(tenant)
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
