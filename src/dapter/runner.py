"""Run an exported converter: numpy and ONNX Runtime, no torch. Of dapter it needs errors, stamps and types only."""

from typing import Any, Protocol, Self

import numpy as np

from dapter.errors import CheckFailed, ConversionError, UsageError, need
from dapter.stamps import Stamps
from dapter.types import check_images

IMAGE, PAYLOAD = "image", "payload"
"""What the graph calls its input and its output."""

CHUNK_PIXELS = 500_000
"""About how many pixels are converted at a time; bounds memory."""


class Release(Protocol):
    """What is needed of a verified release (`dapter.verify.Release`)."""

    @property
    def manifest(self) -> Any:
        """What `release.json` says."""

    def export(self, form: str = "onnx", precision: str = "float32") -> bytes:
        """The bytes of an export."""

    def stamps(self) -> tuple[Stamps, tuple[int, int]] | None:
        """What payloads are made of; None: of anything."""


class Converter:
    """An ONNX file that converts images. Nothing that it was not sure of leaves it: every doubt is an error.

    Args:
        graph: the bytes of the file.
        threads: that a conversion uses.

    Attributes:
        dial: the name of the further input, `lam`; None: it has none.

    Raises:
        ConversionError: the file is damaged, or no converter.
    """

    def __init__(self, graph: bytes, threads: int = 1) -> None:
        runtime = need("onnxruntime", "client")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # each of the runtime's errors is a class of its own, below RuntimeError or not
            raise ConversionError(f"the converter cannot be loaded ({error}). Cure: get its release again") from error
        inputs = {entry.name: (entry.type, len(entry.shape)) for entry in self._session.get_inputs()}
        outputs = {entry.name: (entry.type, len(entry.shape)) for entry in self._session.get_outputs()}
        dials = [name for name in inputs if name != IMAGE]
        expected = {IMAGE: ("tensor(uint8)", 4), **dict.fromkeys(dials[:1], ("tensor(float)", 0))}
        if inputs != expected or outputs != {PAYLOAD: ("tensor(uint8)", 4)}:
            raise ConversionError(
                f"this is no converter: it takes {inputs} and gives {outputs}. Cure: get its release again"
            )
        self.dial = dials[0] if dials else None
        self._range = (-np.inf, np.inf)
        self._default: float | None = None
        self._stamps: Stamps | None = None

    @classmethod
    def open(cls, release: Release, precision: str = "float32", threads: int = 1) -> Self:
        """The converter of a verified release.

        Raises:
            CheckFailed: the release has no such export, or has changed since it was verified.
            ConversionError: its dial is not the graph's.
        """
        found = cls(release.export("onnx", precision), threads)
        dial = release.manifest["dial"]
        if (dial["name"] if dial else None) != found.dial:
            raise ConversionError("the release and its graph disagree about the dial. Cure: get the release again")
        if dial:
            found._range, found._default = (dial["low"], dial["high"]), dial["default"]
        if published := release.stamps():
            found._stamps, _ = published
        return found

    def convert(self, images: np.ndarray, dial: float | None = None) -> np.ndarray:
        """What may leave the device for these images.

        Args:
            images: uint8 (N, H, W, 3), RGB.
            dial: for a converter that has one; by default the release's.

        Returns:
            uint8 (N, H, W, 3).

        Raises:
            UsageError: not such images, or a dial that the converter does not have or that is out of its range.
            ConversionError: the conversion failed, an image of more than one colour came back as it was, or a payload
                is not made of the stamps that its release publishes. Nothing may be sent.
        """
        check_images(images)
        inputs = self._inputs(dial)
        chunk = max(1, CHUNK_PIXELS // max(1, images.shape[1] * images.shape[2]))
        parts = [self._chunk(images[start : start + chunk], inputs) for start in range(0, len(images), chunk)]
        return np.concatenate(parts) if parts else images.copy()

    def _inputs(self, dial: float | None) -> dict[str, np.ndarray]:
        if self.dial is None:
            if dial is not None:
                raise UsageError("this converter has no dial. Cure: leave it out")
            return {}
        value = self._default if dial is None else dial
        low, high = self._range
        if value is None or not low <= value <= high:
            raise UsageError(f"{self.dial} is {value}. Cure: a number from {low} to {high}")
        return {self.dial: np.array(value, np.float32)}

    def _chunk(self, images: np.ndarray, inputs: dict[str, np.ndarray]) -> np.ndarray:
        try:
            (found,) = self._session.run([PAYLOAD], {IMAGE: np.ascontiguousarray(images), **inputs})
        except Exception as error:
            raise ConversionError(
                f"the converter fails on images of {images.shape[1:]} ({error}). Cure: the size that it was made for"
            ) from error
        if not isinstance(found, np.ndarray) or found.dtype != np.uint8 or found.shape != images.shape:
            shape = getattr(found, "shape", type(found).__name__)
            raise ConversionError(f"the converter gave {shape} for {images.shape}. Cure: get its release again")
        same, plain = ((images == other).all(axis=(1, 2, 3)) for other in (found, images[:, :1, :1]))
        if (same & ~plain).any():  # an image of one colour shows that colour only, and may be what is sent
            raise ConversionError("the converter gave the original back. Cure: choose a converter that protects")
        if self._stamps is not None:
            _check_stamps(self._stamps, found)
        return found


def _check_stamps(stamps: Stamps, payloads: np.ndarray) -> None:
    try:
        stamps.read(payloads)
    except (CheckFailed, UsageError) as error:
        raise ConversionError(f"the converter does not keep to the stamps of its release: {error}") from None
