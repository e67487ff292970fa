"""Requests of the Open Inference Protocol: tensors of pixels, and image files as BYTES."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dapter.errors import WireError
from dapter.service.gateway.images import PER_REQUEST, Images
from dapter.service.gateway.plain import Plain
from dapter.service.refused import Refused
from dapter.service.tensors import BYTES
from dapter.service.wire import Message, Output, Tensor, decode_request, encode_request

INFER = re.compile(r"/v2/models/[^/]+(/versions/[^/]+)?/infer")
"""The path of an inference."""


def rewrite_tensors(body: bytes, header_length: int | None, images: Images, plain: Plain) -> tuple[Message, int]:
    """The same request with payloads for its images, and how many there were.

    Raises:
        Refused: it does not follow the protocol, or an input is not an image.
    """
    try:
        asked = decode_request(body, header_length)
    except WireError as error:
        raise Refused(400, f"{error}. Nothing was sent") from None
    inputs = tuple(_convert(tensor, images, plain) for tensor in asked.inputs)
    new = replace(
        asked,
        inputs=inputs,
        outputs=tuple(_output(entry, plain) for entry in asked.outputs),
        id=plain.check(asked.id, "the id"),
        parameters=_parameters(asked.parameters, plain),
    )
    try:
        message = encode_request(new, binary=header_length is not None)
    except WireError as error:
        raise Refused(400, f"{error}. Nothing was sent") from None
    return message, sum(len(tensor.data) for tensor in inputs)


def _convert(tensor: Tensor, images: Images, plain: Plain) -> Tensor:
    name, data = plain.check(tensor.name, "the name of an input"), tensor.data
    if tensor.parameters:
        raise Refused(422, f"{name} has parameters that are not understood, or lies in shared memory. {_CURE}")
    if not data.size:
        raise Refused(422, f"{name} holds no image. {_CURE}")
    if data.ndim and len(data) > PER_REQUEST:
        raise Refused(413, f"{name} holds over {PER_REQUEST} images. Cure: send fewer at a time")
    if tensor.datatype == BYTES and data.ndim in (1, 2):
        files = np.empty(data.size, object)
        files[:] = [images.file(value) for value in data.ravel()]
        return Tensor(name, files.reshape(data.shape))
    if tensor.datatype == "UINT8" and data.ndim == 4 and data.shape[3] == 3:
        return Tensor(name, images.pixels(data))
    raise Refused(422, f"{name} ({tensor.datatype}, {list(data.shape)}) is no image that is understood. {_CURE}")


_CURE = "Cure: send pixels as UINT8 (N, height, width, 3), RGB, or image files as BYTES. Nothing was sent"


def _output(entry: Output, plain: Plain) -> Output:
    name = plain.check(entry.name, "the name of an output")
    return Output(name, entry.binary, _parameters(entry.parameters, plain))


def _parameters(found: Mapping[str, Any], plain: Plain) -> dict[str, Any]:
    for name, value in found.items():
        plain.check(name, "the name of a parameter")
        plain.check(str(value), "a parameter")
        if "shared_memory" in name:
            raise Refused(422, f"tensors in shared memory are not understood. {_CURE}")
    return dict(found)
