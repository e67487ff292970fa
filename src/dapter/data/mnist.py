"""MNIST: 70,000 handwritten digits, 28 x 28, grey.

LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 1998.
https://yann.lecun.com/exdb/mnist
"""

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from dapter.data import Dataset, Table
from dapter.data._files import find_folder, need_file
from dapter.errors import DataError, UsageError

_CURE = "get the four idx files of MNIST, unpacked or as .gz, into root/MNIST/raw"
_SIDE = 28
_PARTS = {"train": "train", "t10k": "test"}


@dataclass(frozen=True)
class Mnist(Dataset):
    """MNIST, as RGB with three equal channels.

    Labels: `class` (10 digits) and `even_odd` (0 even, 1 odd), which follows from it.

    Attributes:
        root: the folder that holds `MNIST/raw`, or the idx files themselves.
        size: height and width of the images: black is added around the 28 x 28 pixels, which stay as they are.
    """

    licence: ClassVar[str] = "CC BY-SA 3.0"
    default_target: ClassVar[str] = "class"
    mirror: ClassVar[bool] = False

    root: Path
    size: int = 32

    def _read(self) -> Table:
        if self.size < _SIDE:
            raise UsageError(f"size={self.size}: MNIST's images have {_SIDE} pixels. Cure: {_SIDE} or more")
        folder = find_folder(self.root, ["MNIST/raw", "MNIST", "mnist"], "train-images-idx3-ubyte*", _CURE)
        parts = [_read_part(folder, name) for name in _PARTS]
        digits = np.concatenate([digits for digits, _ in parts])
        kind = np.concatenate([kind for _, kind in parts])
        images = np.zeros((len(digits), self.size, self.size, 3), np.uint8)
        start = (self.size - _SIDE) // 2
        images[:, start : start + _SIDE, start : start + _SIDE] = digits[..., None]
        return Table(
            images=images,
            labels={"class": kind, "even_odd": kind % 2},
            classes={"class": tuple("0123456789"), "even_odd": ("even", "odd")},
            split=np.repeat(list(_PARTS.values()), [len(kind) for _, kind in parts]),
        )


def _read_part(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    digits = _read_idx(folder / f"{name}-images-idx3-ubyte", 3)
    path = folder / f"{name}-labels-idx1-ubyte"
    kind = _read_idx(path, 1).astype(np.int64)
    if digits.shape[1:] != (_SIDE, _SIDE):
        raise DataError(f"{folder / name}-images-idx3-ubyte: images of {digits.shape[1:]} pixels. Cure: {_CURE}")
    if len(digits) != len(kind):
        raise DataError(f"{path}: {len(kind)} labels for {len(digits)} images. Cure: {_CURE}")
    if kind.max(initial=0) > 9:
        raise DataError(f"{path}: a label is {kind.max()}, not a digit. Cure: {_CURE}")
    return digits, kind


def _read_idx(path: Path, rank: int) -> np.ndarray:
    """An idx file of bytes: two zeros, 8 for bytes, the rank, the lengths as big-endian 32 bits, the bytes."""
    packed = path.with_name(f"{path.name}.gz")
    plain = path.is_file() or not packed.is_file()
    try:
        content = need_file(path, _CURE).read_bytes() if plain else gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{packed}: not a whole gzip file ({error}). Cure: {_CURE}") from error
    start = 4 + 4 * rank
    if len(content) < start or content[:4] != bytes((0, 0, 8, rank)):
        raise DataError(f"{path}: not an idx file of bytes, rank {rank}. Cure: {_CURE}")
    shape = np.frombuffer(content[4:start], ">u4").tolist()
    if len(content) - start != math.prod(shape):
        raise DataError(f"{path}: {len(content) - start} bytes for the shape {shape}, truncated? Cure: {_CURE}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
