"""Ways in which an original might slip past the gateway, on raw sockets; the service keeps every byte it gets."""

import base64
import gzip
import json
import socket
import zlib

import pytest

from originals import Original, form

ORIGINAL = Original(11)
HIDDEN = ORIGINAL.base64
FILE = ORIGINAL.file


def chunked(body, trailer=b"", extension=b""):
    pieces = [body[start : start + 100] for start in range(0, len(body), 100)]
    return b"".join(b"%x%b\r\n%b\r\n" % (len(each), extension, each) for each in pieces) + b"0\r\n" + trailer + b"\r\n"


def request(headers, body=b"", target=b"/v1/classify", method=b"POST", *, length=True):
    lines = [b"%b %b HTTP/1.1" % (method, target), b"Host: a", *headers]
    lines += [b"Content-Length: %d" % len(body)] if length else []
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


JPEG, CHUNKED, JSON = b"Content-Type: image/jpeg", b"Transfer-Encoding: chunked", b"Content-Type: application/json"
ENDED = json.dumps({"prompt": "what is it"}).encode()
ZIPPED = gzip.compress(FILE)
SMALL = base64.b64encode(FILE)[:3000]
PIECES = [SMALL[start : start + 60] for start in range(0, 2400, 60)]
ATTEMPTS = {
    "chunks": request([JPEG, CHUNKED], chunked(FILE), length=False),
    "trailers": request([JPEG, CHUNKED], chunked(FILE, b"X-API-Key: " + SMALL + b"\r\n"), length=False),
    "chunk extensions": request([JPEG, CHUNKED], chunked(FILE, b"", b";a=" + SMALL[:60]), length=False),
    "two lengths": request([JPEG, b"Content-Length: 5"], FILE),
    "length and chunks": request([JPEG, CHUNKED], chunked(FILE)),
    "a length that is too short": request([JPEG, b"Content-Length: 100"], FILE, length=False),
    "compressed chunks": request([JPEG, b"Transfer-Encoding: gzip, chunked"], chunked(ZIPPED), length=False),
    "gzip": request([JSON, b"Content-Encoding: gzip"], ZIPPED),
    "gzip that is not said": request([JSON], ZIPPED),
    "deflate in a form": request(
        [b"Content-Type: multipart/form-data; boundary=limit"],
        form(("a", None, 'text/plain\r\nContent-Encoding: deflate', zlib.compress(FILE))),
    ),
    "two requests at once": request([JSON], ENDED) + request([JPEG], FILE),
    "a request in a request": request([JSON], request([JPEG], FILE)),
    "an upgrade": request([JPEG, b"Connection: Upgrade", b"Upgrade: websocket"], FILE),
    "an upgrade to HTTP/2": request([JPEG, b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c"], FILE),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + FILE,
    "an expectation": request([JPEG, b"Expect: 100-continue"], FILE),
    "a header": request([b"X-Image: " + SMALL]),
    "a cookie": request([b"Cookie: image=" + SMALL]),
    "what is accepted": request([b"Accept: " + SMALL]),
    "an encoding that is accepted": request([b"Accept-Encoding: " + SMALL]),
    "a key": request([b"X-API-Key: " + SMALL]),
    "a token": request([b"Authorization: Bearer " + SMALL]),
    "a token in hex": request([b"Authorization: Bearer " + FILE.hex().encode()[:3000]]),
    "a header in two lines": request([b"Accept: a,", b" " + SMALL]),
    "a method": request([], method=SMALL.replace(b"/", b"!").replace(b"=", b"!")),
    "the target": request([], target=b"/" + SMALL),
    "a fragment": request([], target=b"/a#" + SMALL),
    "a query of many": request([], target=b"/a?" + b"&".join(b"p=" + piece for piece in PIECES)),
    "parts of a path": request([], target=b"/" + b"/".join(piece.replace(b"/", b"_") for piece in PIECES)),
    "a GET": request([JPEG], FILE, method=b"GET"),
    "a HEAD": request([JPEG], FILE, method=b"HEAD"),
    "health": request([JPEG], FILE, target=b"/dapter/health"),
    "two types": request([JPEG, JSON], FILE),
    "types in one": request([b"Content-Type: application/json, image/jpeg"], FILE),
    "HTTP/1.0": request([JPEG], FILE).replace(b"HTTP/1.1", b"HTTP/1.0"),
}  # fmt: skip


def say(url, sent):
    """Everything that is answered to bytes."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        found = b""
        try:
            connection.sendall(sent)
            while part := connection.recv(65536):
                found += part
                connection.settimeout(0.3)
        except OSError:
            pass
        return found


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_no_original_leaves_on_the_wire(gateway, upstream, attempt, caplog):
    with caplog.at_level("DEBUG"):
        said = say(gateway, ATTEMPTS[attempt])
    assert said.startswith(b"HTTP/1.1 ")
    assert not ORIGINAL.is_in(bytes(upstream.received))
    assert not ORIGINAL.is_in(caplog.text.encode())
