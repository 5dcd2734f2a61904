"""The wire form: exact round trips, and nothing foreign passes."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glyph_worker.document import digest
from glyph_worker.features import wire
from glyph_worker.features.audit import drift, tolerance

NAME = digest("feature", "a page")
OTHER = digest("feature", "another page")
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
FORMS: list[wire.Form] = ["raw", "packed", "int8"]


def features(seed: int = 0, *, rows: int = 5, columns: int = 12, dtype: Any = torch.float32) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator).to(dtype)


def packed(form: wire.Form, tensor: Any, name: str = NAME) -> bytes:
    return b"".join(wire.encode(name, tensor, form))


def unpacked(raw: bytes, tensor: Any, name: str = NAME) -> Any:
    return wire.decode(name, raw, shape=tuple(tensor.shape), dtype=tensor.dtype)


def same_bits(a: Any, b: Any) -> bool:
    return (
        a.shape == b.shape
        and a.dtype == b.dtype
        and bool(torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8)))
    )


@given(
    rows=st.integers(0, 9),
    columns=st.integers(1, 40),
    seed=st.integers(0, 9),
    dtype=st.sampled_from(DTYPES),
    form=st.sampled_from(["raw", "packed"]),
)
def test_lossless_forms_give_back_every_bit(
    rows: int, columns: int, seed: int, dtype: Any, form: wire.Form
) -> None:
    tensor = features(seed, rows=rows, columns=columns, dtype=dtype)
    assert same_bits(unpacked(packed(form, tensor), tensor), tensor)


@pytest.mark.parametrize("form", ["raw", "packed"])
def test_infinity_nan_and_minus_zero_survive(form: wire.Form) -> None:
    tensor = torch.tensor([[float("inf"), float("nan"), -0.0, 1e-45]])
    assert same_bits(unpacked(packed(form, tensor), tensor), tensor)


@pytest.mark.parametrize("dtype", DTYPES)
def test_int8_is_what_rounding_gives(dtype: Any) -> None:
    tensor = features(dtype=dtype)
    tensor[0] = 0
    back = unpacked(packed("int8", tensor), tensor)
    assert same_bits(back, wire.rounded(tensor))
    assert float((back.float() - tensor.float()).abs().max()) <= float(tensor.abs().max()) / 100


def test_views_and_slices_are_packed_as_seen() -> None:
    tensor = features(rows=8)[::2, 1:7]
    assert same_bits(unpacked(packed("raw", tensor), tensor), tensor)


def test_the_raw_payload_is_not_copied() -> None:
    tensor = features(rows=64, columns=64)
    raw = packed("raw", tensor)
    back = unpacked(raw, tensor)
    start = torch.frombuffer(bytearray(raw), dtype=torch.uint8)  # only for its length
    inside = back.data_ptr() - _address(raw)
    assert 0 < inside < start.numel()
    assert inside % wire.ALIGNMENT == 0


def _address(raw: bytes) -> int:
    import numpy as np

    address: int = np.frombuffer(raw, dtype=np.uint8).__array_interface__["data"][0]
    return address


def test_the_tensor_keeps_its_bytes_alive() -> None:
    tensor = features(rows=256, columns=256)
    back = unpacked(packed("raw", tensor), tensor)
    rubbish = [bytes(300_000) for _ in range(50)]
    assert same_bits(back, tensor)
    assert rubbish


def test_bytes_at_any_address_decode() -> None:
    tensor = features()
    raw = packed("raw", tensor)
    for shift in range(1, 9):
        moved = memoryview(bytes(shift) + raw)[shift:]
        back = wire.decode(NAME, moved, shape=tuple(tensor.shape), dtype=tensor.dtype)
        assert same_bits(back, tensor)


def test_any_msgpack_reader_can_open_it() -> None:
    tensor = features()
    header, payload = msgpack.unpackb(packed("raw", tensor))
    assert header[1] == bytes.fromhex(NAME)
    assert header[2:5] == [[5, 12], "float32", "raw"]
    assert payload == tensor.numpy().tobytes()


@settings(max_examples=300)
@given(form=st.sampled_from(FORMS), data=st.data())
def test_any_flipped_bit_is_noticed_or_harmless(form: wire.Form, data: st.DataObject) -> None:
    tensor = features()
    raw = bytearray(packed(form, tensor))
    at = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[at // 8] ^= 1 << at % 8
    try:
        back = unpacked(bytes(raw), tensor)
    except wire.Damaged:
        return
    # Only the padding may change unseen.
    assert same_bits(back, unpacked(packed(form, tensor), tensor))


@given(form=st.sampled_from(FORMS), data=st.data())
def test_any_cut_is_noticed(form: wire.Form, data: st.DataObject) -> None:
    tensor = features()
    raw = packed(form, tensor)
    cut = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(wire.Damaged):
        unpacked(raw[:cut], tensor)
    with pytest.raises(wire.Damaged):
        unpacked(raw + b"x", tensor)


@given(st.binary(max_size=2000))
def test_garbage_is_damaged_and_nothing_else(raw: bytes) -> None:
    with pytest.raises(wire.Damaged):
        unpacked(raw, features())


@pytest.mark.parametrize("form", FORMS)
def test_anything_but_what_was_asked_for_is_damaged(form: wire.Form) -> None:
    tensor = features()
    raw = packed(form, tensor)
    wrong = {
        "digest": (OTHER, (5, 12), torch.float32),
        "shape": (NAME, (12, 5), torch.float32),
        "dtype": (NAME, (5, 12), torch.float16),
    }
    for check, (name, shape, dtype) in wrong.items():
        with pytest.raises(wire.Damaged) as caught:
            wire.decode(name, raw, shape=shape, dtype=dtype)
        assert caught.value.check == check


def test_a_forged_size_does_not_take_all_memory() -> None:
    import zlib

    import zstandard

    bomb = zstandard.ZstdCompressor().compress(bytes(50_000_000))
    payload = msgpack.packb([bomb] * 4)
    fields = [wire.WIRE_VERSION, bytes.fromhex(NAME), [5, 12], "float32", "packed"]
    header = msgpack.packb([*fields, zlib.crc32(payload), b""])
    raw = b"\x92" + header + b"\xc6" + len(payload).to_bytes(4, "big") + payload
    with pytest.raises(wire.Damaged) as caught:
        unpacked(raw, features())
    assert caught.value.check == "size"


@pytest.mark.parametrize("form", FORMS)
def test_records_of_several_tensors_come_back_and_are_read_only_as_such(form: wire.Form) -> None:
    tensor = features(3, rows=5, columns=48)
    tensor[:, 12:] *= 100  # deeper tensors have sizes of their own
    raw = b"".join(wire.encode(NAME, tensor, form, num_tensors=4))

    back = wire.decode(NAME, raw, shape=(5, 48), dtype=tensor.dtype, num_tensors=4)

    assert same_bits(back, wire.rounded(tensor, 4) if form == "int8" else tensor)
    assert (back - tensor)[:, :12].abs().max() < 0.03, "one size for all would drown the first"
    for num_tensors in (1, 2):
        with pytest.raises(wire.Damaged, match="shape"):
            wire.decode(NAME, raw, shape=(5, 48), dtype=tensor.dtype, num_tensors=num_tensors)
    single = packed(form, tensor)
    with pytest.raises(wire.Damaged, match="shape"):
        wire.decode(NAME, single, shape=(5, 48), dtype=tensor.dtype, num_tensors=4)


def test_a_record_of_one_tensor_is_what_earlier_releases_wrote() -> None:
    raw = packed("raw", features(1, rows=2, columns=3))
    assert digest("wire", raw.hex()) == (
        "70367bd2a5a2c9fb1c85b7c05e302297e95970fb08d57233368feea0102feb22"
    )


def test_roundings_of_nearly_equal_features_are_at_most_one_level_apart() -> None:
    """An audit would else call a page wrong that another micro-batch has encoded."""
    row = torch.tensor([127.0, 10.5, -3.5, 40.5])  # all but the first in the middle of a level
    nudge = torch.tensor([0.0, 1e-4, 1e-4, 1e-4])
    stored, fresh = wire.rounded((row + nudge)[None]), (row - nudge)[None]
    found = drift(wire.rounded(fresh), stored)
    assert found > tolerance(torch.float32)
    assert found <= tolerance(torch.float32) + wire.one_level(fresh)
    assert wire.one_level(fresh) < 0.02 < drift(fresh, fresh.roll(1, dims=1))
