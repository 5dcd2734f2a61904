"""A page's features as bytes and back. Checks everything; knows no store and no key.

One msgpack array of two: a header and the payload as `bin`. Any msgpack reader can open it; ours
reads the header only and takes the payload where it lies, without a copy. Header, in order:
version, digest of the features, shape, dtype, form, crc32 of the payload, padding (so that the
payload starts at a multiple of 64 bytes). Version 1 holds one tensor, shape [num_tokens, hidden];
version 2 several (deepstack), token by token beside each other: [num_tokens, num_tensors, hidden].
Forms:
  raw     the tensor's bytes, little endian
  packed  the same, split into byte planes, each with zstd (lossless)
  int8    per token and tensor a float32 scale, then int8 of the shape (lossy; see `rounded`)
"""

from __future__ import annotations

import sys
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import msgpack
import numpy as np
import torch
import zstandard

from glyph_worker.features.digest import MANY_TENSORS_VERSION, WIRE_VERSION

assert sys.byteorder == "little", "the wire form is little endian"

Form = Literal["raw", "packed", "int8"]
ALIGNMENT = 64
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class Damaged(ValueError):
    """Bytes that are not the features they were asked for, and which check said so."""

    def __init__(self, check: str, message: str) -> None:
        super().__init__(message)
        self.check = check


def encode(
    digest: str, features: torch.Tensor, form: Form, *, num_tensors: int = 1
) -> list[bytes | memoryview]:
    """The wire form of `[num_tokens, num_tensors * hidden]` on the CPU, as parts to be joined or
    sent in turn.

    The last part is a view of the tensor's own memory where the form allows.
    """
    flat = features.contiguous()
    if form == "int8":
        scale, levels = quantized(flat, num_tensors)
        payload = memoryview(scale.numpy().tobytes() + levels.numpy().tobytes())
    elif form == "packed":
        payload = memoryview(_pack(_as_bytes(flat), flat.element_size()))
    else:
        payload = memoryview(_as_bytes(flat).data)
    shape = list(_record_shape((flat.shape[0], flat.shape[1]), num_tensors))
    version = WIRE_VERSION if num_tensors == 1 else MANY_TENSORS_VERSION
    fields = [version, bytes.fromhex(digest), shape, _NAMES[flat.dtype], form]
    fields.append(zlib.crc32(payload))
    bin_head = b"\xc6" + payload.nbytes.to_bytes(4, "big")
    bare = len(msgpack.packb([*fields, b""])) + 1 + len(bin_head)
    padding = bytes(-bare % ALIGNMENT)
    head: bytes = b"\x92" + msgpack.packb([*fields, padding]) + bin_head
    assert len(head) % ALIGNMENT == 0
    return [head, payload]


