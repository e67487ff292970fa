"""Messages of the Open Inference Protocol (KServe v2): JSON, and the binary tensor data extension.

A message's body is one JSON object; with the extension, tensors follow it as raw bytes, and the header
`Inference-Header-Content-Length` says where the JSON ends. Nothing here knows HTTP, gRPC or images.

Sources: kserve.github.io/website, "Open Inference Protocol"; the Triton server's `extension_binary_data.md`.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dapter.errors import WireError
from dapter.service.tensors import BYTES, TYPES, datatype, pack, unpack
from dapter.service.wire_json import (
    read_flag,
    read_json,
    read_objects,
    read_parameters,
    read_shape,
    read_text,
    read_values,
)

LENGTH_HEADER = "Inference-Header-Content-Length"
BINARY_TYPE = "application/octet-stream"
JSON_TYPE = "application/json"

Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Tensor:
    """A named tensor.

    Attributes:
        data: of a type in TYPES, or of objects that are bytes (the protocol's BYTES).
    """

    name: str
    data: np.ndarray
    parameters: Parameters = field(default_factory=dict)

    @property
    def datatype(self) -> str:
        """The protocol's name of the type."""
        return datatype(self.data)


@dataclass(frozen=True)
class Output:
    """An output that a request asks for; `binary`: as raw bytes after the JSON."""

    name: str
    binary: bool = False
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What a client asks of a model.

    Attributes:
        outputs: which outputs it wants; empty: all.
        binary: whether outputs that are not named come as raw bytes.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Output, ...] = ()
    id: str = ""
    binary: bool = False
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True)
class Response:
    """What a model answers."""

    model: str
    version: str
    outputs: tuple[Tensor, ...]
    id: str = ""
    parameters: Parameters = field(default_factory=dict)

    def output(self, name: str) -> np.ndarray:
        """The data of one output.

        Raises:
            WireError: there is no such output.
        """
        for tensor in self.outputs:
            if tensor.name == name:
                return tensor.data
        raise WireError(f"the answer has no output {name!r}. Cure: check which service this is")


@dataclass(frozen=True)
class Message:
    """A body, and how much of it is JSON (None: all)."""

    body: bytes
    header_length: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The HTTP headers that tell how to read the body."""
        if self.header_length is None:
            return {"Content-Type": JSON_TYPE}
        return {"Content-Type": BINARY_TYPE, LENGTH_HEADER: str(self.header_length)}


def encode_request(request: Request, *, binary: bool = True) -> Message:
    """Write a request, its inputs as raw bytes or as JSON."""
    tail: list[bytes] = []
    record: dict[str, Any] = {"inputs": [_tensor_record(tensor, binary, tail) for tensor in request.inputs]}
    if request.outputs:
        record["outputs"] = [
            {"name": entry.name, "parameters": {**entry.parameters, "binary_data": entry.binary}}
            for entry in request.outputs
        ]
    parameters = {**request.parameters, **({"binary_data_output": True} if request.binary else {})}
    return _message({"id": request.id}, record, parameters, tail)


def decode_request(body: bytes, header_length: int | None = None) -> Request:
    """Read a request.

    Args:
        header_length: what LENGTH_HEADER says; None: there is no such header.

    Raises:
        WireError: it does not follow the protocol.
    """
    record, tail = _split(body, header_length)
    parameters = read_parameters(record)
    binary = read_flag(parameters.pop("binary_data_output", False), "binary_data_output")
    return Request(
        inputs=_tensors(record, "inputs", tail),
        outputs=tuple(_output(entry, binary) for entry in read_objects(record, "outputs", needed=False)),
        id=read_text(record, "id", ""),
        binary=binary,
        parameters=parameters,
    )


def encode_response(response: Response, request: Request) -> Message:
    """Write the answer to a request: each output as the request wants it."""
    wanted = {entry.name: entry.binary for entry in request.outputs}
    tail: list[bytes] = []
    outputs = [_tensor_record(tensor, wanted.get(tensor.name, request.binary), tail) for tensor in response.outputs]
    head = {"model_name": response.model, "model_version": response.version, "id": response.id}
    return _message(head, {"outputs": outputs}, response.parameters, tail)


def decode_response(body: bytes, header_length: int | None = None) -> Response:
    """Read an answer.

    Args:
        header_length: what LENGTH_HEADER says; None: there is no such header.

    Raises:
        WireError: it does not follow the protocol.
    """
    record, tail = _split(body, header_length)
    return Response(
        model=read_text(record, "model_name"),
        version=read_text(record, "model_version", ""),
        outputs=_tensors(record, "outputs", tail),
        id=read_text(record, "id", ""),
        parameters=read_parameters(record),
    )


def read_length(header: str | None) -> int | None:
    """The value of LENGTH_HEADER; None if there is none.

    Raises:
        WireError: it is no number.
    """
    if header is None:
        return None
    if not (header.isascii() and header.isdigit() and len(header) <= 12):
        raise WireError(f"{LENGTH_HEADER} is no number. Cure: send the number of bytes of the JSON")
    return int(header)


def _message(head: Mapping[str, str], record: Mapping[str, Any], parameters: Parameters, tail: list[bytes]) -> Message:
    whole: dict[str, Any] = {name: value for name, value in head.items() if value or name == "model_name"}
    if parameters:
        whole["parameters"] = dict(parameters)
    try:
        text = json.dumps({**whole, **record}, separators=(",", ":"), allow_nan=False).encode()
    except ValueError as error:
        raise WireError(f"JSON holds no such number ({error}). Cure: ask for binary data") from error
    return Message(b"".join([text, *tail]), len(text) if tail else None)


def _tensor_record(tensor: Tensor, binary: bool, tail: list[bytes]) -> dict[str, Any]:
    """A tensor's JSON; its raw bytes, if asked for, are put at the end of `tail`."""
    record: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.data.shape)}
    parameters = dict(tensor.parameters)
    if binary:
        raw = pack(tensor.data)
        tail.append(raw)
        return {**record, "parameters": {**parameters, "binary_data_size": len(raw)}}
    values = tensor.data.ravel().tolist()
    if tensor.datatype == BYTES:
        values, is_text = _texts(values)
        parameters |= {} if is_text else {"content_type": "base64"}
    return {**record, **({"parameters": parameters} if parameters else {}), "data": values}


