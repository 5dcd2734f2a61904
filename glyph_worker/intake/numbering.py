"""The numbers of a list's items, as HTML counts and writes them."""

from __future__ import annotations

from typing import Self

_ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"),
          (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))  # fmt: skip


class Numbering:
    """An `ol`: `start`, `reversed`, `type`, and an item's own `value`."""

    def __init__(self, *, start: int, step: int, shape: str) -> None:
        self._number = start
        self._step = step
        self._shape = shape

    @classmethod
    def of(cls, attributes: dict[str, str | None], *, num_items: int) -> Self:
        down = "reversed" in attributes
        start = _whole(attributes.get("start"), num_items if down else 1)
        return cls(start=start, step=-1 if down else 1, shape=attributes.get("type") or "1")

    def next(self, value: str | None) -> str:
        """The marker of the next item, e.g. `3. `; `value`: its own number, if it names one."""
        number = self._number = _whole(value, self._number)
        self._number += self._step
        return f"{_written(number, self._shape)}. "


def _whole(text: str | None, default: int) -> int:
    try:
        return int(text) if text is not None and len(text) <= 9 else default
    except ValueError:
        return default


def _written(number: int, shape: str) -> str:
    if shape in ("a", "A") and number > 0:
        letters = ""
        while number:
            number, rest = divmod(number - 1, 26)
            letters = chr(ord(shape) + rest) + letters
        return letters
    if shape in ("i", "I") and 0 < number < 4000:
        roman = ""
        for worth, letter in _ROMAN:
            while number >= worth:
                roman += letter
                number -= worth
        return roman.upper() if shape == "I" else roman
    return str(number)
