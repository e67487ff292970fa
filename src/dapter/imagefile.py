"""Image files in, pixels out, and back: the only place that opens or writes an image file."""

import functools
import io
import logging
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dapter.errors import DataError, UsageError
from dapter.types import check_images

logging.getLogger("PIL").setLevel(logging.INFO)  # at DEBUG it writes what cameras wrote, thumbnails and all
warnings.filterwarnings("ignore", module=r"PIL\.")  # they tell sizes and tags; what is too large is an error of ours

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
MAX_PIXELS = 64_000_000
"""Larger images are refused: a small file can unpack to far more memory than it takes on disk."""

LOSSLESS: dict[str, dict[str, object]] = {"PNG": {"optimize": True}, "WEBP": {"lossless": True}}
LOSSY = ("JPEG", "WEBP")


def open_image(
    source: Path | bytes,
    size: tuple[int, int] | None = None,
    *,
    square: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Open one image as 8-bit RGB, uint8 (H, W, 3).

    The camera's orientation is applied, transparency is laid over grey, 16-bit images are scaled to 8 bits, of
    an animation the first frame is taken. No metadata survives.

    Args:
        source: a file, or the bytes of one.
        size: (height, width) to resize to, Lanczos; the aspect ratio is not kept. None: as it is.
        square: take the centre square before resizing.
        max_pixels: more are refused before they are unpacked.

    Raises:
        DataError: missing, not an image, damaged, or over `max_pixels`.
        MemoryError: there is too little to unpack it.
    """
    name = str(source) if isinstance(source, Path) else "image"
    try:
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source), formats=_formats()) as image:
            if image.width * image.height > max_pixels:
                raise DataError(f"{name}: {image.width} x {image.height} is over {max_pixels} pixels. Cure: shrink it")
            if size is not None:
                image.draft("RGB", (max(size), max(size)))
            rgb = _to_rgb(ImageOps.exif_transpose(image))
    except (DataError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file. Cure: check the path") from error
    except UnidentifiedImageError as error:  # which says where the bytes lie in memory
        raise DataError(
            f"{name}: not an image that can be read (damaged, or none of {', '.join(FORMATS)}). "
            "Cure: replace or remove it"
        ) from error
    except Exception as error:  # a damaged file makes the decoders raise almost anything
        raise DataError(f"{name}: not an image that can be read ({error}). Cure: replace or remove it") from error
    return np.array(_fit(rgb, size, square))


def open_photo(
    photo: Path | bytes | np.ndarray, size: tuple[int, int], *, square: bool = True, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Open one photo as data sets are opened for training: its centre square, resized. The way of all that is sent.

    Args:
        photo: a file, the bytes of one, or pixels, uint8 (H, W, 3).
        size: (height, width).
        square: False, or a size that is no square: the photo is stretched instead.
        max_pixels: as for `open_image`.

    Raises:
        DataError: as for `open_image`.
        UsageError: not such pixels.
    """
    square = square and size[0] == size[1]
    if isinstance(photo, np.ndarray):
        return np.array(_fit(Image.fromarray(check_images(photo[None])[0]), size, square))
    return open_image(photo, size, square=square, max_pixels=max_pixels)


def _fit(image: Image.Image, size: tuple[int, int] | None, square: bool) -> Image.Image:
    if square:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if size is not None and image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return image


@functools.cache
def _formats() -> list[str]:
    """What may be opened; Pillow knows more, some through other programs (EPS runs Ghostscript)."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floats, whose white is not known: save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        depth = np.asarray(image, dtype=np.float64)
        image = Image.fromarray(np.clip(np.rint(depth / 257), 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        ground = Image.new("RGBA", layered.size, (128, 128, 128, 255))
        image = Image.alpha_composite(ground, layered)
    return image.convert("RGB")


def encode(pixels: np.ndarray, codec: str = "PNG", quality: int | None = None, *, fast: bool = False) -> bytes:
    """Encode one image, uint8 (H, W, 3), without metadata.

    Args:
        codec: PNG, WEBP or JPEG.
        quality: 1 to 100 for the lossy form of the codec; None for the lossless one.
        fast: PNG for sending: written in a thirtieth of the time, and about as small where neighbours differ little.

    Raises:
        UsageError: the codec has no such form.
    """
    check_images(pixels[None])
    if codec not in (LOSSLESS if quality is None else LOSSY):
        raise UsageError(
            f"{codec} with quality {quality}: no such codec. There are {sorted(LOSSLESS)}, lossy {sorted(LOSSY)}"
        )
    options = LOSSLESS[codec] if quality is None else {"quality": quality}
    if fast and codec == "PNG":
        options = {"compress_type": zlib.Z_RLE}
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, codec, **options)
    return buffer.getvalue()
