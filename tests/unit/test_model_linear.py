"""Matrices laid out for the CPU: rows are padded to few sizes, and nobody sees it."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from glyph_worker.model.linear import (
    PACKED_ROWS,
    PackedLinear,
    can_pack,
    most_packed_rows,
    rounded_rows,
)

if not can_pack(torch.device("cpu"), torch.float32):
    pytest.skip("this torch packs no matrices", allow_module_level=True)


def test_rows_are_rounded_to_few_sizes_and_by_an_eighth_at_most() -> None:
    sizes = {rounded_rows(number) for number in range(1, 1_025)}
    assert len(sizes) <= 72
    for number in range(1, 5_000):
        assert number <= rounded_rows(number) <= number * 9 / 8
        assert rounded_rows(rounded_rows(number)) == rounded_rows(number)


@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
@pytest.mark.parametrize("shape", [(1,), (17,), (3, 11), (2, 3, 41), (0,), (300,)])
def test_a_padded_product_is_the_plain_one(
    shape: tuple[int, ...], capability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(48, 32, generator=generator)
    bias = torch.randn(48, generator=generator)
    x = torch.randn(*shape, 32, generator=generator)
    for given in (bias, None):
        out = PackedLinear(weight, given)(x)
        assert out.shape == (*shape, 48)
        torch.testing.assert_close(out, functional.linear(x, weight, given), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("capability", "most"), [("AVX2", PACKED_ROWS), ("AVX512", 512)])
def test_only_rounded_numbers_of_rows_are_packed_and_few_where_vectors_are_narrow(
    capability: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    layer, seen = PackedLinear(torch.randn(48, 32)), set[int]()
    real = layer._multiply

    def multiply(x: torch.Tensor) -> torch.Tensor:
        seen.add(x.shape[:-1].numel())
        return real(x)

    monkeypatch.setattr(layer, "_multiply", multiply)
    for number in range(1, 513):
        layer(torch.zeros(number, 32))
    assert len(seen) <= 64
    assert max(seen) == most


def test_compiled_products_take_any_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert most_packed_rows() == PACKED_ROWS
    weight = torch.randn(48, 32)
    layer = PackedLinear(weight)
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="eager")
    for number in (3, 5, 300):
        x = torch.randn(number, 32)
        torch.testing.assert_close(compiled(x), functional.linear(x, weight), atol=1e-4, rtol=1e-4)
