"""Folders of images and files, found and read with errors that say what to do."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from dapter.errors import DataError, UsageError
from dapter.imagefile import open_image

ON_ERROR = ("raise", "skip")


class Images(NamedTuple):
    """Images read from files: uint8 (K, size, size, 3), which of the files they are, and what was passed over."""

    pixels: np.ndarray
    kept: np.ndarray
    skipped: tuple[str, ...]


def find_folder(root: Path | str, names: Sequence[str], marker: str, cure: str) -> Path:
    """The first of these folders in `root`, or `root` itself, in which something matches the pattern `marker`.

    Raises:
        DataError: none.
    """
    root = Path(root)
    for folder in [*(root / name for name in names), root]:
        if any(folder.glob(marker)):
            return folder
    raise DataError(f"{root}: {marker} is neither here nor in {', '.join(names)}. Cure: {cure}")


def need_file(path: Path, cure: str) -> Path:
    """The path, if a file is there.

    Raises:
        DataError: there is none.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. Cure: {cure}")
    return path


def list_images(folder: Path, suffix: str, cure: str) -> list[str]:
    """The names of the folder's files that end so, in either case, sorted.

    Raises:
        DataError: no such folder, or no such file in it.
    """
    names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() == suffix) if folder.is_dir() else []
    if not names:
        raise DataError(f"{folder}: no {suffix} images there. Cure: {cure}")
    return names


def read_images(paths: Sequence[Path], size: int, on_error: str = "raise") -> Images:
    """Decode files on all processors: the centre square of each image, resized to `size` x `size`.

    Args:
        on_error: what to do with a file that cannot be read: "raise", or "skip" it and report it.

    Raises:
        DataError: a file cannot be read (with "raise"), or none can.
    """
    if on_error not in ON_ERROR or size < 1:
        raise UsageError(f"on_error={on_error!r}, size={size}: on_error is one of {ON_ERROR}, size a number of pixels")
    pixels = np.zeros((len(paths), size, size, 3), np.uint8)

    def read(row: int) -> str:
        try:
            pixels[row] = open_image(paths[row], (size, size), square=True)
        except DataError as error:
            if on_error == "raise":
                raise
            return str(error)
        return ""

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = list(tqdm(pool.map(read, range(len(paths))), "images", len(paths), disable=None, delay=2))
    kept = np.flatnonzero([not problem for problem in problems])
    skipped = tuple(filter(None, problems))
    if len(kept) == 0:
        raise DataError(f"none of {len(paths)} images can be read. Cure: {skipped[0] if skipped else 'give images'}")
    return Images(pixels[kept] if skipped else pixels, kept, skipped)
