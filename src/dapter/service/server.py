"""The reference service: models behind the Open Inference Protocol, HTTP and gRPC, in one process.

It knows images and answers, and nothing of converters: what it is sent may be an original or a payload.
"""

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Self

from dapter.errors import ServiceError, UsageError, need
from dapter.service.inference import Inference, Limits, Model
from dapter.service.listening import begin, configure, listen
from dapter.service.metering import Meters
from dapter.service.rules import check_port

LOG = logging.getLogger("dapter.serve")


@dataclass(frozen=True)
class Settings:
    """Where and for whom a server answers.

    Attributes:
        port, grpc_port: 0: any free one; `grpc_port` None: no gRPC.
        tokens: bearer tokens, one of which every request must carry; none: anyone may ask.
        certificate, private_key: PEM files; with them, both protocols speak TLS only.
        origins: web pages whose scripts may ask (CORS), `https://example.org`.
        grace_s: how long requests in flight may take to end when the server stops.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    grpc_port: int | None = 8001
    tokens: Sequence[str] = ()
    certificate: Path | None = None
    private_key: Path | None = None
    origins: Sequence[str] = ()
    grace_s: float = 20.0
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        check_port(self.port)
        check_port(self.grpc_port or 0)
        if (self.certificate is None) != (self.private_key is None):
            raise UsageError("TLS needs both a certificate and its private key. Cure: give both, or none")
        if any(len(token) < 16 for token in self.tokens):
            raise UsageError("a token is shorter than 16 characters. Cure: `openssl rand -hex 32` makes one")


class Server:
    """A server; `run` it, or use it as a context, which runs it in a thread.

    Args:
        models: each name and version once.

    Attributes:
        url: of HTTP, once it runs.
        grpc_address: `host:port`, once it runs; None: no gRPC.
    """

    def __init__(self, models: Sequence[Model], settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._models = models
        self.url = ""
        self.grpc_address: str | None = None
        self._stop: Callable[[], None] = lambda: None

    def run(self, say: Callable[[str], None] = lambda text: None) -> None:
        """Answer until the process is told to end (SIGINT, SIGTERM); requests in flight are finished.

        Args:
            say: told where the server listens, once it does.

        Raises:
            UsageError: the TLS files cannot be read.
            ServiceError: a port is taken.
        """

        def started() -> None:
            for number in (signal.SIGINT, signal.SIGTERM):
                previous[number] = signal.signal(number, lambda *_: self._stop())
            grpc = f", gRPC {self.grpc_address}" if self.grpc_address else ""
            say(f"Answers at {self.url}{grpc}")

        previous: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}
        try:
            asyncio.run(self._serve(started))
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def __enter__(self) -> Self:
        ready = threading.Event()
        failed: list[BaseException] = []

        def work() -> None:
            try:
                asyncio.run(self._serve(ready.set))
            except BaseException as error:  # told to the thread that waits
                failed.append(error)
                ready.set()

        self._thread = threading.Thread(target=work, name="dapter-serve", daemon=True)
        self._thread.start()
        ready.wait()
        if failed:
            raise failed[0]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._thread.join()

    async def _serve(self, started: Callable[[], None]) -> None:
        inference = Inference(self._models, self.settings.limits, Meters())
        try:
            async with _http(self.settings, inference) as (web, port), _grpc(self.settings, inference) as grpc_port:
                scheme = "https" if self.settings.certificate else "http"
                self.url = f"{scheme}://{self.settings.host}:{port}"
                self.grpc_address = f"{self.settings.host}:{grpc_port}" if grpc_port else None
                loop, told = asyncio.get_running_loop(), asyncio.Event()

                def stop() -> None:
                    with contextlib.suppress(RuntimeError):  # it has stopped already
                        loop.call_soon_threadsafe(told.set)

                self._stop = stop
                started()
                ended = asyncio.create_task(told.wait())
                await asyncio.wait([ended, web], return_when=asyncio.FIRST_COMPLETED)
                ended.cancel()
                inference.ready = False
        finally:
            inference.close()


@contextlib.asynccontextmanager
async def _http(settings: Settings, inference: Inference) -> Any:
    """Uvicorn: its task and its port; at the end, requests in flight have `grace_s` to finish."""
    uvicorn: Any = need("uvicorn", "serve")
    from dapter.service.http_api import make_app

    class Quiet(uvicorn.Server):  # type: ignore[misc]
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # `Server.run` does

    config = configure(
        make_app(inference, settings.tokens, settings.origins),
        "serve",
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.private_key,
        timeout_graceful_shutdown=max(1, round(settings.grace_s)),
    )
    try:
        config.load()
    except OSError as error:
        files = f"{settings.certificate} and {settings.private_key}"
        raise UsageError(f"TLS cannot use {files} ({error}). Cure: a certificate and its key, PEM files") from error
    listener = listen(settings.host, settings.port)
    server = Quiet(config)
    task = await begin(server, listener)
    try:
        yield task, listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def _grpc(settings: Settings, inference: Inference) -> Any:
    """grpc.aio: its port, 0 for none; at the end, calls in flight have `grace_s` to finish."""
    if settings.grpc_port is None:
        yield 0
        return
    grpc: Any = need("grpc", "serve")
    need("tritonclient.grpc", "serve")
    from dapter.service.grpc_api import make_server

    server = make_server(inference, settings.tokens)
    address = f"{settings.host}:{settings.grpc_port}"
    try:
        if settings.certificate and settings.private_key:
            pair = (settings.private_key.read_bytes(), settings.certificate.read_bytes())
            port = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        else:
            port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise ServiceError(f"cannot listen at {address}. Cure: choose another port") from error
    await server.start()
    try:
        yield port
    finally:
        await server.stop(settings.grace_s)
