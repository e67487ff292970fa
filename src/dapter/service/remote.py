"""A service behind a URL, of which only the answers are known: asked within a limit, never twice for the same image.

Every answer is kept in a folder of its own, by the hash of its image. A request is written down before it is sent, so
that the count never falls short of what the provider may bill, not even when the process is killed.
"""

import hashlib
import importlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dapter.errors import ServiceError, UsageError, need
from dapter.features import pack
from dapter.imagefile import encode
from dapter.runs import Run
from dapter.service.rules import TOKEN, connection, read_url, split_url
from dapter.service.tensors import BYTES
from dapter.service.wire import LENGTH_HEADER, Output, Request, Tensor, decode_response, encode_request, read_length

Ask = Callable[[str, np.ndarray], Any]
"""How to ask: the URL and payloads, uint8 (N, H, W, 3) or float16 (N, h, w, C); gives scores, float (N, classes),
probabilities or logits, or labels (N,), names or numbers. Raises whatever it likes when there is no answer."""

JOURNAL = "answers.jsonl"
ATTEMPTS = 3
TIMEOUT = 60.0
"""Seconds without a word from the service after which it is given up."""


class Unreached(ServiceError):
    """There is no connection to the service; nothing was sent."""


@dataclass
class Remote:
    """A service behind a URL.

    Attributes:
        url: of the model, such as `https://host/v2/models/NAME`.
        target: the label that it answers.
        classes: the names of the label's values, in the order of its scores.
        limit: the most images that may ever be sent to it; those of earlier runs count.
        price: of one image, in any currency; None if it is not known.
        ask: how to ask; None: the Open Inference Protocol.
        root: where the folder with the answers is kept.
        batch: images in a request.
        pause: seconds before a second attempt, twice as many before a third.
    """

    url: str
    target: str
    classes: Sequence[str]
    limit: int
    price: float | None = None
    ask: Ask | None = None
    root: Path = Path("runs")
    batch: int = 16
    pause: float = 2.0
    run: Run = field(init=False)
    used: int = field(init=False, default=0)
    """Images that were sent so far, answered or not."""

    def __post_init__(self) -> None:
        if self.limit < 1 or len(self.classes) < 2:
            raise UsageError("a service behind a URL needs --query-limit, and at least two classes. Cure: give them")
        if self.ask is None:
            _connection(self.url)
        manifest = {
            "kind": "api",
            "name": split_url(self.url).hostname or "api",
            "settings": {"url": self.url, "target": self.target, "classes": list(self.classes)},
        }
        self.run = Run.open(self.root, f"api-{manifest['name']}-{self.target}", manifest)
        self._known: dict[str, np.ndarray] = {}
        self._read()

    @property
    def cost(self) -> str:
        """What was used so far, for people."""
        price = "" if self.price is None else f", {self.used * self.price:,.2f} at {self.price:g} each"
        return f"{self.used:,} of {self.limit:,} queries{price}"

    def unknown(self, images: np.ndarray) -> int:
        """How many different images, of uint8 (N, H, W, 3), it was not asked for yet."""
        return len({_name(image) for image in images} - set(self._known))

    def answer(self, images: np.ndarray) -> np.ndarray:
        """The probabilities that it answers, float32 (N, classes); a label counts as certain.

        Args:
            images: uint8 (N, H, W, 3); or features, float16 (N, h, w, C), for the service part of a defence that sends
                such.

        Raises:
            UsageError: the limit does not allow it; nothing is asked then.
            ServiceError: it gives no answer, or one that does not fit. What it answered before is kept.
        """
        with self.run.lock():
            self._read()
            names = [_name(image) for image in images]
            new = [
                row for name, row in dict(zip(names, range(len(names)), strict=True)).items() if name not in self._known
            ]
            if self.used + len(new) > self.limit:
                cure = f"Cure: --query-limit {self.used + len(new)}, or fewer images"
                raise UsageError(f"{len(new):,} more images to ask about, and {self.cost} are used. {cure}")
            bar = tqdm(total=len(new), desc=self.cost, unit="query", disable=None)
            for start in range(0, len(new), self.batch):
                rows = new[start : start + self.batch]
                self._keep([names[row] for row in rows], self._ask(images[rows]))
                bar.set_description(self.cost)
                bar.update(len(rows))
            bar.close()
        return np.stack([self._known[name] for name in names])

    def _ask(self, images: np.ndarray) -> np.ndarray:
        ask = self.ask or ask_v2
        for attempt in range(ATTEMPTS):
            if self.used + len(images) > self.limit:
                raise UsageError(f"the limit is reached by repeated attempts: {self.cost}. Cure: --query-limit")
            self._count(len(images))
            try:
                found = ask(self.url, images)
            except Exception as error:  # an adapter may raise anything
                if self.ask is None and isinstance(error, UsageError | Unreached):
                    self._count(-len(images))  # nothing was sent
                if isinstance(error, UsageError):
                    raise
                if attempt == ATTEMPTS - 1:
                    cure = "Cure: check URL and token; the same command goes on where it was"
                    raise ServiceError(f"{self.url} gives no answer ({error}). {self.cost}. {cure}") from error
                time.sleep(self.pause * 2**attempt)
            else:
                return to_probabilities(found, len(images), self.classes)
        raise AssertionError

    def _count(self, images: int) -> None:
        self._write({"sent": images})
        self.used += images

    def _keep(self, names: Sequence[str], answers: np.ndarray) -> None:
        for name, answer in zip(names, answers, strict=True):
            self._known[name] = answer
        self._write({"answers": {name: answer.tolist() for name, answer in zip(names, answers, strict=True)}})

    def _write(self, line: dict[str, Any]) -> None:
        with (self.run.path / JOURNAL).open("a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> None:
        """Read the journal, and cut off a last line that was not wholly written."""
        path = self.run.path / JOURNAL
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(path, len(whole))
        self.used = 0
        for line in map(json.loads, whole.splitlines()):
            self.used += line.get("sent", 0)
            for name, answer in line.get("answers", {}).items():
                self._known[name] = np.array(answer, np.float32)


def _name(image: np.ndarray) -> str:
    return hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()


def to_probabilities(found: Any, n: int, classes: Sequence[str]) -> np.ndarray:
    """What an API said of `n` images as probabilities, float32 (n, classes).

    Args:
        found: scores (n, classes), probabilities or logits; or labels (n,), names of classes or their numbers.

    Raises:
        ServiceError: it does not fit.
    """
    values = np.asarray(found)
    if values.ndim == 2 and values.shape == (n, len(classes)) and np.issubdtype(values.dtype, np.floating):
        scores = values.astype(np.float64)
        if not np.isfinite(scores).all():
            raise ServiceError("the service answers with numbers that are not finite. Cure: check the adapter")
        sums = scores.sum(axis=1, keepdims=True)
        if scores.min() < 0 or np.abs(sums - 1).max() > 1e-2:
            scores = np.exp(scores - scores.max(axis=1, keepdims=True))
            sums = scores.sum(axis=1, keepdims=True)
        shares: np.ndarray = (scores / sums).astype(np.float32)
        return shares
    labels = [
        value.decode(errors="replace") if isinstance(value, bytes) else value for value in values.ravel().tolist()
    ]
    numbers = [classes.index(label) if label in classes else label for label in labels]
    if len(numbers) != n or not all(type(number) is int and 0 <= number < len(classes) for number in numbers):
        cure = f"Cure: scores or labels of {', '.join(classes)[:80]}, in this order; else an adapter"
        raise ServiceError(f"the service answers {values.shape} {str(labels[:3])[:80]} to {n} images. {cure}")
    certain: np.ndarray = np.eye(len(classes), dtype=np.float32)[np.array(numbers)]
    return certain


def find_adapter(path: str) -> Ask:
    """The function at `package.module:name`. Importing runs the user's code.

    Raises:
        UsageError: there is none.
    """
    module, _, name = path.partition(":")
    try:
        found: Ask = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"no adapter {path} ({error}). Cure: package.module:function, on PYTHONPATH") from error
    return found


