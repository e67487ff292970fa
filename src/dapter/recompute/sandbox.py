"""Run an export in a process of its own, with limits on memory and time.

A graph that passed every rule can still ask for too much; this keeps the verifier's machine usable. It is no wall
against code: the runtimes must be kept up to date.
"""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dapter.errors import ConversionError
from dapter.plugins import find

MEMORY = 8 * 2**30
"""Bytes of address space."""

SECONDS = 600


def convert_apart(
    form: str, name: str, data: bytes, images: np.ndarray, dial: float | None, memory: int = MEMORY
) -> np.ndarray:
    """What an export gives for images.

    Args:
        form: `onnx`, `executorch` or `litert`.
        name: of the file.
        data: its content.
        images: uint8 (N, H, W, 3).
        dial: None: it has none.
        memory: bytes of address space that the process may use, its libraries included.

    Raises:
        ConversionError: it cannot be run here, or goes beyond the limits.
    """
    with tempfile.TemporaryDirectory() as folder:
        path, source, target = (Path(folder) / each for each in (name, "images.npy", "payloads.npy"))
        path.write_bytes(data)
        np.save(source, images)
        command = [sys.executable, "-m", __name__, form, *map(str, (path, source, target, dial, memory))]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise ConversionError(f"took more than {SECONDS} s for {len(images)} images. Cure: fewer images") from error
        if done.returncode or not target.exists():
            said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise ConversionError(said[0][:300])
        found: np.ndarray = np.load(target, allow_pickle=False)
        return found


def main(args: Sequence[str]) -> None:
    """Convert, in the new process."""
    form, path, source, target, dial, memory = args
    with contextlib.suppress(ImportError):  # on Windows only the time is limited
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    convert = find("export", form)().open(Path(path))
    payloads = convert(np.load(source, allow_pickle=False), None if dial == "None" else float(dial))
    np.save(target, payloads)


if __name__ == "__main__":
    main(sys.argv[1:])
