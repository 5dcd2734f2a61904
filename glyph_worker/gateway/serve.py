"""Runs the gateway with uvicorn until SIGTERM, then lets requests end. Also `python -m`."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial

import structlog
import uvicorn

from glyph_worker.errors import GlyphError, InvalidSetting
from glyph_worker.gateway.app import create_app
from glyph_worker.gateway.broker_watch import BrokerWatch
from glyph_worker.gateway.connection import Connection
from glyph_worker.gateway.connections import ACCEPT_AT_ONCE, Connections, room_for
from glyph_worker.gateway.tenants import Tenants, is_loopback
from glyph_worker.setting_sections import GatewaySettings
from glyph_worker.settings import Settings
from glyph_worker.telemetry import configure_logging

log = structlog.get_logger(__name__)

BACKLOG = 2_048
"""Connections the system holds until they are accepted."""


def serve(settings: Settings) -> None:
    """Blocks. Raises InvalidSetting for an address that is taken, or open to strangers, and
    StoreDenied or StoreUnsuitable when the broker refuses us, now or later."""
    gateway = settings.gateway
    if Tenants(gateway).open and not gateway.open and not is_loopback(gateway.host):
        raise InvalidSetting(
            f"the gateway would listen on {gateway.host} and ask nobody for a key; set "
            "GLYPH_GATEWAY_API_KEYS=tenant:key, or GLYPH_GATEWAY_OPEN=true behind a proxy that asks"
        )
    app = create_app(settings)
    listener = listen(gateway)
    port = listener.getsockname()[1]
    connections = Connections(
        max_open=room_for(gateway.max_connections), patience_s=gateway.request_timeout_s
    )
    config = uvicorn.Config(
        app,
        http=partial(Connection, all_open=connections),  # type: ignore[arg-type]
        ws="none",
        backlog=ACCEPT_AT_ONCE,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, int(gateway.drain_s)),
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=64 * 1024,
    )
    server = _Server(config, connections, app.state.context.watcher.close)
    # uvicorn raises the signal that ended it again when all is closed: an orderly end is code 0.
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: None)
    watch = BrokerWatch(app.state.context.url, lambda: os.kill(os.getpid(), signal.SIGTERM))
    watch.start()
    log.info("gateway.listening", url=f"http://{gateway.host}:{port}", pid=os.getpid())
    server.run(sockets=[listener])
    watch.stop()
    if watch.refused is not None:
        raise watch.refused


def listen(gateway: GatewaySettings) -> socket.socket:
    """Raises InvalidSetting for an address that is taken."""
    family = socket.AF_INET6 if ":" in gateway.host else socket.AF_INET
    # The protocol by name: asyncio sends small packets at once (TCP_NODELAY) only where it stands,
    # and without that an answer's last packet waits 40 ms for the client's delayed ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((gateway.host, gateway.port))
    except OSError as exc:
        listener.close()
        raise InvalidSetting(
            f"cannot listen on {gateway.host}:{gateway.port}: {exc.strerror}; "
            "set GLYPH_GATEWAY_PORT to another port, or 0 for a free one"
        ) from exc
    return listener


class _Server(uvicorn.Server):
    """Ends long polls and streams as soon as it is told to stop: they would outlast the grace."""

    def __init__(
        self, config: uvicorn.Config, connections: Connections, on_stop: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._connections = connections
        self._on_stop = on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # asyncio gives the system the number it accepts at once, and a burst is larger than that.
        for listener in sockets or ():
            listener.listen(BACKLOG)

    async def on_tick(self, counter: int) -> bool:
        self._connections.sweep()
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: object) -> None:
        super().handle_exit(sig, frame)  # type: ignore[arg-type]
        self._on_stop()


def main() -> None:
    settings = Settings.load()
    configure_logging(settings.log_level)
    try:
        serve(settings)
    except GlyphError as exc:
        print(f"error[{exc.code}]: {exc}", file=sys.stderr)
        raise SystemExit(exc.exit_code) from None


if __name__ == "__main__":
    main()
