"""The header of a safetensors file, against files that the library itself wrote and files that nobody should write."""

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from train.model.safetensors_header import HeaderError, WeightHeader, read_header


def read(content: bytes) -> WeightHeader:
    return read_header(lambda limit: content[:limit], len(content))


def with_header(document: object, body: bytes = b"") -> bytes:
    text = json.dumps(document).encode()
    return len(text).to_bytes(8, "little") + text + body


def test_what_the_library_writes():
    tensors = {"a": np.zeros((3, 5), np.float16), "b": np.zeros((), np.float32), "empty": np.zeros((0, 4), np.int8)}
    header = read(save(tensors, {"format": "pt"}))
    assert header.shapes == {"a": (3, 5), "b": (), "empty": (0, 4)}
    assert header.num_parameters == 16


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        b"\x02" + bytes(7),
        with_header([]),
        with_header({"a": 1}),
        with_header({"a": {"shape": [1], "data_offsets": [0]}}, bytes(4)),
        with_header({"a": {"shape": [float("inf")], "data_offsets": [0, 4]}}, bytes(4)),
        with_header({"a": {"shape": [-1], "data_offsets": [0, 4]}}, bytes(4)),
        with_header({"a": {"shape": [10**300], "data_offsets": [0, 4]}}, bytes(4)),
        b"\x10" + bytes(7) + b"[" * 16,
    ],
)
def test_no_header(content):
    with pytest.raises(HeaderError, match="cannot be read"):
        read(content)


@pytest.mark.parametrize("change", [-1, 1])
def test_another_length_than_the_header_says(change):
    content = save({"a": np.zeros((3, 5), np.float32)})
    changed = content[:-1] if change < 0 else content + b"x"
    with pytest.raises(HeaderError, match="should have"):
        read(changed)


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["a", "shape", "data_offsets", "dtype"]), inner, max_size=4)
        ),
    ).map(with_header)
)
def test_any_bytes_are_read_or_refused(content):
    with suppress(HeaderError):
        assert read(content).num_parameters >= 0
