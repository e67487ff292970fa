"""The Open Inference Protocol over gRPC, with the protocol's published stubs as `tritonclient` ships them."""

import asyncio
import logging
import math
import time
from collections.abc import Collection
from importlib.metadata import version as package_version
from typing import Any, NoReturn

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as stubs

from dapter.errors import WireError
from dapter.service.http_api import EXTENSIONS, describe_model, is_authorised
from dapter.service.inference import Inference
from dapter.service.refused import Refused, refusal
from dapter.service.tensors import BYTES, TYPES, pack, unpack
from dapter.service.wire import Output, Request, Response, Tensor
from dapter.service.wire_json import check_shape

LOG = logging.getLogger("dapter.serve")
CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Which field holds the values of a tensor that is not sent as raw bytes; FP16 has none."""


class Servicer(stubs.GRPCInferenceServiceServicer):  # type: ignore[misc] # its base is generated, without types
    """Answers the protocol's calls; the others of `tritonclient`'s service are Triton's own, and unimplemented."""

    def __init__(self, inference: Inference, tokens: Collection[str]) -> None:
        self._inference, self._tokens = inference, tokens

    async def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802 (the protocol's names)
        """Whether the server runs; open to all."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Whether requests are taken; open to all."""
        return pb.ServerReadyResponse(ready=self._inference.ready)

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Whether a model takes requests; false for one that is not there, as Triton says it."""
        await self._guard(context)
        versions = self._inference.versions(request.name)
        there = request.version in versions or (not request.version and versions)
        return pb.ModelReadyResponse(ready=bool(there and self._inference.ready))

    async def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """What server this is."""
        await self._guard(context)
        return pb.ServerMetadataResponse(name="dapter", version=package_version("dapter"), extensions=EXTENSIONS)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """A model's inputs and outputs."""
        await self._guard(context)
        try:
            return pb.ModelMetadataResponse(**describe_model(self._inference, request.name, request.version))
        except Refused as error:
            return await _abort(context, error)

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Answer images."""
        await self._guard(context)
        started, status = time.perf_counter(), 200
        try:
            with self._inference.admit():
                async with asyncio.timeout(self._inference.limits.timeout_s):
                    asked = read_request(request)
                    return write_response(await self._inference.infer(request.model_name, request.model_version, asked))
        except Exception as error:
            status = refusal(error).status
            if status == 500:
                LOG.exception("a request failed")
            return await _abort(context, error)
        finally:
            known = request.model_name if request.model_name in self._inference.names() else ""
            self._inference.meters.request("grpc", known, status, time.perf_counter() - started)

    async def _guard(self, context: Any) -> None:
        header = dict(context.invocation_metadata()).get("authorization", "")
        if not is_authorised(header, self._tokens):
            await _abort(context, Refused(401, "no valid token. Cure: send the metadata authorization: Bearer TOKEN"))


async def _abort(context: Any, error: Exception) -> NoReturn:
    refused = refusal(error)
    await context.abort(getattr(grpc.StatusCode, refused.grpc_code), str(refused))
    raise refused


def make_server(inference: Inference, tokens: Collection[str]) -> Any:
    """A `grpc.aio` server without a port."""
    limits = inference.limits
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", limits.max_bytes),
            ("grpc.max_send_message_length", limits.max_bytes),
            ("grpc.so_reuseport", 0),
        ],
        maximum_concurrent_rpcs=2 * limits.max_requests,
    )
    stubs.add_GRPCInferenceServiceServicer_to_server(Servicer(inference, tokens), server)
    return server


def read_request(message: Any) -> Request:
    """A request from its message.

    Args:
        message: a `ModelInferRequest`.

    Raises:
        WireError: it does not follow the protocol.
    """
    raws = message.raw_input_contents
    if raws and len(raws) != len(message.inputs):
        raise WireError(f"{len(raws)} raw inputs for {len(message.inputs)}. Cure: all of them raw, or none")
    inputs = []
    for place, entry in enumerate(message.inputs):
        shape = tuple(entry.shape)
        if any(side < 0 for side in shape):
            raise WireError(f"{entry.name!r} has the shape {list(shape)}. Cure: no side below 0")
        check_shape(shape)
        data = unpack(entry.datatype, shape, raws[place]) if raws else _contents(entry, shape)
        inputs.append(Tensor(entry.name, data))
    outputs = tuple(Output(entry.name, True, dict.fromkeys(entry.parameters)) for entry in message.outputs)
    return Request(tuple(inputs), outputs, message.id, binary=True)


def _contents(entry: Any, shape: tuple[int, ...]) -> np.ndarray:
    if entry.datatype not in CONTENTS:
        raise WireError(f"{entry.datatype!r} has no typed contents. Cure: send raw_input_contents")
    values = getattr(entry.contents, CONTENTS[entry.datatype])
    count = math.prod(shape)
    if len(values) != count:
        raise WireError(f"{entry.name!r} holds {len(values)} values instead of {count}. Cure: check its shape")
    if entry.datatype == BYTES:
        found = np.empty(count, object)
        found[:] = list(values)
        return found.reshape(shape)
    wanted: np.dtype[Any] = TYPES[entry.datatype]
    data = np.array(values)
    if count and not np.array_equal(data.astype(wanted), data):
        raise WireError(f"{entry.name!r} holds values that {entry.datatype} has not. Cure: check its values")
    return data.astype(wanted).reshape(shape)


def write_response(response: Response) -> Any:
    """The message of an answer, a `ModelInferResponse`, all outputs as raw bytes."""
    outputs = [
        pb.ModelInferResponse.InferOutputTensor(name=each.name, datatype=each.datatype, shape=each.data.shape)
        for each in response.outputs
    ]
    return pb.ModelInferResponse(
        model_name=response.model,
        model_version=response.version,
        id=response.id,
        outputs=outputs,
        raw_output_contents=[pack(each.data) for each in response.outputs],
    )
