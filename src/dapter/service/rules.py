"""What everything that speaks over a network refuses alike: addresses, tokens, ports, times and counts."""

import ipaddress
from typing import Any
from urllib.parse import SplitResult, urlsplit

from dapter.errors import UsageError, need

TOKEN = "DAPTER_SERVICE_TOKEN"  # noqa: S105 (the name of an environment variable)
"""The environment variable whose value is sent as bearer token to a service."""

LONGEST_S = 86_400
"""Seconds that anything may be waited for: sockets know no much longer time."""


def split_url(url: str) -> SplitResult:
    """The parts of a URL of any kind.

    Raises:
        UsageError: it has none, or holds a name or password, which is not repeated.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _no_url(url) from None
    if "@" in parts.netloc:
        raise UsageError(
            "the URL of the service holds a name or a password. Cure: leave out all up to the @; use a token"
        )
    return parts


def read_url(url: str, extra: str = "client") -> SplitResult:
    """The parts of the URL of a service over HTTP, one that can be asked.

    Args:
        extra: of dapter, that brings the HTTP library.

    Raises:
        UsageError: it is none, or holds a name or password, which is not repeated.
    """
    parts = split_url(url)
    library: Any = need("httpx2", extra)
    try:
        library.URL(url)
        host = (parts.hostname or "").encode("idna")
        usable = parts.port != 0 and not set("?# ") & set(url)
    except (ValueError, library.InvalidURL):
        raise _no_url(url) from None
    if parts.scheme not in ("http", "https") or not host or not usable:
        raise _no_url(url)
    return parts


def _no_url(url: str) -> UsageError:
    shown = "this" if "@" in url else ascii(url)[1:-1]
    return UsageError(f"{shown} is no URL of a service. Cure: https://host or https://host/v2/models/NAME")


def is_local(url: str) -> bool:
    """Whether a URL is of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_protected(url: str) -> None:
    """Whether nobody on the way to a URL can read along: TLS, or no way beyond this machine.

    Raises:
        UsageError: others can.
    """
    if urlsplit(url).scheme != "https" and not is_local(url):
        raise UsageError(f"{url} is not protected on the way. Cure: https://")


def connection(url: str, token: str | None) -> dict[str, Any]:
    """How an HTTP library is told to connect.

    Args:
        url: one that `read_url` has read.

    Raises:
        UsageError: others can read along on the way, or the token cannot be sent; it is not repeated.
    """
    check_protected(url)
    # a proxy that the environment names would carry all off this machine, in the clear
    return {"headers": bearer(token), "follow_redirects": False, "trust_env": not is_local(url)}


def check_port(port: int) -> None:
    """Whether a server can listen at a port; 0 is any free one.

    Raises:
        UsageError: it cannot.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"{port} is no port. Cure: 1 to 65535, or 0 for any free one")


def check_seconds(**times: float) -> None:
    """Whether times by their names can be waited for.

    Raises:
        UsageError: one cannot.
    """
    for name, seconds in times.items():
        if not 0 < seconds <= LONGEST_S:
            raise UsageError(f"{name} is {seconds:g} seconds. Cure: {name} above 0, at most {LONGEST_S} (a day)")


def check_counts(**counts: int) -> None:
    """Whether limits by their names let anything pass.

    Raises:
        UsageError: one is below 1.
    """
    for name, count in counts.items():
        if count < 1:
            raise UsageError(f"{name} is {count}. Cure: 1 or more")


def bearer(token: str | None) -> dict[str, str]:
    """The header of a token, without what surrounds it; none for none.

    Raises:
        UsageError: it cannot be sent; it is not repeated.
    """
    token = (token or "").strip()
    if not token.isascii() or not token.isprintable():
        raise UsageError("the token holds characters that cannot be sent. Cure: the letters, digits and signs alone")
    return {"Authorization": f"Bearer {token}"} if token else {}
