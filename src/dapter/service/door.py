"""The door: packed stamps in, their pictures out to an unchanged service, its answer back. It keeps nothing of them.

    POST /v2/models/NAME/packed   payloads of the budget converter, `Stamps.packed_bytes` each, one after the other
    GET  /v2/models/NAME          what the service says of its model

Whoever sees what comes in sees no less than the service: nothing is secret here that is not secret there.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dapter.client.transport import MODEL, model_url
from dapter.imagefile import encode
from dapter.service import wire
from dapter.service.gateway.rewrite import Outgoing
from dapter.service.gateway.upstream import Reply, Upstream
from dapter.service.refused import Refused, refusal
from dapter.stamps import Stamps

PACKED = "/packed"
"""The path below that of a model."""

BYTES = "application/octet-stream"


@dataclass(frozen=True)
class Published:
    """What a door paints.

    Attributes:
        stamps: alphabet and grid.
        size: height and width of the pictures.
        most: payloads in a request.
    """

    stamps: Stamps
    size: tuple[int, int]
    most: int = 64


class Door:
    """An ASGI application in front of one model of a service.

    Args:
        url: the model's: https://HOST/v2/models/NAME; without a name, the model is called `model`.
        timeout_s: that an answer of the service may take.

    Raises:
        UsageError: no such URL, or one that is not protected.
    """

    def __init__(self, published: Published, url: str, timeout_s: float = 60.0) -> None:
        base, _, name = model_url(url).rpartition(MODEL)
        self._published, self._path = published, f"{MODEL}{name}"
        self._upstream = Upstream(base, timeout_s=timeout_s)
        self._input = ""
        routes = [("", "GET", self._describe), (PACKED, "POST", self._answer)]
        paths = [Route(self._path + path, _told(handler), methods=[method]) for path, method, handler in routes]
        self._app = Starlette(routes=paths)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        await self._app(scope, receive, send)

    async def close(self) -> None:
        """Close the connections to the service."""
        await self._upstream.close()

    async def _describe(self, request: Request) -> Response:
        return _response(await self._send("GET", "", request, Outgoing(b"", {}, 0)))

    async def _answer(self, request: Request) -> Response:
        pictures = self._paint(await self._body(request))
        if not self._input:
            self._input = _choose(await self._send("GET", "", request, Outgoing(b"", {}, 0)))
        data: np.ndarray = pictures
        if self._input == "encoded":
            data = np.empty(len(pictures), object)
            data[:] = [encode(picture, fast=True) for picture in pictures]
        message = wire.encode_request(wire.Request((wire.Tensor(self._input, data),), binary=True))
        outgoing = Outgoing(message.body, message.headers, len(pictures))
        return _response(await self._send("POST", "/infer", request, outgoing))

    async def _send(self, method: str, path: str, request: Request, outgoing: Outgoing) -> Reply:
        passing = self._upstream.select(request.headers.raw)
        return await self._upstream.send(method, (self._path + path).encode(), b"", passing, outgoing)

    def _paint(self, body: bytes) -> np.ndarray:
        stamps, size = self._published.stamps, self._published.stamps.packed_bytes
        if not body or len(body) % size:
            raise Refused(400, f"{len(body)} bytes are no payloads. Cure: {size} bytes each, one after the other")
        indices = [stamps.unpack(body[start : start + size]) for start in range(0, len(body), size)]
        return stamps.paint(np.stack(indices), self._published.size)

    async def _body(self, request: Request) -> bytes:
        limit, body = self._published.most * self._published.stamps.packed_bytes, b""
        async for part in request.stream():
            body += part
            if len(body) > limit:
                raise Refused(413, f"the body is over {limit} bytes. Cure: at most {self._published.most} payloads")
        return body


def _told(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """The handler, with errors as the protocol's JSON."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:
            refused = refusal(error)
            return JSONResponse({"error": str(refused)}, refused.status)

    return answer


def _choose(described: Reply) -> str:
    """The input that takes pictures: pixels rather than files.

    Raises:
        Refused: there is none.
    """
    try:
        inputs = {entry["name"]: entry["datatype"] for entry in json.loads(described.body)["inputs"]}
    except (ValueError, LookupError, TypeError):
        inputs = {}
    for name, kind in (("image", "UINT8"), ("encoded", "BYTES")):
        if inputs.get(name) == kind:
            return name
    raise Refused(502, f"the service does not say that it takes images (status {described.status}). Cure: --upstream")


def _response(reply: Reply) -> Response:
    response = Response(reply.body, reply.status)
    response.raw_headers += reply.headers
    return response
