"""Envelopes."""

from __future__ import annotations

import pickle

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glyph_worker import codec
from glyph_worker.codec import UnreadableEnvelope

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), values))
def test_an_envelope_gives_back_its_fields(fields: dict) -> None:
    assert codec.unpack("thing", codec.pack("thing", fields)) == fields


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reader(raw: bytes) -> None:
    with pytest.raises(UnreadableEnvelope):
        codec.unpack("thing", raw)


def test_an_envelope_of_another_kind_is_refused() -> None:
    with pytest.raises(UnreadableEnvelope, match="expected a letter envelope, found 'parcel'"):
        codec.unpack("letter", codec.pack("parcel", {}))


def test_an_envelope_from_tomorrow_names_both_versions() -> None:
    raw = msgpack.packb([codec.VERSION + 1, "thing", {}])
    with pytest.raises(UnreadableEnvelope, match=r"version 2, this process reads up to 1"):
        codec.unpack("thing", raw)


def test_a_pickle_is_refused_and_harmless() -> None:
    with pytest.raises(UnreadableEnvelope):
        codec.unpack("thing", pickle.dumps({"a": 1}))
