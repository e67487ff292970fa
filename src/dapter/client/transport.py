"""HTTP for the client: bounded time, bounded answers, and attempts repeated only where nothing was done yet."""

import asyncio
import threading
import weakref
from collections.abc import Coroutine, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dapter.errors import ServiceError, UsageError, need
from dapter.service.rules import LONGEST_S, check_counts, check_seconds, connection, read_url

MODEL = "/v2/models/"
REFUSED = (429, 503)
"""The service did nothing yet: asking again is safe."""

T = TypeVar("T")


@dataclass(frozen=True)
class Policy:
    """Time and attempts.

    Attributes:
        timeout_s: for one call, from connecting to the last byte of the answer.
        attempts: in all, where there is no connection to the service or it says that it is busy; a call that it may
            have taken is not repeated, nor one that took too long.
        pause_s: before the second attempt; twice as long before each further one.
        max_bytes: of an answer.
    """

    timeout_s: float = 15.0
    attempts: int = 3
    pause_s: float = 0.25
    max_bytes: int = 4 * 2**20

    def __post_init__(self) -> None:
        check_seconds(timeout=self.timeout_s)
        check_counts(attempts=self.attempts, max_bytes=self.max_bytes)
        if not 0 <= self.pause_s <= LONGEST_S:
            raise UsageError(f"a pause of {self.pause_s} seconds cannot work. Cure: 0 or more, at most {LONGEST_S}")


@dataclass(frozen=True)
class Call:
    """One HTTP request; `path` begins below the model's URL."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """The answer to a call; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class AsyncTransport:
    """Makes calls."""

    def __init__(self, url: str, token: str | None, policy: Policy) -> None:
        self.url = model_url(url)
        self._policy = policy
        self._httpx: Any = need("httpx2", "client")
        options = connection(self.url, token)
        options["headers"] |= {"User-Agent": "dapter", "Accept-Encoding": "identity"}
        self._client = self._httpx.AsyncClient(**options, timeout=None)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def run(self, flow: Generator[Call, Reply, T]) -> T:
        """Make the calls that a flow wants, and give what it comes to."""
        try:
            call = next(flow)
            while True:
                call = flow.send(await self._send(call))
        except StopIteration as end:
            found: T = end.value
            return found

    async def _send(self, call: Call) -> Reply:
        for attempt in range(self._policy.attempts):
            error, reply = None, None
            try:
                reply = await self._once(call)
            except (self._httpx.HTTPError, TimeoutError, OSError) as caught:
                error = caught
            unreached = isinstance(error, self._httpx.ConnectError)
            refused = reply is not None and reply.status in REFUSED
            if not (unreached or refused) or attempt + 1 == self._policy.attempts:
                break
            await asyncio.sleep(self._policy.pause_s * 2**attempt)
        return self._judge(error, reply)

    async def _once(self, call: Call) -> Reply:
        content = {"content": call.body} if call.body else {}
        arguments = {"method": call.method, "url": self.url + call.path, "headers": dict(call.headers), **content}
        body = bytearray()
        async with asyncio.timeout(self._policy.timeout_s), self._client.stream(**arguments) as answer:
            async for part in answer.aiter_raw():
                body += part
                if len(body) > self._policy.max_bytes:
                    most = self._policy.max_bytes
                    raise ServiceError(f"{self.url} answers more than {most} bytes. Cure: check the URL")
        return Reply(answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, bytes(body))

    def _judge(self, error: Exception | None, reply: Reply | None) -> Reply:
        """The reply, if it is one.

        Raises:
            ServiceError: there is none, or it is an error.
        """
        if error is not None:
            within = f"did not answer within {self._policy.timeout_s:g} s"
            what = within if isinstance(error, TimeoutError) else f"cannot be asked ({_name(error)})"
            raise ServiceError(f"{self.url} {what}; no original was sent. Cure: check URL and network")
        assert reply is not None
        if reply.status != 200:
            said = "".join(letter for letter in reply.body[:300].decode(errors="replace") if letter.isprintable())
            cure = _CURES.get(reply.status, "report it to whoever runs the service")
            raise ServiceError(f"{self.url} refuses ({reply.status}: {said}); no original was sent. Cure: {cure}")
        return reply


class Transport:
    """The same for those who wait: on a thread of its own, where asyncio ends a call in time, wherever it hangs."""

    def __init__(self, url: str, token: str | None, policy: Policy) -> None:
        self._calls = AsyncTransport(url, token, policy)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=_run, args=(self._loop,), name="dapter-client", daemon=True).start()
        self._stop = weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)

    def close(self) -> None:
        """Close the connections."""
        if self._stop.alive:
            self._wait(self._calls.close())
            self._stop()

    def run(self, flow: Generator[Call, Reply, T]) -> T:
        """As `AsyncTransport.run`."""
        if not self._stop.alive:
            raise UsageError("this client is closed. Cure: make another")
        return self._wait(self._calls.run(flow))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        waiting = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return waiting.result()
        finally:
            waiting.cancel()  # what is still under way: who waited was interrupted


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


_CURES = {401: "give the right token", 403: "give the right token", 404: "check the URL", 429: "try again later",
          503: "try again later"}  # fmt: skip


def _name(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def model_url(url: str) -> str:
    """The URL of a model, without a slash at the end.

    Raises:
        UsageError: it is none.
    """
    parts = read_url(url)
    plain = url.rstrip("/")
    return plain if MODEL in parts.path else f"{plain}{MODEL}model"
