"""Pages as bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glyph_worker.render.out.wire import WireError, pack_page, unpack_page


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_round_trip(height: int, width: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    again = unpack_page(pack_page(pixels))
    assert again.dtype == np.uint8
    assert np.array_equal(again, pixels)


def test_non_contiguous_pages_round_trip() -> None:
    pixels = np.arange(600, dtype=np.uint8).reshape(20, 30)[::2, ::3]
    assert np.array_equal(unpack_page(pack_page(pixels)), pixels)


def test_any_damage_is_noticed() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (28, 56), np.uint8)
    packed = pack_page(pixels)
    rng = np.random.default_rng(2)
    for _ in range(500):
        raw = bytearray(packed)
        raw[int(rng.integers(len(raw)))] ^= int(rng.integers(1, 256))
        with pytest.raises(WireError):
            unpack_page(bytes(raw))
    for end in (0, 5, 27, len(packed) - 1):
        with pytest.raises(WireError):
            unpack_page(packed[:end])


def test_a_page_in_colour_round_trips_and_a_gray_one_is_packed_as_before() -> None:
    colored = np.random.default_rng(1).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    packed = pack_page(colored)
    assert np.array_equal(unpack_page(packed), colored)
    assert packed[4] == 2
    assert pack_page(colored[..., 0])[4] == 1
    with pytest.raises(WireError):
        unpack_page(packed[:4] + b"\1" + packed[5:])


@pytest.mark.parametrize("shape", [(4,), (4, 4, 4), (4, 4, 1)])
def test_only_pages_are_packed(shape: tuple[int, ...]) -> None:
    with pytest.raises(WireError):
        pack_page(np.zeros(shape, np.uint8))
    with pytest.raises(WireError):
        pack_page(np.zeros((4, 4), np.float32))