def _record_shape(shape: tuple[int, int], num_tensors: int) -> tuple[int, ...]:
    num_tokens, width = shape
    return shape if num_tensors == 1 else (num_tokens, num_tensors, width // num_tensors)


def decode(
    digest: str,
    raw: bytes | memoryview,
    *,
    shape: tuple[int, int],
    dtype: torch.dtype,
    num_tensors: int = 1,
) -> torch.Tensor:
    """The features `digest` names, if `raw` holds exactly them, on the CPU.

    `shape` is [num_tokens, num_tensors * hidden].

    Form `raw` shares the memory of `raw`. Raises Damaged for anything else: another version,
    digest, shape or dtype, a flipped bit, a cut.
    """
    header = inspect(digest, raw)
    _expect("shape", header.shape, _record_shape(shape, num_tensors))
    _expect("dtype", header.dtype, _NAMES[dtype])
    form, payload = header.form, header.payload
    num_tokens, width = shape
    size = num_tokens * width * dtype.itemsize
    if form == "int8":
        num_scales = num_tokens * num_tensors
        _expect("size", payload.nbytes, num_scales * 4 + num_tokens * width)
        scale = _tensor(payload[: num_scales * 4], torch.float32, (num_tokens, num_tensors))
        levels = _tensor(payload[num_scales * 4 :], torch.int8, shape)
        return dequantized(scale, levels, dtype)
    if form == "packed":
        payload = memoryview(_unpack(payload, size, dtype.itemsize))
    _expect("size", payload.nbytes, size)
    return _tensor(payload, dtype, shape)


@dataclass(frozen=True, slots=True)
class Header:
    shape: tuple[int, ...]
    dtype: str
    form: Form
    payload: memoryview


def inspect(digest: str, raw: bytes | memoryview) -> Header:
    """What a value says of itself, once version, digest, size and checksum are found right.

    Raises Damaged.
    """
    view = memoryview(raw)
    try:
        unpacker = msgpack.Unpacker(max_buffer_size=1 << 16)
        unpacker.feed(view[:1024])
        _expect("layout", unpacker.read_array_header(), 2)
        fields: list[Any] = unpacker.unpack()
        at = unpacker.tell()
        version, found, found_shape, found_dtype, form, check, _ = fields
    except Damaged:
        raise
    except (msgpack.UnpackException, ValueError, TypeError) as exc:
        raise Damaged("layout", f"no feature header in {view.nbytes} bytes: {exc!r}") from exc
    several = isinstance(found_shape, list) and len(found_shape) == 3
    _expect("version", version, MANY_TENSORS_VERSION if several else WIRE_VERSION)
    _expect("digest", found, bytes.fromhex(digest))
    if form not in ("raw", "packed", "int8") or not isinstance(found_shape, list):
        raise Damaged("layout", f"unknown form {form!r}")
    _expect("layout", bytes(view[at : at + 1]), b"\xc6")
    _expect("size", view.nbytes - at - 5, int.from_bytes(view[at + 1 : at + 5], "big"))
    payload = view[at + 5 :]
    if zlib.crc32(payload) != check:
        raise Damaged("checksum", f"checksum of {payload.nbytes} bytes does not match")
    return Header(tuple(found_shape), found_dtype, form, payload)


def _expect(check: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise Damaged(check, f"{check} is {found!r}, expected {wanted!r}")


class _Memory:
    """Lets numpy take foreign read-only memory as it is; torch warns about read-only arrays.

    Nobody writes: features are shared between jobs and read only by contract.
    """

    def __init__(self, view: memoryview) -> None:
        array = np.frombuffer(view, dtype=np.uint8)
        address = array.__array_interface__["data"][0]
        self.keep = array
        self.__array_interface__ = {
            "shape": array.shape,
            "typestr": "|u1",
            "data": (address, False),
            "version": 3,
        }


def _tensor(view: memoryview, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    if view.nbytes == 0:
        return torch.empty(shape, dtype=dtype)
    flat = torch.from_numpy(np.asarray(_Memory(view)))
    if flat.data_ptr() % dtype.itemsize:  # bytes from elsewhere may start anywhere
        flat = flat.clone()
    return flat.view(dtype).view(shape)


def _as_bytes(features: torch.Tensor) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = features.view(torch.uint8).view(-1).numpy()
    return array


def _pack(flat: np.ndarray[Any, Any], itemsize: int) -> bytes:
    # Exponent bytes repeat, mantissa bytes are noise: apart, the former compress.
    packer = zstandard.ZstdCompressor(level=1)
    planes = [packer.compress(flat[i::itemsize].tobytes()) for i in range(itemsize)]
    packed: bytes = msgpack.packb(planes)
    return packed


def _unpack(payload: memoryview, size: int, itemsize: int) -> bytes:
    try:
        planes = msgpack.unpackb(payload, max_bin_len=len(payload))
        flat = np.empty((size // itemsize, itemsize), dtype=np.uint8)
        unpacker = zstandard.ZstdDecompressor()
        for i, plane in enumerate(planes):
            # A forged size would take all memory.
            _expect("size", zstandard.frame_content_size(plane), size // itemsize)
            flat[:, i] = np.frombuffer(unpacker.decompress(plane), dtype=np.uint8)
    except Damaged:
        raise
    except (msgpack.UnpackException, zstandard.ZstdError, ValueError, TypeError, IndexError) as exc:
        raise Damaged("packing", f"packed planes do not open: {exc!r}") from exc
    return flat.tobytes()


def quantized(features: torch.Tensor, num_tensors: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """`[num_tokens, num_tensors * hidden]` → scale float32[num_tokens, num_tensors] and int8 levels
    of the features' shape.

    Symmetric, by the largest magnitude of each token's tensors, whose sizes differ; not finite in,
    not finite out.
    """
    wide = features.float().reshape(
        features.shape[0], num_tensors, features.shape[1] // num_tensors
    )
    scale = wide.abs().amax(dim=-1, keepdim=True) / 127
    levels = torch.where(scale > 0, wide / scale, torch.zeros_like(wide))
    levels = levels.nan_to_num().round().clamp(-127, 127).to(torch.int8)
    return scale.squeeze(-1), levels.flatten(-2)


def dequantized(scale: torch.Tensor, levels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Features again, `[num_tokens, num_tensors * hidden]`."""
    num_tokens, num_tensors = scale.shape
    wide = levels.float().reshape(num_tokens, num_tensors, levels.shape[1] // num_tensors)
    return (wide * scale.unsqueeze(-1)).flatten(-2).to(dtype)


def rounded(features: torch.Tensor, num_tensors: int = 1) -> torch.Tensor:
    """Features as the int8 form gives them back, so that fresh ones equal cached ones."""
    return dequantized(*quantized(features, num_tensors), features.dtype)


def one_level(features: torch.Tensor, num_tensors: int = 1) -> float:
    """How far two roundings of nearly equal features may be apart, as `audit.drift` measures it:
    every number on the other side of a level's middle, in the worst token."""
    scale, levels = quantized(features, num_tensors)
    step = scale.float().square().sum(-1).mul(levels.shape[1] / num_tensors).sqrt()
    return float((step / features.float().norm(dim=-1).clamp_min(1e-12)).max())
