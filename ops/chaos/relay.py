"""A relay from a TCP address to a unix socket, in a network namespace of its own. No dependencies.

Says `listens` when it does.

Usage: relay.py ADDRESS PORT SOCKET
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while raw := await source.read(1 << 16):
            target.write(raw)
            await target.drain()
    target.close()


def _end_with_starter() -> None:
    """However it ends: then nobody holds the other end of standard input."""
    while os.read(0, 1024):
        pass
    os._exit(0)


async def _serve(address: str, port: int, path: str) -> None:
    async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(path)
        except OSError:
            writer.close()  # refused there is refused here
            return
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))

    server = await asyncio.start_server(joined, address, port)
    print("listens", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    threading.Thread(target=_end_with_starter, daemon=True).start()
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
