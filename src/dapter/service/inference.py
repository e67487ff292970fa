"""What a server does with a request, whatever protocol carried it: check, open the images, ask, answer.

Every model takes `image`, uint8 (N, H, W, 3), or `encoded`, N image files as BYTES; the service part of a defence that
sends features takes `features` instead, N times what `features.pack` gives. It gives, for each target, `TARGET.logits`
and `TARGET.probabilities`, float32 (N, classes), and `TARGET.label`, the name of the likeliest class.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dapter.errors import DataError, UsageError
from dapter.features import unpack
from dapter.imagefile import open_image
from dapter.service.batching import Answers, Batcher
from dapter.service.metering import Meters
from dapter.service.refused import Refused
from dapter.service.rules import check_counts, check_seconds
from dapter.service.wire import Request, Response, Tensor
from dapter.types import check_images

IMAGE, ENCODED, FEATURES = "image", "encoded", "features"
LOGITS, PROBABILITIES, LABEL = "logits", "probabilities", "label"


@dataclass(frozen=True)
class Model:
    """One version of a model.

    Attributes:
        classes: for each target, the names of its values.
        answer: images, uint8 (N, H, W, 3), or features, to logits, float32 (N, classes) for each target.
        takes_features: whether payloads are features, float16 (N, h, w, C).
    """

    name: str
    version: str
    classes: Mapping[str, Sequence[str]]
    answer: Callable[[np.ndarray], Answers]
    takes_features: bool = False

    def inputs(self) -> list[dict[str, Any]]:
        """The protocol's description of the inputs, of which a request has one."""
        if self.takes_features:
            return [{"name": FEATURES, "datatype": "BYTES", "shape": [-1]}]
        image = {"name": IMAGE, "datatype": "UINT8", "shape": [-1, -1, -1, 3]}
        return [image, {"name": ENCODED, "datatype": "BYTES", "shape": [-1]}]

    def outputs(self) -> list[dict[str, Any]]:
        """The protocol's description of the outputs."""
        found: list[dict[str, Any]] = []
        for target, names in self.classes.items():
            shape = [-1, len(names)]
            found += [
                {"name": f"{target}.{kind}", "datatype": "FP32", "shape": shape} for kind in (LOGITS, PROBABILITIES)
            ]
            found.append({"name": f"{target}.{LABEL}", "datatype": "BYTES", "shape": [-1]})
        return found


@dataclass(frozen=True)
class Limits:
    """What one request, and all of them together, may take.

    Attributes:
        max_bytes: of a request's body.
        max_images: in a request, or payloads that are features.
        max_pixels: of all images of a request together, or places of all its features.
        timeout_s: for a request, from its first byte to its answer.
        max_requests: at a time; further ones are refused.
        max_batch: images that are computed together.
    """

    max_bytes: int = 32 * 2**20
    max_images: int = 64
    max_pixels: int = 16_000_000
    timeout_s: float = 30.0
    max_requests: int = 32
    max_batch: int = 32

    def __post_init__(self) -> None:
        check_counts(**{name: value for name, value in vars(self).items() if name != "timeout_s"})
        check_seconds(timeout=self.timeout_s)


