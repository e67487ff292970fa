"""weights.safetensors and the mobile exports: what can be said of them without running them."""

import json
import struct
from math import prod
from typing import Any

from dapter.verify import strict_json
from dapter.verify.problems import Broken

HEADER_BYTES = 2**20
MAX_TENSORS = 10_000
WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
MARKS = {".tflite": b"TFL3", ".pte": b"ET12"}
"""What stands at bytes 4 to 8 of the files of a format (a flatbuffer's identifier)."""


def weights_faults(data: bytes) -> list[str]:
    """What is wrong with a safetensors file: its header, and whether it holds what it declares and nothing else.

    Source of the format: github.com/huggingface/safetensors.
    """
    try:
        header, held = _header(data)
        return _layout(header, held)
    except Broken as fault:
        return [str(fault)]


def mobile_faults(path: str, data: bytes) -> list[str]:
    """What is wrong with a .pte or .tflite file, as far as its first bytes tell."""
    mark = next(mark for suffix, mark in MARKS.items() if path.endswith(suffix))
    return [] if data[4:8] == mark else [f"does not begin as a file of its format ({mark.decode()} is missing)"]


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """The header, and how many bytes follow it."""
    size = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if not 2 <= size <= min(HEADER_BYTES, len(data) - 8):
        raise Broken(f"has a header of {size:,} bytes in a file of {len(data):,}: truncated, or no safetensors file")
    header = strict_json.loads(data[8 : 8 + size])
    if not isinstance(header, dict) or len(header) > MAX_TENSORS:
        raise Broken("has a header that is no table of tensors")
    return header, len(data) - 8 - size


def _layout(header: dict[str, Any], held: int) -> list[str]:
    """Whether the tensors lie side by side and fill the file."""
    notes = header.pop("__metadata__", {})
    found = [f"has notes of its own: {ascii(json.dumps(notes))[:80]}"] if notes else []
    place = 0
    try:
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            start, end = entry["data_offsets"]
            shape = entry["shape"]
            if not all(type(size) is int and size >= 0 for size in (*shape, start, end)):
                raise Broken(f"gives {ascii(name)[:80]} sizes that are no whole numbers")
            declared = prod(shape) * WIDTHS[entry["dtype"]]
            if end - start != declared:
                found.append(f"declares {declared:,} bytes for {ascii(name)[:80]}, but holds {end - start:,}")
            if start != place:
                found.append(f"has a gap or an overlap before {ascii(name)[:80]}")
            place = end
    except (KeyError, TypeError, ValueError) as error:
        raise Broken(f"has a header that is no table of tensors ({type(error).__name__})") from error
    if place != held:
        found.append(f"holds {held:,} bytes of weights, its header declares {place:,}")
    return found
