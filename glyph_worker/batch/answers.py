"""The target of a batch: JSON lines of answers, appended as they come, resumed after a crash."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from glyph_worker.errors import InvalidOption

_START = b'{"id": '


class AnswersFile:
    """One row per line of the source, the newest; rows that hold an error are asked again.

    Opening changes nothing unless every row is one of ours: a file that is something else is
    refused and stays as it is. Only a last row that a crash has cut off may be broken.
    """

    def __init__(self, path: Path, file: IO[str], contents: dict[str, str | None]) -> None:
        self.path = path
        self._file = file
        self._contents = contents
        self._superseded = False
        self.num_failed = 0

    @classmethod
    def open(cls, path: Path, *, source: Path) -> Self:
        """Raises InvalidOption for a target that is the source, is no answers, or that cannot be
        written."""
        try:
            if path.exists() and source.exists() and path.samefile(source):
                raise InvalidOption(f"{path} is source and target; name another file for answers")
            contents = _compact(path, keep_errors=False) if path.exists() else {}
            return cls(path, path.open("a", encoding="utf-8"), contents)
        except OSError as exc:
            raise InvalidOption(f"{path} cannot be written: {exc.strerror}") from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        self._file.close()
        if self._superseded and exc is None:
            _compact(self.path, keep_errors=True)

    @property
    def num_answered(self) -> int:
        return len(self._contents)

    def has(self, line_id: str, content: str) -> bool:
        """Whether this very line is answered; an answer to an earlier content is let go."""
        if line_id not in self._contents:
            return False
        # Rows of a version that did not write it down count as this line's.
        if self._contents[line_id] in (None, content):
            return True
        del self._contents[line_id]
        self._superseded = True
        return False

    def write(self, line_id: str | None, fields: dict[str, Any], *, ok: bool) -> None:
        """One row, at once. Raises InvalidOption where the disk takes no more."""
        try:
            self._file.write(json.dumps({"id": line_id, **fields}, ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError as exc:
            raise InvalidOption(f"{self.path} cannot be written: {exc.strerror}") from exc
        if ok and line_id is not None:
            self._contents[line_id] = fields.get("content")
        else:
            self.num_failed += 1


def _compact(path: Path, *, keep_errors: bool) -> dict[str, str | None]:
    """Drop what is cut off and what a later row takes the place of. Returns what names the content
    of each answered line (None: not known) by its id.

    Raises InvalidOption, naming the row that is none of ours, and then has changed nothing.
    """
    newest: dict[str, tuple[int, bool, str | None]] = {}
    nameless, num_rows, whole = [], 0, True
    with path.open("rb") as rows:
        for number, raw in enumerate(rows, start=1):
            if not raw.endswith(b"\n") and (raw.startswith(_START) or _START.startswith(raw)):
                whole = False  # cut off by a crash: it is asked again
                break
            fields = _fields(raw, number, path)
            num_rows = number
            if fields["id"] is None:
                nameless.append(number)
            else:
                newest[fields["id"]] = number, "error" not in fields, fields.get("content")
    kept = {number for number, ok, _ in newest.values() if ok or keep_errors}
    kept.update(nameless if keep_errors else ())
    if not whole or len(kept) < num_rows:
        _copy(path, kept)
    return {line_id: content for line_id, (_, ok, content) in newest.items() if ok}


def _fields(raw: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or not _is_answer(fields):
        raise InvalidOption(
            f"line {number} of {path} is no answer of a batch; the file is left as it is: "
            "name a new one, or one that a batch has written",
            line=number,
        )
    return fields


def _is_answer(fields: dict[str, Any]) -> bool:
    named = isinstance(fields.get("id"), str)
    if "error" in fields:
        return named or ("id" in fields and fields["id"] is None)
    return named and "text" in fields


def _copy(path: Path, kept: Collection[int]) -> None:
    """In one step: whoever reads the file meanwhile, and a crash, see the old or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with path.open("rb") as rows, beside.open("wb") as file:
        file.writelines(raw for number, raw in enumerate(rows, start=1) if number in kept)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
