"""Promises of reading arrays: what the library writes is read, and a header that lies is one clear error."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from poise.errors import BundleError
from poise.serve.tensors import MAX_HEADER_BYTES, read_tensors, write_tensors

KINDS = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")


def with_header(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """Bytes whose header is this."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (1, 2, 3, 2)])
def test_arrays_come_back_as_they_were(kind: str, shape: tuple[int, ...]) -> None:
    """Whatever the dtype and the shape, bit for bit, also as the library reads and writes them."""
    rng = np.random.default_rng(0)
    arrays = {"b": rng.integers(0, 2, shape).astype(kind), "a.c": np.arange(3, dtype="i4"), "é": np.zeros(1)}
    for content in (write_tensors(arrays), safetensors.numpy.save(arrays)):
        found = read_tensors(content)
        assert set(found) == set(arrays)
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype
            assert found[name].flags.writeable
            np.testing.assert_array_equal(found[name], array)
    expected = safetensors.numpy.load(write_tensors(arrays))
    np.testing.assert_array_equal(expected["b"], arrays["b"])


def test_the_same_arrays_give_the_same_bytes() -> None:
    """In whatever order they come, and however they lie in memory."""
    wide = np.arange(12.0).reshape(3, 4)
    first = write_tensors({"a": wide.T, "b": np.ones(2)})
    assert first == write_tensors({"b": np.ones(2), "a": np.ascontiguousarray(wide.T)})
    np.testing.assert_array_equal(read_tensors(first)["a"], wide.T)


GOOD = np.arange(2, dtype="f4").tobytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin with the length"),
        (b"\x02\0\0\0", "does not begin with the length"),
        (with_header(b"", b""), "does not begin with the length"),
        (with_header({"a": entry()}, GOOD, length=10_000), "does not begin with the length"),
        (with_header({"a": entry()}, GOOD, length=2**63), "does not begin with the length"),
        (with_header(b" " * (MAX_HEADER_BYTES + 1), b""), "does not begin with the length"),
        (with_header(b"{not json}"), "header cannot be read"),
        (with_header(b'{"a": NaN}'), "NaN is not a number"),
        (with_header(b'{"\xff": 1}'), "header cannot be read"),
        (with_header(b"[" * 5000), "header cannot be read"),
        (with_header([1, 2]), "header is a list"),
        (with_header(b'{"a": {"dtype": "F32"}, "a": {}}'), "a name stands twice"),
        (with_header({"a": 3}), "what cannot be"),
        (with_header({"a": {}}), "what cannot be"),
        (with_header({"a": {**entry(), "more": 1}}, GOOD), "what cannot be"),
        (with_header({"a" * 300: entry()}, GOOD), "what cannot be"),
        (with_header({"a\n": entry()}, GOOD), "what cannot be"),
        (with_header({"a": entry(dtype="BF16", data_offsets=[0, 4])}, GOOD), "dtype 'BF16', which no head has"),
        (with_header({"a": entry(dtype=["F32"])}, GOOD), "dtype"),
        (with_header({"a": entry(dtype="float32")}, GOOD), "dtype 'float32'"),
        (with_header({"a": entry(shape="2")}, GOOD), "what cannot be"),
        (with_header({"a": entry(shape=[-2])}, GOOD), "what cannot be"),
        (with_header({"a": entry(shape=[True, 2])}, GOOD), "what cannot be"),
        (with_header({"a": entry(shape=[2.0])}, GOOD), "what cannot be"),
        (with_header({"a": entry(shape=[2**62])}, GOOD), "what cannot be"),
        (with_header({"a": entry(shape=[1] * 9 + [2])}, GOOD), "what cannot be"),
        (with_header({"a": entry(shape=[2**40, 2**40, 0], data_offsets=[0, 0])}), "what cannot be"),
        (with_header({"a": entry(shape=[0, 2**47, 2**47], data_offsets=[0, 0])}), "what cannot be"),
        (with_header({"a": entry(shape=[2**32, 2**32, 2**2])}, GOOD), "what cannot be"),
        (with_header({"a": entry(shape=[3])}, GOOD), r"of the shape \[3\] takes 8 bytes"),
        (with_header({"a": entry(data_offsets=[8, 0])}, GOOD), "takes -8 bytes"),
        (with_header({"a": entry(data_offsets=[0, 8, 8])}, GOOD), "what cannot be"),
        (with_header({"a": entry(data_offsets=[-8, 0])}, GOOD), "what cannot be"),
        (with_header({"a": entry(data_offsets=[4, 12])}, GOOD + GOOD), "begins at 4, expected 0"),
        (with_header({"a": entry(), "b": entry(data_offsets=[4, 12])}, GOOD + GOOD), "begins at 4, expected 8"),
        (with_header({"a": entry(), "b": entry()}, GOOD), "begins at 0, expected 8"),
        (with_header({"a": entry()}, GOOD + b"more"), "arrays are 8 bytes, but 12 are there"),
        (with_header({"a": entry()}, GOOD[:-1]), "arrays are 8 bytes, but 7 are there"),
        (with_header({}, b"more"), "arrays are 0 bytes, but 4 are there"),
        (with_header({"a": entry()}, np.array([1, np.nan], "f4").tobytes()), "weights 'a' are not finite"),
        (with_header({"a": entry()}, np.array([1, -np.inf], "f4").tobytes()), "weights 'a' are not finite"),
    ],
)
def test_a_header_that_lies_is_refused(content: bytes, message: str) -> None:
    """Lengths, shapes, places, dtypes and doubles, and numbers that are none: one clear error each."""
    with pytest.raises(BundleError, match=message):
        read_tensors(content)


def test_remarks_are_passed_over() -> None:
    """Others write metadata into the header; it names no array."""
    arrays = {"a": np.arange(2, dtype="f4")}
    found = read_tensors(safetensors.numpy.save(arrays, metadata={"format": "np"}))
    np.testing.assert_array_equal(found["a"], arrays["a"])


def test_whatever_byte_is_changed_the_error_is_ours() -> None:
    """Flipped anywhere in the header: arrays as the library would read them, or an error of ours."""
    whole = write_tensors({"a": np.arange(6.0).reshape(2, 3), "b": np.arange(4)})
    length = int.from_bytes(whole[:8], "little")
    for place in range(8 + length):
        for flip in (0x01, 0x10, 0x80):
            changed = bytearray(whole)
            changed[place] ^= flip
            try:
                found = read_tensors(bytes(changed))
            except BundleError:
                continue
            expected = safetensors.numpy.load(bytes(changed))
            assert set(found) == set(expected)
            for name, array in expected.items():
                np.testing.assert_array_equal(found[name], array)


def test_a_claim_of_gigabytes_takes_no_memory() -> None:
    """Shapes are held against the bytes that are there before anything is made."""
    huge = with_header({"a": entry(shape=[2**31], data_offsets=[0, 2**33])}, GOOD)
    tracemalloc.start()
    with pytest.raises(BundleError, match="but 8 are there"):
        read_tensors(huge)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()
