"""What is said to a service, and how its answers are checked: the Open Inference Protocol, without a network."""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dapter.client.answers import Classification, Label, Sent
from dapter.client.protect import Protected
from dapter.client.transport import Call, Reply
from dapter.errors import ServiceError, UsageError
from dapter.service.tensors import BYTES
from dapter.service.wire import (
    LENGTH_HEADER,
    Message,
    Output,
    Request,
    Tensor,
    decode_response,
    encode_request,
    read_length,
)
from dapter.service.wire_json import read_json

ENCODED, IMAGE = "encoded", "image"
ROUNDING = 1e-6
"""By how much the class that a service names may fall short of the likeliest."""

Flow = Generator[Call, Reply, list[Classification]]


class Exchange:
    """Asks about payloads. First it is asked, once, what the model takes; that request tells nothing of the photo.

    Args:
        manifest: of the release; the service must answer its targets.
        batch: payloads in a request.
    """

    def __init__(self, manifest: Mapping[str, Any], batch: int) -> None:
        if batch < 1:
            raise UsageError(f"{batch} photos in a request. Cure: 1 or more")
        self._targets: Mapping[str, Sequence[str]] = manifest["targets"]
        self._budget: float | None = manifest["budget_bits"]
        self._batch = batch
        self._input = ""
        self._named: list[str] = []
        """The targets whose likeliest class the service also names."""

    def requests(self, payloads: Sequence[Protected]) -> Iterator[Flow]:
        """For each request, the calls to make in turn; each flow gives the answers to the payloads of its request.

        A flow raises ServiceError or WireError if the service is another than the release's, or answers what cannot be.
        """
        for start in range(0, len(payloads), self._batch):
            yield self._ask(payloads[start : start + self._batch])

    def _ask(self, payloads: Sequence[Protected]) -> Flow:
        if not self._input:
            self._input = self._choose(read_json((yield Call("GET", "")).body))
        call = self._call(payloads)
        began = time.perf_counter()
        reply = yield call
        return self._read(reply, payloads, len(call.body), time.perf_counter() - began)

    def _choose(self, described: Mapping[str, Any]) -> str:
        """The input to send payloads to, files rather than pixels, of a model that answers the release's targets."""
        try:
            inputs = {entry["name"]: entry["datatype"] for entry in described["inputs"]}
            outputs = {entry["name"]: [int(side) for side in entry["shape"]] for entry in described["outputs"]}
        except (LookupError, TypeError, ValueError) as error:
            raise ServiceError("the service does not say what it takes. Cure: check the URL") from error
        for target, classes in self._targets.items():
            shape = outputs.get(_output(target))
            if not shape or shape[-1] != len(classes):
                there = ", ".join(map(str, outputs))[:200]
                cure = "Cure: the service that the release was made for"
                raise ServiceError(f"the model does not answer {target} ({len(classes)} classes), but {there}. {cure}")
        self._named = [target for target in self._targets if _label_of(target) in outputs]
        if inputs.get(ENCODED) == BYTES:
            return ENCODED
        if inputs.get(IMAGE) == "UINT8":
            return IMAGE
        raise ServiceError(f"the model takes no images, but {str(inputs)[:200]}. Cure: check the URL")

    def _call(self, payloads: Sequence[Protected]) -> Call:
        packed = [each.packed for each in payloads if each.packed is not None]
        if packed:
            return Call("POST", "/packed", b"".join(packed), {"Content-Type": "application/octet-stream"})
        message = self._request(payloads)
        return Call("POST", "/infer", message.body, message.headers)

    def _request(self, payloads: Sequence[Protected]) -> Message:
        if self._input == ENCODED:
            data = np.empty(len(payloads), object)
            data[:] = [each.file for each in payloads]
        else:
            data = np.stack([each.payload for each in payloads])
        names = [*map(_output, self._targets), *map(_label_of, self._named)]
        outputs = tuple(Output(name, binary=True) for name in names)
        return encode_request(Request((Tensor(self._input, data),), outputs))

    def _read(self, reply: Reply, payloads: Sequence[Protected], size: int, seconds: float) -> list[Classification]:
        response = decode_response(reply.body, read_length(reply.headers.get(LENGTH_HEADER.lower())))
        tables = {
            target: _check(response.output(_output(target)), (len(payloads), len(classes)))
            for target, classes in self._targets.items()
        }
        for target in self._named:
            _check_names(tables[target], response.output(_label_of(target)), self._targets[target], target)
        return [
            Classification(
                {target: _label(table[place], self._targets[target]) for target, table in tables.items()},
                self._sent(each, size, seconds),
            )
            for place, each in enumerate(payloads)
        ]

    def _sent(self, each: Protected, size: int, seconds: float) -> Sent:
        data, encoding = (each.file, each.codec) if self._input == ENCODED else (each.payload.tobytes(), "pixels")
        if each.packed is not None:
            data, encoding = each.packed, "stamps"
        return Sent(
            payload=each.payload,
            data=data,
            encoding=encoding,
            budget_bits=self._budget,
            dial=each.dial,
            request_bytes=size,
            seconds={**each.seconds, "send": seconds},
        )


def _output(target: str) -> str:
    return f"{target}.probabilities"


def _label_of(target: str) -> str:
    return f"{target}.label"


def _check_names(table: np.ndarray, named: np.ndarray, classes: Sequence[str], target: str) -> None:
    """Whether the classes that the service names are the likeliest ones; names that the release does not know pass.

    Raises:
        ServiceError: they are not, so that its classes are in another order than the release's.
    """
    names = [name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in named.ravel().tolist()]
    if len(names) != len(table):
        raise ServiceError(f"the service names {len(names)} classes for {len(table)} photos. Cure: report it")
    for shares, name in zip(table, names, strict=True):
        if name in classes and shares[classes.index(name)] < shares.max() - ROUNDING:
            said = classes[int(shares.argmax())]
            raise ServiceError(
                f"the service says {name}, but in the order of the release's classes its {target} is {said}: its order "
                "is another. Cure: the service that the release was made for"
            )


def _check(table: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Probabilities that can be some, float (N, classes)."""
    if table.shape != shape or table.dtype.kind != "f":
        raise ServiceError(f"the service answers {table.dtype} {table.shape} instead of {shape}. Cure: report it")
    if not ((table >= 0) & (table <= 1.001)).all() or np.abs(table.sum(axis=1) - 1).max(initial=0) > 1e-2:
        raise ServiceError("the service answers with what are no probabilities. Cure: report it to whoever runs it")
    return table


def _label(shares: np.ndarray, classes: Sequence[str]) -> Label:
    return Label(classes[int(shares.argmax())], dict(zip(classes, shares.astype(float).tolist(), strict=True)))
