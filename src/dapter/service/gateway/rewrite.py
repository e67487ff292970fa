"""What to do with the body of a request: the one kind of body that it says it is, or nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from dapter.errors import WireError, need
from dapter.service.gateway.images import Images
from dapter.service.gateway.json_body import Path, rewrite_json
from dapter.service.gateway.multipart import rewrite_multipart
from dapter.service.gateway.plain import Plain
from dapter.service.gateway.tensors import INFER, rewrite_tensors
from dapter.service.refused import Refused
from dapter.service.wire import read_length

METHODS = ("GET", "HEAD", "POST", "PUT")
_UNKNOWN = (
    "Cure: send JSON, multipart/form-data, an image file, or the Open Inference Protocol, with its type. "
    "Nothing was sent"
)


@dataclass(frozen=True)
class Incoming:
    """What an app sends.

    Attributes:
        path, query: as on the wire, percent codes and all.
        length: the header of the binary extension of the Open Inference Protocol.
    """

    method: str
    path: bytes
    query: bytes = b""
    kind: str = ""
    length: str | None = None
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Outgoing:
    """What may be sent.

    Attributes:
        headers: those that belong to the body.
        images: how many were converted.
    """

    body: bytes = field(repr=False)
    headers: dict[str, str]
    images: int


def rewrite(incoming: Incoming, images: Images, paths: Sequence[Path] = ()) -> Outgoing:
    """Build the request that may be sent from one that may not.

    Args:
        paths: where JSON holds images.

    Raises:
        Refused: for any doubt; nothing may be sent.
    """
    if not incoming.path.startswith(b"/"):
        raise Refused(400, "the address is no path. Cure: ask the gateway as the service, not as a proxy for all")
    plain = Plain()
    path = _decode(incoming.path)
    plain.address(path, "the path")
    for part in path.split("/"):
        plain.check(part, "the path")
    plain.check(_decode(incoming.query.replace(b"+", b" ")), "the query")
    if incoming.method not in METHODS:
        raise Refused(405, f"{incoming.method} is not forwarded. Cure: one of {', '.join(METHODS)}")
    if not incoming.body:
        return Outgoing(b"", {}, 0)
    images = images.for_one_request()
    if incoming.method in ("GET", "HEAD"):
        raise Refused(400, f"a {incoming.method} with a body. Cure: POST it")
    if INFER.search(path):
        return _tensors(incoming, images, plain)
    if incoming.length is not None:
        raise Refused(400, "tensors at a path that is no inference. Cure: POST them to /v2/models/NAME/infer")
    return _other(incoming, images, paths, plain)


def _tensors(incoming: Incoming, images: Images, plain: Plain) -> Outgoing:
    try:
        length = read_length(incoming.length)
    except WireError as error:
        raise Refused(400, str(error)) from None
    message, found = rewrite_tensors(incoming.body, length, images, plain)
    return Outgoing(message.body, message.headers, found)


def _other(incoming: Incoming, images: Images, paths: Sequence[Path], plain: Plain) -> Outgoing:
    parsed, options = need("python_multipart", "gateway").multipart.parse_options_header(incoming.kind)
    kind = parsed.decode(errors="replace").lower()
    if kind == "application/json" or kind.endswith("+json"):
        body, found = rewrite_json(incoming.body, paths, images, plain)
        return Outgoing(body, {"Content-Type": "application/json"}, found)
    if kind == "multipart/form-data" and 0 < len(options.get(b"boundary", b"")) <= 70:
        body, new, found = rewrite_multipart(incoming.body, options[b"boundary"], paths, images, plain)
        return Outgoing(body, {"Content-Type": new}, found)
    if kind.startswith("image/"):
        return Outgoing(images.file(incoming.body), {"Content-Type": "image/png"}, 1)
    if kind == "application/octet-stream":
        return Outgoing(images.file(incoming.body), {"Content-Type": kind}, 1)
    raise Refused(415, f"a body of a type that is not understood. {_UNKNOWN}")


def _decode(part: bytes) -> str:
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise Refused(400, "the address is no UTF-8. Cure: check its percent codes") from None
