"""A worker's own network, joined to the servers by two links that can be cut. Linux, as root.

Two namespaces with a pair of virtual cables between them and no way to anywhere else: in one the
worker, in the other a relay for each server, which reaches it over its unix socket. A cut cable
drops packets without a word to either end, as a broken switch does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from glyph_worker.errors import ConfigurationError

RELAY = Path(__file__).with_name("relay.py")
PORT = 6379
SERVERS = ("broker", "cache")


def missing() -> str:
    """Why there can be no such network here; '' where there can."""
    if os.name != "posix" or shutil.which("ip") is None:
        return "there is no `ip`: apt-get install iproute2"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"glyph-{os.getpid()}-try"
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if done.returncode != 0:
        return f"network namespaces are not allowed here: {done.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return ""


class CutOff:
    """Use as a context. Addresses are of no network but this one."""

    def __init__(self, sockets: dict[str, Path]) -> None:
        """`sockets`: of broker and cache."""
        self._worker, self._hub = f"glyph-{os.getpid()}-w", f"glyph-{os.getpid()}-h"
        self._sockets = sockets
        self._relays: list[subprocess.Popen[bytes]] = []

    def open(self) -> None:
        for name in (self._worker, self._hub):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        for number, server in enumerate(SERVERS):
            near, far = f"g{os.getpid() % 100_000}{number}w", f"g{os.getpid() % 100_000}{number}h"
            _ip("link", "add", near, "netns", self._worker, "type", "veth",
                "peer", "name", far, "netns", self._hub)  # fmt: skip
            for space, device, host in ((self._worker, near, 2), (self._hub, far, 1)):
                _ip("-n", space, "addr", "add", f"10.77.{number}.{host}/30", "dev", device)
                _ip("-n", space, "link", "set", device, "up")
            command = ["ip", "netns", "exec", self._hub, sys.executable, str(RELAY),
                       f"10.77.{number}.1", str(PORT), str(self._sockets[server])]  # fmt: skip
            self._relays.append(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
        for relay in self._relays:
            assert relay.stdout is not None
            if relay.stdout.readline() != b"listens\n":
                raise ConfigurationError("a relay between two network namespaces does not start")

    def url(self, server: str) -> str:
        return f"redis://10.77.{SERVERS.index(server)}.1:{PORT}/0"

    @property
    def prefix(self) -> list[str]:
        """Put before a command to run it in the worker's namespace."""
        return ["ip", "netns", "exec", self._worker]

    def set(self, server: str, state: str) -> None:
        """`up` or `down`, at the worker's end."""
        number = SERVERS.index(server)
        _ip("-n", self._worker, "link", "set", f"g{os.getpid() % 100_000}{number}w", state)

    def close(self) -> None:
        for relay in self._relays:
            relay.kill()
            relay.wait()
            for pipe in (relay.stdin, relay.stdout):
                if pipe is not None:
                    pipe.close()
        for name in (self._worker, self._hub):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "del", name)


def _ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True, capture_output=True)
