"""Sockets of the test process that nobody closed, said with the place that made them."""

from __future__ import annotations

import socket
import sys
import warnings
from types import FrameType
from typing import Any

DEPTH = 30
SELF_CLOSING = "/redis/connection.py"
"""redis-py's connections close when they are collected. In a circle of garbage a socket may be
finalised before the connection that would close it."""
_places: dict[int, str] = {}
"""By the socket's id: weak references are gone before a finaliser runs."""


def watch() -> None:
    """From here on; sockets are few, so that noting where each is made costs nothing."""
    make = socket.socket.__init__

    def noted(self: socket.socket, *args: Any, **options: Any) -> None:
        make(self, *args, **options)
        _places[id(self)] = _place(sys._getframe(1))

    socket.socket.__init__ = noted  # type: ignore[method-assign]
    socket.socket.__del__ = _say  # type: ignore[attr-defined]


def _say(self: socket.socket) -> None:
    place = _places.pop(id(self), "a place unknown")
    if self.fileno() != -1:
        if SELF_CLOSING not in place:
            warnings.warn(
                f"unclosed {self!r}, made at {place}", ResourceWarning, stacklevel=2, source=self
            )
        self.close()


def _place(frame: FrameType | None) -> str:
    lines = []
    while frame is not None and len(lines) < DEPTH:
        lines.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(lines)
