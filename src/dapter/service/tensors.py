"""Tensors as the raw bytes of the Open Inference Protocol: little endian, row-major, BYTES by their lengths."""

import math
import struct

import numpy as np

from dapter.errors import WireError

BYTES = "BYTES"
TYPES = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""The protocol's names of the numeric types."""


def datatype(data: np.ndarray) -> str:
    """The protocol's name of an array's type.

    Raises:
        WireError: the protocol has no such type.
    """
    if data.dtype == object:
        return BYTES
    for name, dtype in TYPES.items():
        if data.dtype == dtype:
            return name
    raise WireError(f"the protocol has no type for {data.dtype}. Cure: one of {', '.join([*TYPES, BYTES])}")


def pack(data: np.ndarray) -> bytes:
    """An array's raw bytes.

    Args:
        data: of a type in TYPES, or of objects that are bytes.
    """
    if datatype(data) == BYTES:
        return b"".join(struct.pack("<I", len(value)) + value for value in data.ravel())
    return np.ascontiguousarray(data, TYPES[datatype(data)]).tobytes()


def unpack(kind: str, shape: tuple[int, ...], raw: bytes | memoryview) -> np.ndarray:
    """What `pack` wrote; read-only for numeric types, which are not copied.

    Raises:
        WireError: an unknown type, or more or fewer bytes than the shape needs.
    """
    count = math.prod(shape)
    if kind == BYTES:
        return _unpack_bytes(count, memoryview(raw)).reshape(shape)
    if kind not in TYPES:
        raise WireError(f"there is no datatype {kind!r}. Cure: one of {', '.join([*TYPES, BYTES])}")
    if len(raw) != count * TYPES[kind].itemsize:
        raise WireError(f"{len(raw)} bytes are no {kind} tensor of shape {list(shape)}. Cure: check its shape")
    if kind == "BOOL" and len(raw) and max(raw) > 1:
        raise WireError("a byte of a BOOL tensor is neither 0 nor 1. Cure: send one byte for each value")
    return np.frombuffer(raw, TYPES[kind]).reshape(shape)


def _unpack_bytes(count: int, raw: memoryview) -> np.ndarray:
    values: list[bytes] = []
    start = 0
    while start < len(raw):
        end = start + 4 + (struct.unpack_from("<I", raw, start)[0] if len(raw) - start >= 4 else len(raw))
        if end > len(raw) or len(values) == count:
            raise WireError(f"the bytes do not hold {count} values. Cure: 4 bytes of length before each value")
        values.append(bytes(raw[start + 4 : end]))
        start = end
    if len(values) != count:
        raise WireError(f"the bytes hold {len(values)} values instead of {count}. Cure: check the tensor's shape")
    found = np.empty(count, object)
    found[:] = values
    return found