def _texts(values: Sequence[bytes]) -> tuple[list[str], bool]:
    """Bytes as JSON strings: as they are if all are UTF-8, else in base64."""
    try:
        return [value.decode() for value in values], True
    except UnicodeDecodeError:
        return [base64.b64encode(value).decode() for value in values], False


def _split(body: bytes, header_length: int | None) -> tuple[dict[str, Any], memoryview]:
    """The JSON object, and the raw bytes after it."""
    if header_length is not None and not 0 < header_length <= len(body):
        raise WireError(
            f"{LENGTH_HEADER} is {header_length}, the body has {len(body)} bytes. Cure: send the whole body"
        )
    view = memoryview(body)
    end = len(body) if header_length is None else header_length
    return read_json(bytes(view[:end])), view[end:]


def _tensors(record: Mapping[str, Any], key: str, tail: memoryview) -> tuple[Tensor, ...]:
    tensors, start = [], 0
    for entry in read_objects(record, key):
        name, kind, shape, parameters = (
            read_text(entry, "name"),
            read_text(entry, "datatype"),
            read_shape(entry),
            read_parameters(entry),
        )
        if kind not in TYPES and kind != BYTES:
            raise WireError(f"{name!r} has the datatype {kind!r}. Cure: one of {', '.join([*TYPES, BYTES])}")
        size = parameters.pop("binary_data_size", None)
        if size is None:
            data = read_values(entry, kind, shape, parameters)
        elif type(size) is not int or not 0 <= size <= len(tail) - start or "data" in entry:
            raise WireError(f"binary_data_size of {name!r} does not fit the body. Cure: send each tensor's bytes once")
        else:
            data = unpack(kind, shape, tail[start : start + size])
            start += size
        tensors.append(Tensor(name, data, parameters))
    if start != len(tail):
        raise WireError(f"{len(tail) - start} bytes of the body belong to no tensor. Cure: name each in the JSON")
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise WireError("two tensors have the same name. Cure: send each once")
    return tuple(tensors)


def _output(entry: Mapping[str, Any], binary: bool) -> Output:
    parameters = read_parameters(entry)
    return Output(read_text(entry, "name"), read_flag(parameters.pop("binary_data", binary), "binary_data"), parameters)
