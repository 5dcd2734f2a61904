"""Blocking calls beside the event loop."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


async def threaded(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run a blocking call of the one synchronous core beside the event loop."""
    return await _started(call, *args, **kwargs)


async def threaded_whole(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """As `threaded`; the call is made also where whoever awaits it is cancelled before a thread is
    free, as a stream's own cleaning up is when its reader hangs up."""
    return await asyncio.shield(_started(call, *args, **kwargs))


def _started(call: Callable[..., T], *args: Any, **kwargs: Any) -> asyncio.Future[T]:
    # With the request's context, so that what it calls knows the request's span.
    run = partial(contextvars.copy_context().run, call, *args, **kwargs)
    return asyncio.get_running_loop().run_in_executor(None, run)
