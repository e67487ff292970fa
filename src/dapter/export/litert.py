"""LiteRT: a `.tflite` file for phones; one image of one size at a time.

Its converter pins versions of its own, so that it lives in an environment of its own, which this makes:

    python -m dapter.export.litert
"""

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from dapter.errors import CheckFailed, ConversionError, UsageError
from dapter.export import Exporter, Precision, Runner, Subject
from dapter.export._graph import Graph
from dapter.export._quiet import quiet

PACKAGES = ("litert-torch==0.10.0", "ai-edge-litert==2.3.0")
"""With our own version of torch: it reads the program that we write."""

COMMAND = "python -m dapter.export.litert"
READY = "dapter-ready"
WORKER = Path(__file__).with_name("_litert_worker.py")


def environment_folder() -> Path:
    """Where the environment is: `DAPTER_LITERT`, or a folder of the user's cache named by what it holds."""
    chosen = os.environ.get("DAPTER_LITERT")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parts = "-".join(entry.replace("==", "-") for entry in (*PACKAGES, _torch()))
    return Path(chosen) if chosen else cache / "dapter" / parts


def make_environment(folder: Path) -> None:
    """Make it, unless it is there; what is left of an environment that was not finished is replaced.

    Raises:
        UsageError: the folder holds something else, which stays as it is.
        CheckFailed: pip failed; what it said goes to the terminal.
    """
    if (folder / READY).exists():
        return
    if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").exists():
        raise UsageError(f"{folder} holds files that are no environment. Cure: let DAPTER_LITERT name a new folder")
    venv.create(folder, with_pip=True, clear=True)
    done = subprocess.run([environment_python(folder), "-m", "pip", "install", *PACKAGES, _torch()], check=False)
    if done.returncode:
        raise CheckFailed(f"{folder} could not be made: pip failed. Cure: see what it said above, then {COMMAND}")
    (folder / READY).touch()


class Litert(Exporter):
    """For the LiteRT (TensorFlow Lite) runtime on Android and iOS."""

    suffix: ClassVar[str] = ".tflite"
    precisions: ClassVar[tuple[Precision, ...]] = ("float32", "float16", "int8")
    any_size: ClassVar[bool] = False

    def missing(self) -> str:
        """Whether the environment is there."""
        folder = environment_folder()
        if (folder / READY).exists():
            return ""
        return f"LiteRT's converter has no environment at {folder}. Cure: {COMMAND}"

    def write(
        self, subject: Subject, path: Path, precision: Precision, size: tuple[int, int], calibration: np.ndarray
    ) -> None:
        """Write the file, unchecked."""
        image = torch.zeros(1, *size, 3, dtype=torch.uint8)
        inputs = (image,) if subject.dial is None else (image, torch.tensor(subject.dial.default))
        with tempfile.TemporaryDirectory() as folder:
            program, samples = Path(folder) / "program.pt2", Path(folder) / "calibration.npz"
            dial = subject.dial
            dials = np.zeros(0) if dial is None else np.linspace(dial.low, dial.high, len(calibration))
            np.savez(samples, images=calibration, dials=dials.astype(np.float32))
            with quiet():
                torch.export.save(torch.export.export(Graph(subject.client).eval(), inputs), program)
            _work("convert", str(program), str(path), precision, str(samples))

    def open(self, path: Path) -> Runner:
        """The file, ready to convert."""
        content = path.read_bytes()

        def convert(images: np.ndarray, dial: float | None) -> np.ndarray:
            with tempfile.TemporaryDirectory() as folder:
                model, source, target = (Path(folder, name) for name in ("model.tflite", "in.npz", "out.npy"))
                model.write_bytes(content)
                np.savez(source, images=images, dials=np.array([] if dial is None else [dial], np.float32))
                _work("run", str(model), str(source), str(target))
                found: np.ndarray = np.load(target)
                return found

        return convert


def _work(*args: str) -> None:
    """Do something in the environment.

    Raises:
        ConversionError: it failed.
    """
    done = subprocess.run(
        [environment_python(environment_folder()), "-I", str(WORKER), *args],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ConversionError(f"LiteRT could not {args[0]} the converter: {done.stderr.strip()[-2000:]}")


def environment_python(folder: Path) -> str:
    """Its interpreter."""
    return str(folder / ("Scripts" if sys.platform == "win32" else "bin") / "python")


def _torch() -> str:
    return f"torch=={torch.__version__.partition('+')[0]}"


if __name__ == "__main__":
    make_environment(environment_folder())
    print(f"LiteRT's converter is in {environment_folder()}")
