"""HTTP for the client: bounded time, bounded answers, and attempts repeated only where nothing was done yet."""

import asyncio
import time
from collections.abc import Generator, Mapping
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
        attempts: in all, where the service could not be reached or says that it is busy; a call that it may have
            taken is not repeated.
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


class _Base:
    def __init__(self, url: str, token: str | None, policy: Policy) -> None:
        self.url = model_url(url)
        self._policy = policy
        self._httpx: Any = need("httpx2", "client")
        self._options = {**connection(self.url, token), "timeout": policy.timeout_s}
        self._options["headers"] |= {"User-Agent": "dapter", "Accept-Encoding": "identity"}

    def _arguments(self, call: Call) -> dict[str, Any]:
        body = {"content": call.body} if call.body else {}
        return {"method": call.method, "url": self.url + call.path, "headers": dict(call.headers), **body}

    def _pause(self, attempt: int, error: Exception | None, reply: Reply | None) -> float | None:
        """Seconds to wait before another attempt; None: there is no other."""
        unreached = isinstance(error, self._httpx.ConnectError | self._httpx.ConnectTimeout)
        refused = reply is not None and reply.status in REFUSED
        return self._policy.pause_s * 2**attempt if unreached or refused else None

    def _judge(self, error: Exception | None, reply: Reply | None) -> Reply:
        """The reply, if it is one.

        Raises:
            ServiceError: there is none, or it is an error.
        """
        if error is not None:
            late = isinstance(error, self._httpx.TimeoutException | TimeoutError)
            within = f"did not answer within {self._policy.timeout_s:g} s"
            what = within if late else f"cannot be asked ({_name(error)})"
            raise ServiceError(f"{self.url} {what}; no original was sent. Cure: check URL and network")
        assert reply is not None
        if reply.status != 200:
            said = "".join(letter for letter in reply.body[:300].decode(errors="replace") if letter.isprintable())
            cure = _CURES.get(reply.status, "report it to whoever runs the service")
            raise ServiceError(f"{self.url} refuses ({reply.status}: {said}); no original was sent. Cure: {cure}")
        return reply

    def _grown(self, body: bytearray, part: bytes, deadline: float) -> None:
        """Add a part of an answer.

        Raises:
            TimeoutError, ServiceError: it takes too long, or is too long.
        """
        body += part
        if time.monotonic() > deadline:
            raise TimeoutError
        if len(body) > self._policy.max_bytes:
            raise ServiceError(f"{self.url} answers more than {self._policy.max_bytes} bytes. Cure: check the URL")


_CURES = {401: "give the right token", 403: "give the right token", 404: "check the URL", 429: "try again later",
          503: "try again later"}  # fmt: skip


def _name(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]


class Transport(_Base):
    """Makes calls, one after another."""

    def __init__(self, url: str, token: str | None, policy: Policy) -> None:
        super().__init__(url, token, policy)
        self._client = self._httpx.Client(**self._options)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def run(self, flow: Generator[Call, Reply, T]) -> T:
        """Make the calls that a flow wants, and give what it comes to."""
        try:
            call = next(flow)
            while True:
                call = flow.send(self._send(call))
        except StopIteration as end:
            found: T = end.value
            return found

    def _send(self, call: Call) -> Reply:
        for attempt in range(self._policy.attempts):
            error, reply = None, None
            try:
                reply = self._once(call)
            except (self._httpx.HTTPError, TimeoutError, OSError) as caught:
                error = caught
            pause = self._pause(attempt, error, reply)
            if pause is None or attempt + 1 == self._policy.attempts:
                break
            time.sleep(pause)
        return self._judge(error, reply)

    def _once(self, call: Call) -> Reply:
        deadline, body = time.monotonic() + self._policy.timeout_s, bytearray()
        with self._client.stream(**self._arguments(call)) as answer:
            for part in answer.iter_raw():
                self._grown(body, part, deadline)
        return Reply(answer.status_code, _lower(answer.headers), bytes(body))


class AsyncTransport(_Base):
    """The same for asyncio."""

    def __init__(self, url: str, token: str | None, policy: Policy) -> None:
        super().__init__(url, token, policy)
        self._client = self._httpx.AsyncClient(**self._options)

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
            pause = self._pause(attempt, error, reply)
            if pause is None or attempt + 1 == self._policy.attempts:
                break
            await asyncio.sleep(pause)
        return self._judge(error, reply)

    async def _once(self, call: Call) -> Reply:
        deadline, body = time.monotonic() + self._policy.timeout_s, bytearray()
        async with asyncio.timeout(self._policy.timeout_s), self._client.stream(**self._arguments(call)) as answer:
            async for part in answer.aiter_raw():
                self._grown(body, part, deadline)
        return Reply(answer.status_code, _lower(answer.headers), bytes(body))


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def model_url(url: str) -> str:
    """The URL of a model, without a slash at the end.

    Raises:
        UsageError: it is none.
    """
    parts = read_url(url)
    plain = url.rstrip("/")
    return plain if MODEL in parts.path else f"{plain}{MODEL}model"
