"""The JSON of the Open Inference Protocol: one object, its fields by their types, tensors that it holds as values.

Every reader raises a WireError where it finds something else.
"""

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dapter.errors import WireError
from dapter.service.tensors import BYTES, TYPES

MAX_RANK = 8
MAX_VALUES = 2**40


def read_json(body: bytes) -> dict[str, Any]:
    """The JSON object that a body is.

    Raises:
        WireError: it is something else.
    """
    try:
        record = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise WireError(f"the body is not JSON ({reason}). Cure: send the JSON of the protocol") from None
    if not isinstance(record, dict):
        raise WireError("the body is no JSON object. Cure: send the JSON of the protocol")
    return record


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def read_values(entry: Mapping[str, Any], kind: str, shape: tuple[int, ...], parameters: dict[str, Any]) -> np.ndarray:
    """The values that the JSON holds: nested, or flat in row-major order."""
    name, values = entry["name"], entry.get("data")
    if not isinstance(values, list):
        raise WireError(f"{name!r} has no data. Cure: send `data`, or binary_data_size and the bytes after the JSON")
    if kind == BYTES:
        flat = _flat(values)
        if not all(isinstance(value, str) for value in flat) or len(flat) != math.prod(shape):
            raise WireError(f"{name!r} does not hold {math.prod(shape)} strings. Cure: check its shape")
        is_base64 = parameters.pop("content_type", None) == "base64"
        found = np.empty(len(flat), object)
        found[:] = [_from_base64(value) if is_base64 else value.encode(errors="surrogatepass") for value in flat]
        return found.reshape(shape)
    data = _numbers(values)
    wanted: np.dtype[Any] = TYPES[kind]
    kinds = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}[wanted.kind]
    if data.size != math.prod(shape) or (data.size and data.dtype.kind not in kinds):
        raise WireError(f"{name!r} does not hold {math.prod(shape)} values of {kind}. Cure: check shape and values")
    if data.size and wanted.kind != "b":
        limits: Any = np.finfo(wanted) if wanted.kind == "f" else np.iinfo(wanted)
        if data.min() < limits.min or data.max() > limits.max:
            raise WireError(f"{name!r} holds values that {kind} has not. Cure: check its values")
    return data.astype(wanted).reshape(shape)


def _numbers(values: list[Any]) -> np.ndarray:
    """Values as an array of the type that numpy finds; an object if there is none."""
    try:
        data = np.array(values)
        if data.dtype.kind == "f":  # numpy's choice for integers, where some are above 2^63 and some are not
            exact = np.array(values, object)
            if all(type(value) is int and 0 <= value < 2**64 for value in exact.ravel()):
                return exact.astype(np.uint64)
    except (ValueError, OverflowError, RecursionError):
        return np.array(None)
    return data


def _flat(values: list[Any]) -> list[Any]:
    while values and all(isinstance(value, list) for value in values):
        values = [inner for value in values for inner in value]
    return values


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise WireError("a string is not base64. Cure: encode it so, or leave out content_type") from None


def read_objects(record: Mapping[str, Any], key: str, *, needed: bool = True) -> list[dict[str, Any]]:
    """A field that is a list of objects; if it is not needed, an empty one by default."""
    found = record.get(key, None if needed else [])
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise WireError(f"{key} is no list of objects. Cure: send the JSON of the protocol")
    return found


def read_text(record: Mapping[str, Any], key: str, default: str | None = None) -> str:
    """A field that is a text; without a default, it must be there."""
    found = record.get(key, default)
    if not isinstance(found, str):
        raise WireError(f"{key} is no text. Cure: send the JSON of the protocol")
    return found


def read_parameters(record: Mapping[str, Any]) -> dict[str, Any]:
    """The field `parameters`, a copy; empty if it is not there."""
    found = record.get("parameters", {})
    if not isinstance(found, dict) or not all(isinstance(value, str | int | float) for value in found.values()):
        raise WireError("parameters is no object of texts, numbers and flags. Cure: send the JSON of the protocol")
    return dict(found)


def read_flag(value: Any, name: str) -> bool:
    """The value of a flag."""
    if not isinstance(value, bool):
        raise WireError(f"{name} is neither true nor false. Cure: send the JSON of the protocol")
    return value


def read_shape(record: Mapping[str, Any]) -> tuple[int, ...]:
    """The field `shape`."""
    found = record.get("shape")
    if not isinstance(found, list) or not all(type(n) is int and n >= 0 for n in found) or len(found) > MAX_RANK:
        raise WireError(f"shape is no list of up to {MAX_RANK} sizes. Cure: send the JSON of the protocol")
    return check_shape(tuple(found))


def check_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that an array can have; numpy has limits even where a side is 0."""
    if math.prod(max(1, side) for side in shape) > MAX_VALUES:
        raise WireError(f"a shape has over {MAX_VALUES} values. Cure: send fewer at a time")
    return shape
