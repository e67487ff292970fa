"""From a photo to the bytes that may leave: open, resize, convert, encode. Every doubt is an error."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from dapter.errors import ConversionError, DapterError, UsageError
from dapter.imagefile import LOSSLESS, encode, open_photo
from dapter.runner import Converter
from dapter.stamps import Stamps
from dapter.verify import verify_release

Photo = Path | str | bytes | np.ndarray


@dataclass(frozen=True)
class Protected:
    """What may leave of one photo.

    Attributes:
        payload: uint8 (H, W, 3).
        file: the payload as an image file, without loss.
        codec: of the file.
        dial: what the converter was set to; None: it has no dial.
        packed: the payload as its stamps, for a door; None: it is sent as an image.
        seconds: `open`, `convert`, `encode`.
    """

    payload: np.ndarray
    file: bytes
    codec: str
    dial: float | None
    packed: bytes | None
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Protector:
    """A verified release, and how photos are brought to it.

    Attributes:
        manifest: release.json.
        size: height and width of payloads.
        published: the stamps that payloads are made of, and the size that a door paints them in; None: no stamps.
        packed: whether payloads are sent as their stamps.
    """

    manifest: Mapping[str, Any]
    converter: Converter = field(repr=False)
    size: tuple[int, int]
    published: tuple[Stamps, tuple[int, int]] | None = field(default=None, repr=False)
    packed: bool = False
    square: bool = True
    dial: float | None = None
    codec: str = "PNG"

    @classmethod
    def open(cls, release: Path | str, key: Path | str, precision: str = "float32", threads: int = 1) -> Self:
        """Verify a release and load its converter, both once.

        Raises:
            CheckFailed: the release fails verification.
            ConversionError: the converter cannot be run.
            UsageError: no such folder or key.
        """
        verified = verify_release(release, key)
        height, width = verified.manifest["image"]["trained"]
        converter = Converter.open(verified, precision, threads)
        return cls(verified.manifest, converter, (height, width), verified.stamps())

    def change(
        self, dial: float | None, size: tuple[int, int] | None, square: bool, codec: str, packed: bool = False
    ) -> Self:
        """The same with the user's choices.

        Raises:
            UsageError: the release does not allow them.
        """
        known = self.manifest["image"]["sizes"]
        size = size or self.size
        if min(size) < 1 or (known != "any" and list(size) not in known):
            sizes = "any size" if known == "any" else ", ".join(f"{high} x {wide}" for high, wide in known)
            raise UsageError(f"{size} is no size of this release. Cure: {sizes}")
        if codec not in LOSSLESS:
            raise UsageError(f"{codec} is no lossless codec. Cure: one of {', '.join(LOSSLESS)}")
        if packed and (self.published is None or self.published[1] != tuple(size)):
            there = "it publishes no stamps" if self.published is None else f"its stamps are for {self.published[1]}"
            raise UsageError(f"{size} of this release cannot be packed: {there}. Cure: send images")
        own = self.manifest["dial"]
        if dial is None:
            dial = own["default"] if own else None
        elif not own or not own["low"] <= dial <= own["high"]:
            there = f"{own['name']} from {own['low']} to {own['high']}" if own else "this converter has none"
            raise UsageError(f"the dial cannot be {dial}. Cure: {there}")
        return replace(self, size=size, square=square, dial=dial, codec=codec, packed=packed)

    def protect(self, photo: Photo) -> Protected:
        """Convert one photo.

        Args:
            photo: a file, the bytes of one, or pixels, uint8 (H, W, 3).

        Raises:
            DataError: it cannot be read.
            ConversionError: it cannot be converted.
            UsageError: it is nothing of that kind.
        """
        try:
            return self._protect(photo)
        except DapterError as error:
            kind, text = type(error), str(error)
        except MemoryError:
            kind, text = ConversionError, "there is not enough memory for this image. Cure: shrink it"
        except Exception as error:
            kind, text = ConversionError, f"an image could not be converted ({type(error).__name__}). Cure: replace it"
        raise kind(f"nothing was sent: {text}")  # out here: an error that carries no frame that holds the original

    def _protect(self, photo: Photo) -> Protected:
        times = [time.perf_counter()]
        pixels = self._open(photo)
        times.append(time.perf_counter())
        payload = self.converter.convert(pixels[None], self.dial)[0]
        times.append(time.perf_counter())
        file, packed = encode(payload, self.codec, fast=True), self._pack(payload)
        times.append(time.perf_counter())
        steps = zip(("open", "convert", "encode"), np.diff(times).tolist(), strict=True)
        return Protected(payload, file, self.codec, self.dial, packed, dict(steps))

    def _pack(self, payload: np.ndarray) -> bytes | None:
        """The payload's stamps, if they are sent instead of it."""
        if not self.packed or self.published is None:
            return None
        stamps, _ = self.published
        return stamps.pack(stamps.read(payload[None])[0])

    def _open(self, photo: Photo) -> np.ndarray:
        if isinstance(photo, np.ndarray) and photo.size == 0:
            raise UsageError(f"pixels of shape {photo.shape} are no photo. Cure: height and width of 1 or more")
        if isinstance(photo, str):
            photo = Path(photo)
        if not isinstance(photo, Path | bytes | np.ndarray):
            raise UsageError(f"a {type(photo).__name__} is no photo. Cure: a path, the bytes of a file, or pixels")
        return open_photo(photo, self.size, square=self.square)
