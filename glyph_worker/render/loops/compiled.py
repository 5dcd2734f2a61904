"""The inner loops of drawing as numba compiles them. Imported by blit.fastest where there is numba.

The results are those of blit.NUMPY to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic


def _blend_black(num: int) -> Any:
    """A function (flat, to, coverage, at) for compiled code: flat[to : to + num] *= 1 -
    coverage[at : at + num] / 255, rounded down, `num` pixels at once."""

    def typed(_context: Any, flat: Any, to: Any, coverage: Any, at: Any) -> Any:
        return types.void(flat, types.uint64, coverage, types.uint64), generate

    def generate(context: Any, builder: Any, own: Any, values: Any) -> Any:
        page, pictures = (
            context.make_array(own.args[at])(context, builder, values[at]) for at in (0, 2)
        )
        narrow = ir.VectorType(ir.IntType(8), num)
        wide = ir.VectorType(ir.IntType(16), num)
        here, there = (
            builder.bitcast(builder.gep(array.data, [values[at]]), narrow.as_pointer())
            for array, at in ((page, 1), (pictures, 3))
        )
        pixels = builder.zext(builder.load(here, align=1), wide)
        left = builder.zext(builder.not_(builder.load(there, align=1)), wide)  # 255 - coverage
        product = builder.mul(pixels, left)
        one, bits = (ir.Constant(wide, [number] * num) for number in (1, 8))
        # n // 255 for every n up to 255 * 255: (n + 1 + n // 256) // 256.
        above = builder.add(builder.add(product, one), builder.lshr(product, bits))
        builder.store(builder.trunc(builder.lshr(above, bits), narrow), here, align=1)
        return context.get_dummy_value()

    return intrinsic(typed)


_blend_8, _blend_16 = _blend_black(8), _blend_black(16)


def blit_loop(
    flat: np.ndarray,
    height: int,
    width: int,
    pictures: np.ndarray,
    xs: np.ndarray,
    ys: np.ndarray,
    box: np.ndarray,
    coverage: np.ndarray,
    ink: int,
) -> None:
    """blit.blit_numpy."""
    for index in range(len(pictures)):
        picture = pictures[index]
        at = box[picture, 0]
        rows = box[picture, 1]
        columns = box[picture, 2]
        left = xs[index] + box[picture, 3]
        top = ys[index] + box[picture, 4]
        stride = (columns + 7) // 8 * 8
        inside = top >= 0 and left >= 0 and top + rows <= height and left + columns <= width
        if inside and ink == 0:
            # What lies behind the picture's own columns has no coverage and stays as it is.
            to = np.uint64(top * width + left)
            source = np.uint64(at)
            for _ in range(rows):
                if stride == 16:  # most ideographs: half the work
                    _blend_16(flat, to, coverage, source)
                else:
                    for step in range(np.uint64(0), np.uint64(stride), np.uint64(8)):
                        _blend_8(flat, to + step, coverage, source + step)
                to += np.uint64(width)
                source += np.uint64(stride)
        else:
            for row in range(max(0, -top), min(rows, height - top)):
                for column in range(max(0, -left), min(columns, width - left)):
                    a = np.uint32(coverage[at + row * stride + column])
                    if a:
                        to = np.uint64((top + row) * width + left + column)
                        dst = np.uint32(flat[to])
                        value = (np.uint32(255) - a) * dst + a * np.uint32(ink)
                        flat[to] = value // np.uint32(255)


def step_loop(
    codes: np.ndarray,
    slot_of: np.ndarray,
    advance: np.ndarray,
    counts: np.ndarray,
    spaces: np.ndarray,
    space: int,
) -> tuple[np.ndarray, np.ndarray]:
    """blit.step_numpy."""
    slots = np.empty(len(codes), np.int32)
    steps = np.empty(len(codes), np.float64)
    at = 0
    for line in range(len(counts)):
        wider = spaces[line]
        for _ in range(counts[line]):
            slot = slot_of[codes[at]]
            slots[at] = slot
            step = advance[max(slot, 0)]
            if slot == space:
                step += wider
            steps[at] = step
            at += 1
    return slots, steps


def place_loop(
    slots: np.ndarray,
    steps: np.ndarray,
    counts: np.ndarray,
    lefts: np.ndarray,
    rows: np.ndarray,
    scale: float,
    origin: float,
    phases: int,
    picture_of: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """blit.place_numpy."""
    num = len(steps)
    columns = np.empty(num, np.int32)
    keys = np.empty(num, np.int32)
    ys = np.empty(num, np.int32)
    pictures = np.empty(num, np.int32)
    at = 0
    for line in range(len(counts)):
        pen = lefts[line]
        row = rows[line]
        for _ in range(counts[line]):
            across = pen * scale
            across = across + origin
            column = np.floor(across)
            columns[at] = np.int32(column)
            phase = np.int32(np.floor((across - column) * 4.0)) if phases > 1 else np.int32(0)
            key = slots[at] * np.int32(4) + phase
            keys[at] = key
            pictures[at] = picture_of[key]
            ys[at] = row
            pen += steps[at]
            at += 1
    return pictures, columns, ys, keys


def last_column_loop(page: np.ndarray, level: int) -> int:
    """blit.last_column_numpy."""
    height, width = page.shape
    last = -1
    for row in range(height):
        column = width - 1
        while column > last and page[row, column] >= level:
            column -= 1
        last = max(last, column)
    return last
