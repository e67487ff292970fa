"""The file format of CIFAR-10 and CIFAR-100: pickled dictionaries of pixels and labels.

A pickle can run any code when it is read, so these are read by an unpickler that knows four names only, each
replaced by an inert stand-in; a file that asks for anything else is refused.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dapter.data._files import need_file
from dapter.errors import DataError


class _Type:
    """Stands for numpy.dtype."""

    def __init__(self, name: str, *_: object) -> None:
        if name != "u1":
            raise pickle.UnpicklingError(f"an array of {name}, not of bytes")

    def __setstate__(self, state: object) -> None:
        pass


class _Array:
    """Stands for numpy.ndarray and for the function that rebuilds one; holds an array of bytes."""

    value: np.ndarray

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple[int, tuple[int, ...], object, bool, str | bytes]) -> None:
        _, shape, _, fortran, content = state
        data = content.encode("latin1") if isinstance(content, str) else content
        self.value = np.frombuffer(data, np.uint8).reshape(shape, order="F" if fortran else "C")


def _encode(text: str, _: str) -> bytes:
    """Stands for _codecs.encode, by which newer pickles hold bytes."""
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    """Reads what CIFAR's files hold, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        stand_in = {
            ("numpy.core.multiarray", "_reconstruct"): _Array,
            ("numpy._core.multiarray", "_reconstruct"): _Array,
            ("numpy", "ndarray"): _Array,
            ("numpy", "dtype"): _Type,
            ("_codecs", "encode"): _encode,
        }.get((module, name))
        if stand_in is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return stand_in


def read_names(path: Path, key: str, n: int, cure: str) -> tuple[str, ...]:
    """The `n` class names that a `meta` file lists under `key`.

    Raises:
        DataError: missing, damaged, or another number of names.
    """
    names = _unpickle(path, cure).get(key)
    if not isinstance(names, list) or len(names) != n or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: no {n} names under {key}. Cure: {cure}")
    return tuple(names)


def read_batch(path: Path, classes: Mapping[str, int], cure: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """One file's images, uint8 (N, 32, 32, 3), and its labels.

    Args:
        classes: the labels to read, by upstream's key, and the number of classes of each.

    Raises:
        DataError: missing, damaged, or of another shape.
    """
    content = _unpickle(path, cure)
    pixels = getattr(content.get("data"), "value", None)
    if pixels is None or pixels.ndim != 2 or pixels.shape[1] != 3072:
        raise DataError(f"{path}: no images of 3 x 32 x 32 bytes under data. Cure: {cure}")
    labels = {}
    for key, n in classes.items():
        values = content.get(key)
        if not isinstance(values, list) or not all(type(value) is int and 0 <= value < n for value in values):
            raise DataError(f"{path}: no list of numbers below {n} under {key}. Cure: {cure}")
        if len(values) != len(pixels):
            raise DataError(f"{path}: {len(values)} values of {key} for {len(pixels)} images. Cure: {cure}")
        labels[key] = np.array(values, np.int64)
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


def read_batches(
    folder: Path, parts: Mapping[str, str], classes: Mapping[str, int], cure: str
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """All images, labels and splits of several files.

    Args:
        parts: for each file its split.
    """
    read = [read_batch(folder / name, classes, cure) for name in parts]
    images = np.concatenate([pixels for pixels, _ in read])
    labels = {key: np.concatenate([found[key] for _, found in read]) for key in classes}
    return images, labels, np.repeat(list(parts.values()), [len(pixels) for pixels, _ in read])


def _unpickle(path: Path, cure: str) -> dict[str, Any]:
    with need_file(path, cure).open("rb") as file:
        try:
            content = _Unpickler(file, encoding="latin1").load()
        except Exception as error:  # a damaged pickle raises almost anything
            raise DataError(f"{path}: not a CIFAR file ({error}). Cure: {cure}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: not a CIFAR file (it holds no dictionary). Cure: {cure}")
    return content
