"""The Open Inference Protocol over HTTP: a Starlette application."""

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from importlib.metadata import version as package_version
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dapter.service.inference import Inference
from dapter.service.openapi import describe
from dapter.service.refused import Refused, refusal
from dapter.service.wire import LENGTH_HEADER, decode_request, encode_response, read_length

Handler = Callable[[Request], Awaitable[Response]]
LOG = logging.getLogger("dapter.serve")
EXTENSIONS = ["binary_tensor_data"]


def make_app(inference: Inference, tokens: Collection[str] = (), origins: Collection[str] = ()) -> Starlette:
    """The application.

    Args:
        tokens: bearer tokens, one of which every request but those for health must carry; none: anyone may ask.
        origins: web pages, `https://example.org`, whose scripts may ask; `*`: all.
    """
    api = _Api(inference)
    guarded = [
        ("/v2", "GET", api.server),
        ("/v2/models/{name}", "GET", api.model),
        ("/v2/models/{name}/versions/{version}", "GET", api.model),
        ("/v2/models/{name}/ready", "GET", api.model_ready),
        ("/v2/models/{name}/versions/{version}/ready", "GET", api.model_ready),
        ("/v2/models/{name}/infer", "POST", api.infer),
        ("/v2/models/{name}/versions/{version}/infer", "POST", api.infer),
        ("/metrics", "GET", api.metrics),
        ("/openapi.json", "GET", api.openapi),
    ]
    open_to_all = [("/v2/health/live", "GET", api.live), ("/v2/health/ready", "GET", api.ready)]
    routes = [Route(path, _answer(handler, tokens), methods=[method]) for path, method, handler in guarded]
    routes += [Route(path, _answer(handler, ()), methods=[method]) for path, method, handler in open_to_all]
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type", LENGTH_HEADER],
        expose_headers=[LENGTH_HEADER],
    )
    handlers: dict[Any, Any] = {404: _unknown, 405: _unknown}
    return Starlette(routes=routes, middleware=[cors] if origins else [], exception_handlers=handlers)


def is_authorised(header: str, tokens: Collection[str]) -> bool:
    """Whether an Authorization header carries one of the tokens; always, if there are none."""
    scheme, _, given = header.partition(" ")
    matches = [hmac.compare_digest(given.strip().encode(), token.encode()) for token in tokens]
    return not tokens or (scheme.lower() == "bearer" and any(matches))


def _answer(handler: Handler, tokens: Collection[str]) -> Handler:
    """The handler for those who carry a token, with errors as the protocol's JSON."""

    async def guarded(request: Request) -> Response:
        try:
            if not is_authorised(request.headers.get("authorization", ""), tokens):
                raise Refused(401, "no valid token. Cure: send the header Authorization: Bearer TOKEN")
            return await handler(request)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:
            refused = refusal(error)
            if refused.status == 500:
                LOG.exception("a request failed")
            return _error(refused)

    return guarded


def _error(refused: Refused) -> JSONResponse:
    headers = {
        401: {"WWW-Authenticate": "Bearer"},
        413: {"Connection": "close"},  # the rest of the body is not waited for
        503: {"Retry-After": "1"},
        504: {"Connection": "close"},
    }.get(refused.status)
    return JSONResponse({"error": str(refused)}, refused.status, headers)


async def _unknown(request: Request, error: Any) -> Response:
    text = f"{request.method} is not answered at this path. Cure: /openapi.json lists what is"
    return JSONResponse({"error": text}, error.status_code, error.headers)


class _Api:
    """The handlers."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def server(self, _: Request) -> Response:
        return JSONResponse({"name": "dapter", "version": package_version("dapter"), "extensions": EXTENSIONS})

    async def live(self, _: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(self, _: Request) -> Response:
        ready = self._inference.ready
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    async def model(self, request: Request) -> Response:
        return JSONResponse(describe_model(self._inference, **request.path_params))

    async def model_ready(self, request: Request) -> Response:
        model = self._inference.find(**request.path_params)
        ready = self._inference.ready
        return JSONResponse({"name": model.name, "ready": ready}, 200 if ready else 503)

    async def metrics(self, _: Request) -> Response:
        content, kind = self._inference.meters.page()
        return Response(content, media_type=kind)

    async def openapi(self, _: Request) -> Response:
        return JSONResponse(describe(self._inference))

    async def infer(self, request: Request) -> Response:
        started, status = time.perf_counter(), 500
        name = request.path_params["name"]
        try:
            async with asyncio.timeout(self._inference.limits.timeout_s):
                response = await self._infer(request, **request.path_params)
            status = response.status_code
            return response
        except Exception as error:
            status = refusal(error).status
            raise
        finally:
            known = name if name in self._inference.names() else ""
            self._inference.meters.request("http", known, status, time.perf_counter() - started)

    async def _infer(self, request: Request, name: str, version: str = "") -> Response:
        self._inference.find(name, version)
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refused(415, "compressed bodies are not read. Cure: send it as it is; PNG is small already")
        length = read_length(request.headers.get(LENGTH_HEADER))
        with self._inference.admit():
            asked = decode_request(await self._body(request), length)
            message = encode_response(await self._inference.infer(name, version, asked), asked)
        return Response(message.body, headers=message.headers)

    async def _body(self, request: Request) -> bytes:
        """The whole body, or a refusal as soon as it is too long."""
        limit, parts, size = self._inference.limits.max_bytes, [], 0
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise Refused(413, f"the body is over {limit} bytes. Cure: send fewer or smaller images")
            parts.append(part)
        return b"".join(parts)


def describe_model(inference: Inference, name: str, version: str = "") -> dict[str, Any]:
    """The protocol's metadata of a model.

    Raises:
        Refused: there is no such model.
    """
    model = inference.find(name, version)
    return {
        "name": model.name,
        "versions": inference.versions(name),
        "platform": "dapter",
        "inputs": model.inputs(),
        "outputs": model.outputs(),
    }
