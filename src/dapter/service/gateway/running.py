"""Start a gateway from a release, and serve it."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dapter.errors import ConversionError, need
from dapter.runner import Converter
from dapter.service.gateway.app import Gateway, Limits
from dapter.service.gateway.images import Images
from dapter.service.gateway.json_body import parse_path
from dapter.service.gateway.upstream import Upstream
from dapter.service.listening import begin, configure, listen
from dapter.verify import verify_release
from dapter.verify.signature import Identity


@dataclass(frozen=True)
class Settings:
    """What a gateway is told.

    Attributes:
        upstream: the URL of the service.
        dial: of a converter that has one; None: its default.
        keep_size: leave image files their size, instead of resizing them to that at which the converter was measured.
        json_paths: where JSON holds images in base64, `$.requests[*].image.content`.
        headers: further headers of the app that pass to the service.
        ca: a PEM file of who vouches for the service.
        timeout_s: that an answer of the service may take.
        max_pixels: of one image file, or of one tensor.
    """

    upstream: str
    dial: float | None = None
    keep_size: bool = False
    json_paths: Sequence[str] = ()
    headers: Sequence[str] = ()
    ca: Path | None = None
    timeout_s: float = 60.0
    max_pixels: int = 20_000_000
    limits: Limits = field(default_factory=Limits)


def open_gateway(release: Path, key: Path | Identity, settings: Settings) -> Gateway:
    """A gateway that converts with a verified release.

    The converter is held in memory as it was verified: what happens to the folder afterwards changes nothing.

    Raises:
        CheckFailed: the release is not what its maker signed.
        ConversionError: its converter does not work; a picture of noise is tried.
        UsageError: no folder, key, URL, path or dial like that.
    """
    found = verify_release(release, key)
    converter = Converter.open(found)
    convert = partial(converter.convert, dial=settings.dial)
    height, width = found.manifest["image"]["trained"]
    noise = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    if convert(noise).shape != noise.shape:
        raise ConversionError("the converter does not work. Cure: get its release again")
    about = {"release": found.manifest["name"], "version": found.manifest["version"], "signer": found.signer}
    sizes = found.manifest["image"]["sizes"]
    allowed = None if sizes == "any" else [tuple(size) for size in sizes]
    images = Images(convert, None if settings.keep_size else (height, width), settings.max_pixels, allowed)
    upstream = Upstream(settings.upstream, settings.headers, settings.ca, settings.timeout_s)
    paths = [parse_path(path) for path in settings.json_paths]
    return Gateway(images, upstream, paths, settings.limits, about)


class Application(Protocol):
    """An ASGI application that is closed at the end."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""

    async def close(self) -> None:
        """Let go of what it holds."""


def serve(gateway: Application, host: str = "127.0.0.1", port: int = 8080) -> None:
    """Answer until the process is told to end; prints where, once it does.

    Args:
        port: 0: any free one.

    Raises:
        ServiceError: the port is taken.
    """
    asyncio.run(_serve(gateway, _server(gateway, host, port), partial(print, flush=True)))


@contextlib.contextmanager
def serving(gateway: Application) -> Iterator[str]:
    """Answer in a thread for a while, on this machine at any free port; gives the URL."""
    server, url = _server(gateway, "127.0.0.1", 0), []
    started = threading.Event()

    def say(text: str) -> None:
        url.append(text.split()[-1])
        started.set()

    thread = threading.Thread(target=lambda: asyncio.run(_serve(gateway, server, say)), daemon=True)
    thread.start()
    started.wait()
    try:
        yield url[0]
    finally:
        server.should_exit = True
        thread.join()


def _server(gateway: Application, host: str, port: int) -> Any:
    uvicorn: Any = need("uvicorn", "gateway")
    for name in ("httpx2", "httpcore2"):  # they would show paths and queries
        logging.getLogger(name).setLevel(logging.WARNING)
    return uvicorn.Server(configure(gateway, "gateway", host=host, port=port, timeout_graceful_shutdown=20))


async def _serve(gateway: Application, server: Any, say: Callable[[str], None]) -> None:
    listener = listen(server.config.host, server.config.port)
    try:
        task = await begin(server, listener)
        host, port = listener.getsockname()[:2]
        say(f"The {type(gateway).__name__.lower()} answers at http://{host}:{port}")
        await task
    finally:
        await gateway.close()
