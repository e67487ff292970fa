"""Originals in, payloads out: the only place of the gateway that sees pixels."""

import itertools
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from dapter.errors import ConversionError, DataError
from dapter.imagefile import encode, open_image, open_photo
from dapter.service.refused import Refused

Convert = Callable[[np.ndarray], np.ndarray]
"""Images, uint8 (N, H, W, 3), to what may leave: `dapter.runner.Converter.convert`."""

NOTHING = "Nothing was sent"

PER_REQUEST = 256
"""Image files in one request: small ones that unpack to large images would keep a worker for hours."""


@dataclass(frozen=True)
class Images:
    """Converts what apps send.

    Attributes:
        convert: the converter.
        size: (height, width) that image files are resized to, at which the converter was measured; None: their own.
        max_pixels: of one image file, or of one tensor.
        allowed: (height, width) that the release is for; None: any.
        numbers: counts the files of one request.
    """

    convert: Convert
    size: tuple[int, int] | None = None
    max_pixels: int = 20_000_000
    allowed: Collection[tuple[int, int]] | None = None
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def for_one_request(self) -> Self:
        """The same, for a request whose files are counted from 0."""
        return replace(self, numbers=itertools.count())

    def file(self, content: bytes) -> bytes:
        """The payload of an image file, as a PNG file without metadata.

        Raises:
            Refused: it is no image that can be read, is too large, cannot be converted, or is one too many.
        """
        if next(self.numbers) >= PER_REQUEST:
            raise Refused(413, f"the request holds over {PER_REQUEST} images. Cure: send fewer at a time. {NOTHING}")
        try:
            if self.size is None:
                pixels = open_image(content, max_pixels=self.max_pixels)
            else:
                pixels = open_photo(content, self.size, max_pixels=self.max_pixels)
            return encode(self.pixels(pixels[None])[0], fast=True)
        except DataError as error:
            raise Refused(422, f"{error}. {NOTHING}") from None
        except MemoryError:
            raise _no_memory() from None

    def pixels(self, images: np.ndarray) -> np.ndarray:
        """The payloads of images, uint8 (N, H, W, 3).

        Raises:
            Refused: they are too large, of a size that the release is not for, or cannot be converted.
        """
        if images.size // 3 > self.max_pixels:
            raise Refused(
                413, f"the images have over {self.max_pixels} pixels. Cure: send fewer or smaller ones. {NOTHING}"
            )
        if self.allowed is not None and images.shape[1:3] not in self.allowed:
            sizes = ", ".join(f"{height} x {width}" for height, width in self.allowed)
            raise Refused(422, f"the release is for other sizes of images. Cure: send {sizes}. {NOTHING}")
        try:
            return self.convert(images)
        except ConversionError as error:
            raise Refused(500, f"{error}. {NOTHING}") from None
        except MemoryError:
            raise _no_memory() from None


def _no_memory() -> Refused:
    return Refused(500, f"there is not enough memory to convert this. Cure: send smaller images. {NOTHING}")
