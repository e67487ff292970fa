"""Payloads that are no images: features of a network, as bytes on the wire and as a picture for people. No torch."""

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from dapter.errors import DataError
from dapter.types import Payload

NAME = "payload"

HEADER = 256
"""The longest safetensors header that is read, in bytes: `pack` writes about 80; a longer one may name many tensors."""


def pack(features: np.ndarray) -> bytes:
    """The features of one image, float16 (h, w, C), as they go over the wire: a safetensors file."""
    packed: bytes = save({NAME: np.ascontiguousarray(features)})
    return packed


def unpack(content: bytes) -> np.ndarray:
    """Read what `pack` gave.

    Raises:
        DataError: it is no such thing.
    """
    if len(content) < 8 or int.from_bytes(content[:8], "little") > HEADER:
        raise DataError("these bytes are no packed features. Cure: send what `pack` gives")
    try:
        tensors = load(content)
        found: np.ndarray = tensors[NAME]
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"these bytes are no packed features ({error}). Cure: send what `pack` gives") from error
    if len(tensors) > 1:
        raise DataError("these bytes are more than one tensor. Cure: send what `pack` gives")
    if found.dtype != np.float16 or found.ndim != 3 or not found.size or not np.isfinite(found).all():
        cure = "Cure: send what `pack` gives"
        raise DataError(f"features must be finite float16 (h, w, C), not {found.dtype} {found.shape}. {cure}")
    return found


def delivered(payload: Payload) -> Payload:
    """What arrives at the service: an image as it is, features unpacked from the bytes that were sent."""
    if not payload.is_features or not len(payload.values):
        return payload
    return Payload(np.stack([unpack(pack(each)) for each in payload.values]))


def shown(payload: Payload, size: tuple[int, int]) -> np.ndarray:
    """A payload to look at, uint8 (N, H, W, 3): as it is, or `picture` of its features."""
    return picture(payload.values, size) if payload.is_features else payload.pixels


def picture(features: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Features to look at: the mean over channels, each image's stretched from black to white, pixels repeated.

    Args:
        features: float16 (N, h, w, C).
        size: height and width in pixels.

    Returns:
        uint8 (N, height, width, 3).
    """
    mean = features.astype(np.float32).mean(axis=3)
    low = mean.min(axis=(1, 2), keepdims=True)
    span = mean.max(axis=(1, 2), keepdims=True) - low
    levels = np.round(255 * (mean - low) / np.where(span > 0, span, 1)).astype(np.uint8)
    rows, columns = (np.arange(side) * have // side for side, have in zip(size, mean.shape[1:], strict=True))
    return np.repeat(levels[:, rows][:, :, columns, None], 3, axis=3)
