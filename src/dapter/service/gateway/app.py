"""The gateway as an ASGI application: read, convert, forward, answer."""

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from dapter.service.gateway.images import Images
from dapter.service.gateway.json_body import Path
from dapter.service.gateway.rewrite import METHODS, Incoming, Outgoing, rewrite
from dapter.service.gateway.upstream import Reply, Upstream
from dapter.service.refused import Refused
from dapter.service.rules import check_counts, check_seconds
from dapter.service.wire import LENGTH_HEADER

LOG = logging.getLogger("dapter.gateway")
HEALTH = b"/dapter/health"
"""The one path that the gateway answers by itself."""


@dataclass(frozen=True)
class Limits:
    """How much the gateway takes on.

    Attributes:
        body_bytes: of a request.
        body_s: seconds that a request may take to arrive.
        requests: at the same time; more are told to come back.
        workers: conversions at the same time.
    """

    body_bytes: int = 32 * 2**20
    body_s: float = 30.0
    requests: int = 64
    workers: int = 2

    def __post_init__(self) -> None:
        check_counts(body_bytes=self.body_bytes, requests=self.requests, workers=self.workers)
        check_seconds(body_seconds=self.body_s)


class Gone(Exception):
    """The app hung up."""


class Gateway:
    """An ASGI application.

    Args:
        paths: where JSON holds images.
        about: what its health says of the release.
    """

    def __init__(
        self,
        images: Images,
        upstream: Upstream,
        paths: Sequence[Path] = (),
        limits: Limits | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self._images, self._upstream, self._paths = images, upstream, tuple(paths)
        self._limits, self._about = limits or Limits(), dict(about or {})
        self._pool = ThreadPoolExecutor(self._limits.workers, "dapter-convert")
        self._active = 0
        self._counts = {"forwarded": 0, "images": 0, "refused": 0}

    async def close(self) -> None:
        """Let go of connections and threads."""
        await self._upstream.close()
        self._pool.shutdown()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request; whatever goes wrong is an answer, and nothing is sent."""
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        images = 0
        try:
            if scope["raw_path"] == HEALTH:
                reply = _json(200, {"ready": True, **self._about, **self._counts})
            else:
                reply, images = await self._guarded(scope, receive)
        except Gone:
            return
        except Refused as refused:
            reply = self._refuse(refused)
        except Exception as error:  # a fault of ours: its text might hold what was sent
            LOG.error("a request failed: %s", type(error).__name__)
            reply = self._refuse(Refused(500, "the gateway failed. Nothing was sent. Cure: tell whoever runs it"))
        milliseconds = 1000 * (time.perf_counter() - started)
        method = scope["method"] if scope["method"] in METHODS else "another method"  # which can be of any length
        LOG.info("%s %d, %d images, %.0f ms", method, reply.status, images, milliseconds)
        await send({"type": "http.response.start", "status": reply.status, "headers": _headers(scope, reply)})
        await send({"type": "http.response.body", "body": reply.body})

    def _refuse(self, refused: Refused) -> Reply:
        self._counts["refused"] += 1
        return _json(refused.status, {"error": str(refused)}, close=True)

    async def _guarded(self, scope: Any, receive: Any) -> tuple[Reply, int]:
        if self._active >= self._limits.requests:
            raise Refused(503, "the gateway is busy. Nothing was sent. Cure: try again in a second")
        self._active += 1
        try:
            return await self._forward(scope, receive)
        finally:
            self._active -= 1

    async def _forward(self, scope: Any, receive: Any) -> tuple[Reply, int]:
        passing = self._upstream.select(scope["headers"])
        if _one(scope, b"content-encoding", "identity").lower() != "identity":
            raise Refused(415, "the body is compressed. Nothing was sent. Cure: send it as it is; images are small")
        kind, length = _one(scope, b"content-type"), _one(scope, LENGTH_HEADER.lower().encode()) or None
        method, path, query = scope["method"], scope["raw_path"], scope["query_string"]
        incoming = Incoming(method, path, query, kind, length, await self._body(receive))
        loop = asyncio.get_running_loop()
        outgoing: Outgoing = await loop.run_in_executor(self._pool, rewrite, incoming, self._images, self._paths)
        del incoming
        reply = await self._upstream.send(method, path, query, passing, outgoing)
        self._counts["forwarded"] += 1
        self._counts["images"] += outgoing.images
        return reply, outgoing.images

    async def _body(self, receive: Any) -> bytes:
        limit, parts, size = self._limits.body_bytes, [], 0
        try:
            async with asyncio.timeout(self._limits.body_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Gone
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        raise Refused(413, f"the body is over {limit} bytes. Nothing was sent. Cure: smaller images")
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            raise Refused(408, "the request did not arrive in time. Nothing was sent. Cure: send it again") from None


def _one(scope: Any, name: bytes, default: str = "") -> str:
    """The value of a header of the app.

    Raises:
        Refused: it is there twice.
    """
    found = [value.decode("latin-1") for each, value in scope["headers"] if each.lower() == name]
    if len(found) > 1:
        raise Refused(400, f"the header {name.decode()} is there twice. Nothing was sent. Cure: send it once")
    return found[0].strip() if found else default


def _json(status: int, record: Mapping[str, Any], *, close: bool = False) -> Reply:
    headers = [(b"content-type", b"application/json")]
    if close:  # what is left of the request is not waited for
        headers += [(b"connection", b"close")]
    if status == 503:
        headers += [(b"retry-after", b"1")]
    return Reply(status, headers, json.dumps(record).encode())


def _headers(scope: Any, reply: Reply) -> list[tuple[bytes, bytes]]:
    if scope["method"] == "HEAD" or reply.status in (204, 304):
        return reply.headers
    return [*reply.headers, (b"content-length", str(len(reply.body)).encode())]
