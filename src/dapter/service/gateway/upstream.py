"""The way to the service: which headers go there, which come back, and everything that can go wrong on it."""

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dapter.errors import UsageError, need
from dapter.service.gateway.plain import begins_image
from dapter.service.gateway.rewrite import Outgoing
from dapter.service.refused import Refused
from dapter.service.rules import check_protected, check_seconds, read_url

PASS = frozenset(
    [
        "accept",
        "accept-encoding",
        "authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "ocp-apim-subscription-key",
    ]
)
"""Headers of an app that go to the service: what it wants back, and who pays. No cookie, address or name of the app."""

NEVER = frozenset(
    [
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-md5",
        "digest",
        "content-digest",
        "repr-digest",
    ]
)
"""Headers that cannot pass: they describe the connection, or a body that is not the one that is sent."""

DROP = frozenset(
    [
        "connection",
        "date",
        "keep-alive",
        "proxy-authenticate",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "alt-svc",
        "location",
        "content-location",
        "refresh",
        "link",
        "set-cookie",
        "set-cookie2",
    ]
)
"""Headers of the service that do not come back: of its connection, and those that lead an app past the gateway."""

SHORT = ("accept", "accept-encoding")
"""Headers that hold no key."""

SHORT_BYTES = 256
HEADER_BYTES = 8192
"""Of the headers that pass, all together."""


@dataclass(frozen=True)
class Reply:
    """What the service answered."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Upstream:
    """The service.

    Args:
        url: where it is; over TLS, verified, unless it is on this machine.
        headers: further headers that pass to it.
        ca: a PEM file of who vouches for it, instead of the system's list.
        timeout_s: that a whole answer may take.
        max_bytes: of an answer.

    Raises:
        UsageError: no such URL, or one that is not protected; no such file; a time that cannot be waited for.
    """

    def __init__(
        self,
        url: str,
        headers: Iterable[str] = (),
        ca: Path | None = None,
        timeout_s: float = 60.0,
        max_bytes: int = 32 * 2**20,
    ) -> None:
        self._library: Any = need("httpx2", "gateway")
        read_url(url, "gateway")
        check_protected(url)
        wrong = sorted(name for name in headers if name.lower() in NEVER)
        if wrong:
            raise UsageError(f"{', '.join(wrong)} cannot pass. Cure: leave it out")
        check_seconds(timeout=timeout_s)
        self._pass = {*PASS, *(name.lower() for name in headers)}
        self._base = self._library.URL(url.rstrip("/") + "/")
        self._timeout_s, self._max_bytes = timeout_s, max_bytes
        self._client = self._library.AsyncClient(
            verify=_trust(ca),
            timeout=self._library.Timeout(timeout_s, connect=10.0),
            limits=self._library.Limits(max_connections=256, max_keepalive_connections=64),
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def select(self, headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
        """The headers of an app that may pass, by lower-case name.

        Raises:
            Refused: they are too long, hold an image, or sign the original's body, or one is there twice.
        """
        found: dict[str, str] = {}
        left = HEADER_BYTES
        for raw, value in headers:
            name = raw.decode("latin-1").lower()
            if name not in self._pass:
                continue
            left -= len(value)
            if name in found or left < 0 or (name in SHORT and len(value) > SHORT_BYTES):
                raise Refused(431, f"the header {name} is there twice, or too long. Cure: send it once. {_UNSENT}")
            if not value.isascii() or begins_image(value.decode("ascii")):
                raise Refused(422, f"the header {name} holds an image, or is not ASCII. Cure: leave it out. {_UNSENT}")
            found[name] = value.decode("ascii")
        if found.get("authorization", "").upper().startswith("AWS4-"):
            raise Refused(400, "the request is signed with its body, which is replaced. Cure: sign behind the gateway")
        return found

    async def send(
        self, method: str, path: bytes, query: bytes, headers: Mapping[str, str], outgoing: Outgoing
    ) -> Reply:
        """Send what may be sent, once, and read the whole answer.

        Raises:
            Refused: there is no whole answer.
        """
        target = self._base.raw_path.rstrip(b"/") + b"/" + path.lstrip(b"/") + (b"?" + query if query else b"")
        request = self._client.build_request(
            method,
            self._base.copy_with(raw_path=target),
            headers={"accept-encoding": "identity", "user-agent": "dapter-gateway", **headers, **outgoing.headers},
            content=outgoing.body or None,
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._client.send(request, stream=True)
                try:
                    return await self._read(response)
                finally:
                    await response.aclose()
        except (self._library.TimeoutException, TimeoutError):
            raise Refused(504, f"the service did not answer in time. {_SENT}") from None
        except self._library.ConnectError:
            raise Refused(502, "the service cannot be reached. Cure: check --upstream. Nothing was sent") from None
        except (self._library.HTTPError, self._library.InvalidURL, self._library.StreamError):
            raise Refused(502, f"the service cut the line, or did not answer in HTTP. {_SENT}") from None

    async def _read(self, response: Any) -> Reply:
        if not 200 <= response.status_code < 600:
            raise Refused(502, f"the service answers with status {response.status_code}. {_SENT}")
        if 300 <= response.status_code < 400 and response.status_code != 304:
            raise Refused(502, f"the service sends apps elsewhere, past the gateway. Cure: check --upstream. {_SENT}")
        body = bytearray()
        async for part in response.aiter_raw():
            body += part
            if len(body) > self._max_bytes:
                raise Refused(502, f"the service answers over {self._max_bytes} bytes. {_SENT}")
        named = [word.strip().lower() for word in response.headers.get("connection", "").encode().split(b",")]
        dropped = {*(name.encode() for name in DROP), *named}
        headers = [(name, value) for name, value in response.headers.raw if name.lower() not in dropped]
        return Reply(response.status_code, headers, bytes(body))


def _trust(ca: Path | None) -> ssl.SSLContext:
    """Who may vouch for the service.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise UsageError(f"{ca} cannot be read ({error}). Cure: a PEM file of who vouches for the service") from error


_UNSENT = "Nothing was sent"
_SENT = "No original was sent. Cure: try again later"
