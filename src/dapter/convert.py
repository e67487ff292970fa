"""Convert image files: originals in, protected PNG files out, and nothing else of the original.

Every output is named by the full name of its source and `.png` (`a.jpg` gives `a.jpg.png`), so that `a.jpg` and
`a.png` do not meet. Pixels are written without loss, for the payload's exact values are what was measured, and
without metadata: no place, time, camera or thumbnail survives. Names of files and folders are kept.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dapter.engines import Engine, run_jobs
from dapter.errors import ConversionError, DapterError, UsageError
from dapter.imagefile import SUFFIXES, encode, open_image
from dapter.runs import write_atomic
from dapter.types import Payload

Protect = Callable[[np.ndarray], Payload]
"""Images, uint8 (1, H, W, 3), to what may leave the device: `Defence.protect`."""

FAILURES = "failures.jsonl"
"""In the folder of the converted files: what could not be converted, and why."""

WORKER_DIED = "a worker died of it, twice. Cure: see whether it needs more memory than there is; replace or remove it"
_LEFTOVER = re.compile(r"\..+\.(\d+)\.tmp")
"""The name of a file that `write_atomic` had begun; the number is its process."""


@dataclass(frozen=True)
class Conversion:
    """What became of every file of the source.

    Attributes:
        written: the new files.
        kept: files that were there before and were left as they are.
        failed: sources of which nothing was written, each with the reason; of a Parquet file, `name#row`.
        ignored: files that are no images by their suffix, and symbolic links, which are not followed.
    """

    written: tuple[Path, ...]
    kept: tuple[Path, ...]
    failed: tuple[tuple[Path, str], ...]
    ignored: tuple[Path, ...]

    def write_failures(self, destination: Path) -> Path | None:
        """Write what failed to FAILURES in a folder, a JSON line each; without failures, an old file is removed."""
        path = Path(destination) / FAILURES
        path.unlink(missing_ok=True)
        if not self.failed:
            return None
        lines = (json.dumps({"source": str(source), "reason": reason}) + "\n" for source, reason in self.failed)
        write_atomic(path, "".join(lines))
        return path


def convert_files(
    protect: Protect, source: Path, destination: Path, *, workers: int = 1, engine: Engine = "pool"
) -> Conversion:
    """Convert one image file, or all those below a folder, each by itself, of any height and width.

    An image is an error, of which nothing is written, if it cannot be read, if `protect` raises, changes its size or
    gives it back unchanged (one of a single colour may be its own payload), or if a worker dies of it. A folder goes on
    past errors; repeated, it does what is left.

    Args:
        protect: the converter; for several workers, or Ray, one that can be pickled.
        source: a file or a folder; a folder's tree is kept.
        destination: for a file the new `.png` file, for a folder the new or existing folder.
        workers: processes for a folder; 1 is this process.
        engine: a pool on this machine, or Ray Data (`dapter.engines`).

    Raises:
        UsageError: no source, a destination that exists already (for a file), is no `.png` (for a file), or
            shares a place with the source (for a folder).
    """
    source, destination = Path(source), Path(destination)
    if source.is_dir():
        return _convert_folder(protect, source, destination, workers, engine)
    if not source.is_file():
        raise UsageError(f"{source}: no such file or folder. Cure: check the path")
    if destination.suffix.lower() != ".png":
        raise UsageError(f"{destination} is no .png file; other formats change the pixels. Cure: end it in .png")
    if os.path.lexists(destination):
        raise UsageError(f"{destination} exists and is not overwritten. Cure: name a new file, or delete it")
    reason = _convert(protect, (source, destination))
    return Conversion((), (), ((source, reason),), ()) if reason else Conversion((destination,), (), (), ())


def _convert_folder(protect: Protect, source: Path, destination: Path, workers: int, engine: Engine) -> Conversion:
    check_apart(source, destination)
    remove_leftovers(destination)
    images, ignored, failed = walk(source, SUFFIXES)
    kept, jobs = [], []
    for path in images:
        target = destination / path.relative_to(source).with_name(f"{path.name}.png")
        if os.path.lexists(target):
            kept.append(target)
        elif reason := leaves(target, destination):
            failed.append((path, reason))
        else:
            jobs.append((path, target))
    written = []
    results = run_jobs(partial(_convert, protect), jobs, workers, engine)
    for (path, target), reason in tqdm(results, "convert", len(jobs), unit="image", disable=None):
        if reason == "":
            written.append(target)
        else:
            failed.append((path, reason or WORKER_DIED))
    remove_leftovers(destination)
    return Conversion(tuple(sorted(written)), tuple(kept), tuple(sorted(failed)), tuple(ignored))


def check_apart(source: Path, destination: Path) -> None:
    """Check that a folder can be converted into another.

    Raises:
        UsageError: one lies in the other, or the destination is a file.
    """
    here, there = source.resolve(), destination.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise UsageError(f"{destination} and {source} lie in one another. Cure: choose a folder beside the originals")
    if os.path.lexists(destination) and not destination.is_dir():
        raise UsageError(f"{destination} is no folder, but {source} is one. Cure: name a folder")


def remove_leftovers(destination: Path) -> None:
    """Remove what a process that was killed had begun to write, and no living process is writing."""
    for path in Path(destination).rglob(".*.tmp"):
        found = _LEFTOVER.fullmatch(path.name)
        if found and path.is_file() and not path.is_symlink() and not _alive(int(found[1])):
            path.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    """Whether it can still write; one that has ended and was not waited for (a zombie) cannot."""
    if sys.platform == "win32":  # where asking would end it
        return True
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's, or a system without /proc
        return True


def walk(source: Path, suffixes: Sequence[str]) -> tuple[list[Path], list[Path], list[tuple[Path, str]]]:
    """Files with these suffixes, other files, and folders that cannot be read, each sorted.

    Symbolic links are not followed.
    """
    chosen: list[Path] = []
    ignored: list[Path] = []
    failed: list[tuple[Path, str]] = []

    def note(error: OSError) -> None:
        failed.append((Path(error.filename), f"cannot be listed ({error.strerror}). Cure: make it readable"))

    for folder, folders, files in os.walk(source, onerror=note):
        ignored += [Path(folder, name) for name in folders if Path(folder, name).is_symlink()]
        for path in (Path(folder, name) for name in files):
            fits = path.suffix.lower() in suffixes and path.is_file() and not path.is_symlink()
            (chosen if fits else ignored).append(path)
    return sorted(chosen), sorted(ignored), sorted(failed)


def leaves(target: Path, destination: Path) -> str:
    """Why a file may not be written: a link inside the destination leads out of it. Empty if it may."""
    if target.parent.resolve().is_relative_to(destination.resolve()):
        return ""
    return f"{target.parent} is a link out of {destination}. Cure: delete the link"


def _convert(protect: Protect, job: tuple[Path, Path]) -> str:
    """Convert one file to another; gives the reason if nothing was written, else an empty text."""
    source, target = job
    try:
        write_atomic(target, encode(protected(protect, open_image(source))))
    except DapterError as error:
        return str(error)
    except MemoryError:
        return f"there is not enough memory for {source}. Cure: fewer workers, or shrink it"
    except OSError as error:
        return f"{target} cannot be written ({error}). Cure: check space, rights and the length of the name"
    return ""


def protected(protect: Protect, pixels: np.ndarray) -> np.ndarray:
    """The payload's pixels, uint8 (H, W, 3), of an image, uint8 (H, W, 3).

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
    one_colour = bool((pixels == pixels[:1, :1]).all())  # shows that colour only, and may be what leaves
    if np.array_equal(payload.pixels[0], pixels) and not one_colour:
        raise ConversionError("the converter gave the original back. Cure: choose a converter that protects")
    converted: np.ndarray = payload.pixels[0]
    return converted
