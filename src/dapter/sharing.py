"""Values handed to other processes: large arrays are written once and mapped into the memory of each."""

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from dapter.errors import UsageError

LARGE = 1_000_000
"""Bytes from which on an array is shared through a file."""


def keep_array(array: np.ndarray, path: Path) -> None:
    """Write an array to a `.npy` file, whole or not at all; for large ones, which should not be copied in memory."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def open_array(path: Path) -> np.ndarray:
    """An array of `keep_array`, read when it is used. Whoever writes into it changes a copy of their own."""
    return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))


def hand_over(value: Any, folder: Path) -> bytes:
    """A value for `take_over` in a process that this one starts; its large arrays go into files in the folder.

    Raises:
        UsageError: it cannot be handed over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, folder).dump(value)
    except (pickle.PicklingError, AttributeError, TypeError, RuntimeError) as error:
        cure = "Cure: one worker (a service from a .pt2 file needs that)"
        raise UsageError(f"this work cannot be given to other processes ({error}). {cure}") from error
    return buffer.getvalue()


def take_over(content: bytes) -> Any:
    """The value of `hand_over`; only ever of a process that started this one."""
    return _Unpickler(io.BytesIO(content)).load()


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, folder: Path) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.folder = folder
        self.kept: list[tuple[np.ndarray, Path]] = []

    def persistent_id(self, value: Any) -> Path | None:
        """For a large array the file that holds it."""
        if type(value) is not np.ndarray or value.nbytes < LARGE:
            return None
        known = next((path for array, path in self.kept if array is value), None)
        if known is not None:
            return known
        path = self.folder / f"array-{len(self.kept)}.npy"
        keep_array(value, path)
        self.kept.append((value, path))
        return path


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, path: Any) -> np.ndarray:
        """The array of a file."""
        return open_array(path)
