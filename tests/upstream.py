"""A service on a real socket that keeps every byte it receives, and can misbehave."""

import contextlib
import io
import json
import socketserver
import threading
import time
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from dapter.errors import WireError
from dapter.service.wire import (
    LENGTH_HEADER,
    Request,
    Response,
    Tensor,
    decode_request,
    encode_response,
    read_length,
)

CLASSES = {"colour": ("red", "blue")}


@dataclass(frozen=True)
class Received:
    """One HTTP request. `headers` have lower-case names."""

    method: str
    path: str
    headers: dict
    body: bytes

    def infer_request(self) -> Request:
        return decode_request(self.body, read_length(self.headers.get(LENGTH_HEADER.lower())))


@dataclass(frozen=True)
class Reply:
    """What is answered: after `delay` seconds, and cut off after `cut` bytes of the whole reply."""

    body: bytes = b"{}"
    status: int = 200
    headers: dict = field(default_factory=dict)
    delay: float = 0
    cut: int | None = None
    raw: bytes | None = None

    def to_bytes(self) -> bytes:
        if self.raw is not None:
            return self.raw
        headers = {"Content-Length": len(self.body), **self.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {self.status} Any\r\n{lines}\r\n".encode() + self.body


def metadata(name="model", encoded=True, classes=CLASSES, labels=False):
    inputs = [{"name": "image", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}]
    inputs += [{"name": "encoded", "datatype": "BYTES", "shape": [-1]}] if encoded else []
    outputs = [
        {"name": f"{target}.{kind}", "datatype": "FP32", "shape": [-1, len(names)]}
        for target, names in classes.items()
        for kind in ("logits", "probabilities")
    ]
    outputs += [{"name": f"{target}.label", "datatype": "BYTES", "shape": [-1]} for target in classes if labels]
    return {"name": name, "versions": ["1"], "platform": "test", "inputs": inputs, "outputs": outputs}


def pixels_of(request):
    """Every image of a request, each uint8 (H, W, 3)."""
    found = []
    for tensor in request.inputs:
        if tensor.name == "encoded":
            found += [np.array(Image.open(io.BytesIO(bytes(file))).convert("RGB")) for file in tensor.data.ravel()]
        else:
            found += list(tensor.data)
    return found


def answer(received, classes=CLASSES, encoded=True, labels=False):
    """What a well-behaved service answers: the share of red against blue, for every target; and its name, `labels`."""
    if not received.path.endswith("/infer"):
        return Reply(json.dumps(metadata(received.path.split("/")[-1], encoded, classes, labels)).encode())
    try:
        request = received.infer_request()
    except WireError as error:
        return Reply(json.dumps({"error": str(error)}).encode(), status=400)
    means = np.stack([image.reshape(-1, 3).mean(axis=0) for image in pixels_of(request)]).astype(np.float32)
    outputs = []
    for target, names in classes.items():
        logits = np.resize((means[:, ::2] - 128) / 16, (len(means), len(names))).astype(np.float32)
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        outputs += [Tensor(f"{target}.logits", logits), Tensor(f"{target}.probabilities", shares)]
        if labels:
            named = np.array([name.encode() for name in names], object)[logits.argmax(axis=1)]
            outputs.append(Tensor(f"{target}.label", named))
    wanted = {entry.name for entry in request.outputs} or {tensor.name for tensor in outputs}
    chosen = tuple(tensor for tensor in outputs if tensor.name in wanted)
    message = encode_response(Response("model", "1", chosen, request.id), request)
    return Reply(message.body, headers=message.headers)


class Upstream:
    """A context: a server on 127.0.0.1 whose replies `answer` makes.

    Attributes:
        answer: a Received to a Reply; can be replaced at any time.
        received: every byte of every connection, in the order of arrival.
        requests: every whole request.
    """

    def __init__(self, answer=answer):
        self.answer = answer
        self.received = bytearray()
        self.requests = []
        self._lock = threading.Lock()

    def __enter__(self):
        upstream = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                with contextlib.suppress(OSError):
                    upstream._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def received_nothing_of(self, *secrets, run=24):
        """Whether no piece of `run` bytes of any of the secrets was received."""
        received = bytes(self.received)
        return not any(
            secret[start : start + run] in received
            for secret in secrets
            for start in range(0, max(1, len(secret) - run + 1), max(1, run // 2))
        )

    def _serve(self, connection):
        connection.settimeout(10)
        stream = _Recorder(connection, self)
        while (received := _read_request(stream)) is not None:
            self.requests.append(received)
            reply = self.answer(received)
            time.sleep(reply.delay)
            raw = reply.to_bytes()
            connection.sendall(raw if reply.cut is None else raw[: reply.cut])
            if reply.cut is not None or reply.raw is not None:
                return


class _Recorder:
    """Reads lines and blocks from a socket, and keeps all of it."""

    def __init__(self, connection, upstream):
        self._connection, self._upstream, self._waiting = connection, upstream, b""

    def _more(self):
        block = self._connection.recv(65536)
        with self._upstream._lock:
            self._upstream.received += block
        self._waiting += block
        return bool(block)

    def line(self):
        while b"\r\n" not in self._waiting:
            if not self._more():
                return None
        found, _, self._waiting = self._waiting.partition(b"\r\n")
        return found

    def block(self, length):
        while len(self._waiting) < length and self._more():
            pass
        found, self._waiting = self._waiting[:length], self._waiting[length:]
        return found


def _read_request(stream):
    first = stream.line()
    if not first:
        return None
    method, path, _ = first.decode("latin-1").split(" ", 2)
    headers = {}
    while line := stream.line():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while length := int(stream.line() or b"0", 16):
            body += stream.block(length)
            stream.line()
        stream.line()
    else:
        body = stream.block(int(headers.get("content-length", 0)))
    return Received(method, path, headers, body)
