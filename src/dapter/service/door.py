"""The door: packed stamps in, their pictures out to an unchanged service, its answer back. It keeps nothing of them.

    POST /v2/models/NAME/packed   payloads of the budget converter, `Stamps.packed_bytes` each, one after the other
    GET  /v2/models/NAME          what the service says of its model

Whoever sees what comes in sees no less than the service: nothing is secret here that is not secret there.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dapter.client.transport import MODEL, model_url
from dapter.errors import WireError
from dapter.imagefile import encode
from dapter.service import wire
from dapter.service.gateway.rewrite import Outgoing
from dapter.service.gateway.upstream import Reply, Upstream
from dapter.service.refused import Refused, refusal
from dapter.service.wire_json import read_json
from dapter.stamps import Stamps

LOG = logging.getLogger("dapter.door")

PACKED = "/packed"
"""The path below that of a model."""

MOST_REQUESTS = 64
"""At a time; further ones are told to come back."""

BODY_S = 30.0
"""Seconds that a request may take to arrive."""


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
        self._input, self._active = "", 0
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
        if self._active >= MOST_REQUESTS:
            raise Refused(503, "the door is busy. Cure: try again in a second")
        self._active += 1
        try:
            return _response(await self._pass_on(request))
        finally:
            self._active -= 1

    async def _pass_on(self, request: Request) -> Reply:
        pictures = await asyncio.to_thread(self._paint, await self._body(request))
        if not self._input:
            described = await self._send("GET", "", request, Outgoing(b"", {}, 0))
            if described.status != 200:
                return described
            self._input = _choose(described)
        return await self._send("POST", "/infer", request, await asyncio.to_thread(self._write, pictures))

    def _write(self, pictures: np.ndarray) -> Outgoing:
        data = pictures
        if self._input == "encoded":
            data = np.empty(len(pictures), object)
            data[:] = [encode(picture, fast=True) for picture in pictures]
        message = wire.encode_request(wire.Request((wire.Tensor(self._input, data),), binary=True))
        return Outgoing(message.body, message.headers, len(pictures))

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
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refused(415, "the body is compressed. Cure: send it as it is")
        limit, body = self._published.most * self._published.stamps.packed_bytes, b""
        try:
            async with asyncio.timeout(BODY_S):
                async for part in request.stream():
                    body += part
                    if len(body) > limit:
                        most = self._published.most
                        raise Refused(413, f"the body is over {limit} bytes. Cure: at most {most} payloads")
        except TimeoutError:
            raise Refused(408, "the request did not arrive in time. Cure: send it again") from None
        return body


def _told(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """The handler, with errors as the protocol's JSON; what is left of a request is then not waited for."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:
            refused = refusal(error)
            if refused.status == 500:
                LOG.error("a request failed: %s", type(error).__name__)  # its text might hold what was sent
            return JSONResponse({"error": str(refused)}, refused.status, {"connection": "close"})

    return answer


def _choose(described: Reply) -> str:
    """The input that takes pictures: pixels rather than files.

    Raises:
        Refused: there is none.
    """
    try:
        inputs = {entry["name"]: entry["datatype"] for entry in read_json(described.body)["inputs"]}
    except (WireError, LookupError, TypeError):
        inputs = {}
    for name, kind in (("image", "UINT8"), ("encoded", "BYTES")):
        if inputs.get(name) == kind:
            return name
    raise Refused(502, "the service does not say that it takes images. Cure: --upstream")


def _response(reply: Reply) -> Response:
    response = Response(reply.body, reply.status)
    response.raw_headers += reply.headers
    return response
