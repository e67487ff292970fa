"""Convert image files: originals in, protected PNG files out, and nothing else of the original.

Every output is named by the full name of its source and `.png` (`a.jpg` gives `a.jpg.png`), so that `a.jpg` and
`a.png` do not meet. Pixels are written without loss, for the payload's exact values are what was measured, and
without metadata: no place, time, camera or thumbnail survives. Names of files and folders are kept.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dapter.errors import ConversionError, DapterError, UsageError
from dapter.imagefile import SUFFIXES, encode, open_image
from dapter.runs import write_atomic
from dapter.types import Payload

Protect = Callable[[np.ndarray], Payload]
"""Images, uint8 (1, H, W, 3), to what may leave the device: `Defence.protect`."""


@dataclass(frozen=True)
class Conversion:
    """What became of every file of the source.

    Attributes:
        written: the new files.
        kept: files that were there before and were left as they are.
        failed: sources of which nothing was written, each with the reason.
        ignored: files that are no images by their suffix, and symbolic links, which are not followed.
    """

    written: tuple[Path, ...]
    kept: tuple[Path, ...]
    failed: tuple[tuple[Path, str], ...]
    ignored: tuple[Path, ...]


def convert_files(protect: Protect, source: Path, destination: Path) -> Conversion:
    """Convert one image file, or all those below a folder, one image at a time, of any height and width.

    An image is an error, of which nothing is written, if it cannot be read, or if `protect` raises, changes its
    size or gives it back unchanged. A folder goes on past errors; repeated, it does what is left to do.

    Args:
        protect: the converter.
        source: a file or a folder; a folder's tree is kept.
        destination: for a file the new `.png` file, for a folder the new or existing folder.

    Raises:
        UsageError: no source, a destination that exists already (for a file), is no `.png` (for a file), or
            shares a place with the source (for a folder).
    """
    source, destination = Path(source), Path(destination)
    if source.is_dir():
        return _convert_folder(protect, source, destination)
    if not source.is_file():
        raise UsageError(f"{source}: no such file or folder. Cure: check the path")
    if destination.suffix.lower() != ".png":
        raise UsageError(f"{destination} is no .png file; other formats change the pixels. Cure: end it in .png")
    if os.path.lexists(destination):
        raise UsageError(f"{destination} exists and is not overwritten. Cure: name a new file, or delete it")
    reason = _convert(protect, source, destination)
    return Conversion((), (), ((source, reason),), ()) if reason else Conversion((destination,), (), (), ())


def _convert_folder(protect: Protect, source: Path, destination: Path) -> Conversion:
    _check_apart(source, destination)
    images, ignored, failed = _walk(source)
    written, kept = [], []
    for path in tqdm(images, desc="convert", unit="image", disable=None):
        target = destination / path.relative_to(source).with_name(f"{path.name}.png")
        if os.path.lexists(target):
            kept.append(target)
        elif reason := _leaves(target, destination) or _convert(protect, path, target):
            failed.append((path, reason))
        else:
            written.append(target)
    return Conversion(tuple(written), tuple(kept), tuple(failed), tuple(ignored))


def _check_apart(source: Path, destination: Path) -> None:
    here, there = source.resolve(), destination.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise UsageError(f"{destination} and {source} lie in one another. Cure: choose a folder beside the originals")
    if os.path.lexists(destination) and not destination.is_dir():
        raise UsageError(f"{destination} is no folder, but {source} is one. Cure: name a folder")


def _walk(source: Path) -> tuple[list[Path], list[Path], list[tuple[Path, str]]]:
    """Images, other files, and folders that cannot be read, each sorted. Symbolic links are not followed."""
    images: list[Path] = []
    ignored: list[Path] = []
    failed: list[tuple[Path, str]] = []

    def note(error: OSError) -> None:
        failed.append((Path(error.filename), f"cannot be listed ({error.strerror}). Cure: make it readable"))

    for folder, folders, files in os.walk(source, onerror=note):
        ignored += [Path(folder, name) for name in folders if Path(folder, name).is_symlink()]
        for path in (Path(folder, name) for name in files):
            is_image = path.suffix.lower() in SUFFIXES and path.is_file() and not path.is_symlink()
            (images if is_image else ignored).append(path)
    return sorted(images), sorted(ignored), sorted(failed)


def _leaves(target: Path, destination: Path) -> str:
    """Why a file may not be written: a link inside the destination leads out of it. Empty if it may."""
    if target.parent.resolve().is_relative_to(destination.resolve()):
        return ""
    return f"{target.parent} is a link out of {destination}. Cure: delete the link"


def _convert(protect: Protect, source: Path, target: Path) -> str:
    """Convert one file; gives the reason if nothing was written, else an empty text."""
    try:
        write_atomic(target, encode(_protected(protect, open_image(source))))
    except DapterError as error:
        return str(error)
    except OSError as error:
        return f"{target} cannot be written ({error}). Cure: check space, rights and the length of the name"
    return ""


def _protected(protect: Protect, pixels: np.ndarray) -> np.ndarray:
    """The payload's pixels, uint8 (H, W, 3).

    Raises:
        ConversionError: `protect` raised, or gave anything but one other image of the same size.
    """
    try:
        payload = protect(pixels[None].copy())
    except Exception as error:
        raise ConversionError(
            f"the converter failed: {str(error) or type(error).__name__}. Nothing was written"
        ) from error
    if not isinstance(payload, Payload) or payload.pixels.shape != (1, *pixels.shape):
        found = payload.pixels.shape if isinstance(payload, Payload) else type(payload).__name__
        raise ConversionError(f"the converter gave {found} for one image {pixels.shape}. Cure: train it again")
    if np.array_equal(payload.pixels[0], pixels):
        raise ConversionError("the converter gave the original back. Cure: choose a converter that protects")
    converted: np.ndarray = payload.pixels[0]
    return converted