def ask_v2(url: str, images: np.ndarray) -> np.ndarray:
    """Ask a model of the Open Inference Protocol; gives its scores or labels.

    Pixels are sent to an input of UINT8 (N, H, W, 3) if it has one, else PNG files to one of BYTES; features packed, to
    one of BYTES that is called `features`. Of several outputs,
    probabilities are preferred, then logits.

    Raises:
        UsageError: the URL is not that of a model, others can read along on the way to it, or the model does not take
            such payloads; nothing was sent.
        Unreached: there is no connection; nothing was sent.
        ServiceError, WireError: it does not answer, or cannot be understood.
    """
    options = _connection(url)
    if "/v2/models/" not in url:
        raise UsageError(f"{url} is no model of the protocol. Cure: end it in /v2/models/NAME, or give an adapter")
    client = need("httpx2", "client")
    with client.Client(**options, timeout=TIMEOUT) as service:
        try:
            described = service.get(url).raise_for_status().json()
            name, data = _input(described, images)
            output = _output(described)
            message = encode_request(Request((Tensor(name, data),), (Output(output, binary=True),)))
            reply = service.post(f"{url}/infer", content=message.body, headers=message.headers).raise_for_status()
        except (client.ConnectError, client.ConnectTimeout) as error:
            raise Unreached(f"no connection: {error}") from error
    return decode_response(reply.content, read_length(reply.headers.get(LENGTH_HEADER))).output(output)


def _connection(url: str) -> dict[str, Any]:
    """How to connect.

    Raises:
        UsageError: it is no URL, others can read along on the way to it, or the token cannot be sent there.
    """
    read_url(url)
    return connection(url, os.environ.get(TOKEN))


def _input(described: Any, images: np.ndarray) -> tuple[str, np.ndarray]:
    inputs = {entry["name"]: entry for entry in described["inputs"]}
    packed = inputs.pop("features", None)
    if images.dtype == np.float16:
        if packed is None:
            raise UsageError(f"no input takes features: {str(described['inputs'])[:200]}. Cure: the defence's service")
        return "features", _files([pack(image) for image in images])
    for name, entry in inputs.items():
        if entry["datatype"] == "UINT8" and len(entry["shape"]) == 4 and entry["shape"][3] in (3, -1):
            return name, images
    for name, entry in inputs.items():
        if entry["datatype"] == BYTES:
            files = _files([encode(image, fast=True) for image in images])
            return name, files.reshape(-1, 1) if len(entry["shape"]) == 2 else files
    raise UsageError(f"no input takes images: {str(described['inputs'])[:200]}. Cure: give an adapter")


def _files(contents: list[bytes]) -> np.ndarray:
    files = np.empty(len(contents), object)
    files[:] = contents
    return files


def _output(described: Any) -> str:
    names = [str(entry["name"]) for entry in described["outputs"]]
    return min(names, key=lambda name: ("prob" not in name, "logit" not in name, names.index(name)))