class Inference:
    """Models, and all that happens between a request and its answer.

    Args:
        models: each name and version once.

    Attributes:
        ready: whether requests are taken; unset while the server shuts down.
    """

    def __init__(self, models: Sequence[Model], limits: Limits, meters: Meters) -> None:
        self.limits, self.meters = limits, meters
        self.ready = True
        self._requests = 0
        self._models: dict[str, dict[str, tuple[Model, Batcher]]] = {}
        for model in models:
            versions = self._models.setdefault(model.name, {})
            if model.version in versions:
                raise UsageError(f"{model.name} has two versions {model.version}. Cure: number them")
            batcher = Batcher(
                model.answer, limits.max_batch, limits.max_images * limits.max_requests, meters.batch(model.name)
            )
            versions[model.version] = (model, batcher)
        if not models:
            raise UsageError("there is no model to serve. Cure: name one or more")

    def close(self) -> None:
        """Let the models' threads go."""
        for versions in self._models.values():
            for _, batcher in versions.values():
                batcher.close()

    def versions(self, name: str) -> list[str]:
        """The versions of a model, oldest first; none if there is no such model."""
        return sorted(self._models.get(name, {}), key=_order)

    def find(self, name: str, version: str = "") -> Model:
        """A model; by default its newest version.

        Raises:
            Refused: there is none.
        """
        return self._find(name, version)[0]

    def _find(self, name: str, version: str) -> tuple[Model, Batcher]:
        if name not in self._models or (version and version not in self._models[name]):
            there = ", ".join(f"{name} {version}" for name in self.names() for version in self.versions(name))
            raise Refused(404, f"there is no model {f'{name} {version}'.strip()!r}. Cure: one of {there}")
        return self._models[name][version or self.versions(name)[-1]]

    def names(self) -> list[str]:
        """The names of the models."""
        return sorted(self._models)

    @contextlib.contextmanager
    def admit(self) -> Iterator[None]:
        """Around all that one request takes, from reading its body on.

        Raises:
            Refused: too many at a time, or shutting down.
        """
        if not self.ready or self._requests >= self.limits.max_requests:
            reason = "too many requests at a time" if self.ready else "the server shuts down"
            raise Refused(503, f"{reason}. Cure: try again later")
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    async def infer(self, name: str, version: str, request: Request) -> Response:
        """Answer a request.

        Raises:
            Refused: no such model, or too many images wait.
            WireError, DataError, UsageError, ServiceError: what was sent cannot be answered.
        """
        model, batcher = self._find(name, version)
        wanted = _wanted(model, request)
        images = await asyncio.to_thread(self._open, model, request)
        logits = await _ask(batcher, images)
        outputs = dict(entry for target in model.classes for entry in _outputs(model, target, logits[target]))
        tensors = tuple(Tensor(output, outputs[output]) for output in wanted)
        return Response(model.name, model.version, tensors, request.id)

    def _open(self, model: Model, request: Request) -> list[np.ndarray]:
        """The images of a request, each uint8 (H, W, 3), or its features, each float16 (h, w, C)."""
        known = {entry["name"] for entry in model.inputs()}
        if len(request.inputs) != 1 or request.inputs[0].name not in known:
            cure = "bytes of packed features" if model.takes_features else f"or {ENCODED} with image files"
            raise UsageError(f"a request has one input. Cure: {FEATURES if model.takes_features else IMAGE}, {cure}")
        tensor = request.inputs[0]
        if tensor.name == FEATURES:
            return self._files(tensor, _unpack)
        if tensor.name == ENCODED:
            return self._files(tensor, lambda file, left: open_image(file, max_pixels=left))
        check_images(tensor.data)
        self._check_number(len(tensor.data))
        pixels = len(tensor.data) * tensor.data.shape[1] * tensor.data.shape[2]
        if not 0 < pixels <= self.limits.max_pixels:
            raise UsageError(f"{pixels} pixels in a request. Cure: 1 to {self.limits.max_pixels}")
        return list(tensor.data)

    def _files(self, tensor: Tensor, read: Callable[[bytes, int], np.ndarray]) -> list[np.ndarray]:
        """Each file of a tensor, read with as many pixels as are left."""
        if tensor.datatype != "BYTES" or tensor.data.ndim != 1:
            raise UsageError(f"{tensor.name} is no list of BYTES. Cure: shape [N], the file of one payload each")
        self._check_number(len(tensor.data))
        images: list[np.ndarray] = []
        left = self.limits.max_pixels
        for place, file in enumerate(tensor.data):
            try:
                images.append(read(file, left))
            except DataError as error:
                raise DataError(f"payload {place} of {len(tensor.data)}: {error}") from error
            left -= images[-1].shape[0] * images[-1].shape[1]
        return images

    def _check_number(self, images: int) -> None:
        if not 0 < images <= self.limits.max_images:
            raise UsageError(f"{images} payloads in a request. Cure: 1 to {self.limits.max_images}")


def _unpack(file: bytes, places: int) -> np.ndarray:
    """The features in a file, float16 (h, w, C), of no more places than that."""
    found = unpack(file)
    if found.shape[0] * found.shape[1] > places:
        raise DataError(f"features of {found.shape[0]} x {found.shape[1]} places. Cure: smaller ones, or fewer of them")
    return found


def _order(version: str) -> tuple[int, str]:
    return int(version) if version.isdecimal() else -1, version


def _wanted(model: Model, request: Request) -> list[str]:
    """The names of the outputs to answer with."""
    there = [output["name"] for output in model.outputs()]
    asked = [output.name for output in request.outputs]
    unknown = sorted(set(asked) - set(there))
    if unknown:
        raise UsageError(f"there is no output {', '.join(unknown)}. Cure: choose among {', '.join(there)}")
    for output in request.outputs:
        if output.parameters:
            raise UsageError(f"output parameter {', '.join(output.parameters)} is not known. Cure: leave it out")
    return list(dict.fromkeys(asked)) or there


async def _ask(batcher: Batcher, images: Sequence[np.ndarray]) -> Answers:
    """The answers to images of several sizes, in their order."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, image in enumerate(images):
        groups.setdefault(image.shape, []).append(place)
    answers = await asyncio.gather(
        *(batcher.ask(np.stack([images[place] for place in places])) for places in groups.values())
    )
    back = np.argsort(np.concatenate(list(groups.values())))
    return {target: np.concatenate([entry[target] for entry in answers])[back] for target in answers[0]}


def _outputs(model: Model, target: str, logits: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The outputs of one target, with their names."""
    values = logits.astype(np.float32)
    names = np.empty(len(model.classes[target]), object)
    names[:] = [name.encode() for name in model.classes[target]]
    return [
        (f"{target}.{LOGITS}", values),
        (f"{target}.{PROBABILITIES}", softmax(values)),
        (f"{target}.{LABEL}", names[values.argmax(axis=1)]),
    ]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities, float32 (N, classes), of logits (N, classes)."""
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: np.ndarray = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities
