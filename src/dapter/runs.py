"""Run folders: named by what was asked for, resumed when interrupted, marked when done.

A folder is named by the hash of its settings, the code version and the data digest, so the same work is
found again and never done twice. Every file is written whole or not at all.
"""

import contextlib
import errno
import functools
import hashlib
import io
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from dapter.errors import DataError, RunError
from dapter.types import Measurement

MANIFEST = "manifest.json"
DONE = "done"
RESULTS = "results.jsonl"
LOCK = "lock"


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold a folder for a while; another process that wants it waits. A process that is killed lets go.

    On Windows nobody waits: use a folder by one process at a time there.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with (folder / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # also where a child process has inherited the file


def fingerprint(value: Any) -> str:
    """SHA-256 of the value's canonical JSON, 64 hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for one purpose, from the user's seed and the purpose's name."""
    return int(fingerprint([seed, *names])[:16], 16) >> 1


@functools.cache
def code_version() -> str:
    """The installed version, with the commit when run from a checkout: `0.1.0+g1a2b3c4`.

    It ends in `-dirty` where the package differs from the commit; results that were written since do not count.
    """
    try:
        commit, changes = _git("rev-parse", "--short", "HEAD"), _git("status", "--porcelain", ".")
    except (OSError, subprocess.SubprocessError):
        return version("dapter")
    return f"{version('dapter')}+g{commit}{'-dirty' if changes else ''}"


def _git(*words: str) -> str:
    here = Path(__file__).resolve().parent
    done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


@functools.cache
def environment() -> dict[str, Any]:
    """What a figure may depend on: interpreter, libraries, processor, threads."""
    import torch

    processor = next(
        (line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.machine()
    )
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "processor": torch.cuda.get_device_name() if torch.cuda.is_available() else processor,
        "threads": torch.get_num_threads(),
    }


def _cpuinfo() -> Iterator[str]:
    path = Path("/proc/cpuinfo")
    if path.exists():
        yield from path.read_text().splitlines()


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file whole or not at all: to a temporary name, flushed to disk, then renamed.

    Raises:
        OSError: it cannot be written; names the file.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    data = content.encode() if isinstance(content, str) else content
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Write named arrays as a compressed .npz file, whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type] # its stub mistakes names for options
    write_atomic(path, buffer.getvalue())


@dataclass(frozen=True)
class Run:
    """One folder of results.

    Attributes:
        path: the folder; `manifest.json` in it says what was asked for, `done` that all of it was done.
    """

    path: Path

    @classmethod
    def open(cls, root: Path, name: str, manifest: Mapping[str, Any], notes: Mapping[str, Any] | None = None) -> "Run":
        """The run of that manifest under `root`: a new one, an interrupted one, or a finished one.

        Args:
            name: a readable beginning for the folder's name.
            manifest: everything that the result depends on, as JSON values.
            notes: what follows from the manifest and is worth keeping beside it.
        """
        key = fingerprint({**manifest, "code": version("dapter")})
        run = cls(Path(root) / f"{name}-{key[:12]}")
        if not (run.path / MANIFEST).exists():
            record = {**(notes or {}), **manifest, "code": code_version(), "environment": environment()}
            write_atomic(run.path / MANIFEST, json.dumps(record, indent=2, sort_keys=True) + "\n")
        return run

    @classmethod
    def load(cls, path: Path | str) -> "Run":
        """An existing, finished run.

        Raises:
            RunError: no run there, or one that is not finished.
        """
        run = cls(Path(path))
        if not (run.path / MANIFEST).is_file():
            raise RunError(f"{path} is no run folder ({MANIFEST} is missing). Cure: `dapter list` shows the runs")
        if not run.done:
            raise RunError(f"{path} is not finished. Cure: repeat the command that began it, it will resume")
        return run

    @property
    def manifest(self) -> dict[str, Any]:
        """What was asked for, with code version and environment."""
        try:
            found: dict[str, Any] = json.loads((self.path / MANIFEST).read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise RunError(f"{self.path / MANIFEST} cannot be read ({error}). Cure: delete the folder") from error
        return found

    @property
    def done(self) -> bool:
        """Whether all of the run's work is done."""
        return (self.path / DONE).exists()

    def write_lines(self, name: str, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write a file of JSON lines in the folder, whole or not at all."""
        write_atomic(self.path / name, "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """Read a file of JSON lines in the folder; none if there is no such file.

        Raises:
            RunError: the file is damaged.
        """
        path = self.path / name
        try:
            return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        except (OSError, ValueError) as error:
            raise RunError(f"{path} cannot be read ({error}). Cure: delete the file and measure again") from error

    def write_results(self, measured: Iterable[Measurement]) -> None:
        """Write the figures that the folder keeps, in the place of those before."""
        self.write_lines(RESULTS, [entry.record() for entry in measured])

    def read_results(self) -> list[Measurement]:
        """Every figure that the folder keeps.

        Raises:
            RunError: the file is damaged, or is not of results.
        """
        try:
            return [Measurement.from_record(line) for line in self.read_lines(RESULTS)]
        except DataError as error:
            raise RunError(f"{self.path / RESULTS}: {error}") from error

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Hold the folder for a while; another process that wants it waits."""
        return hold(self.path)

    def finish(self) -> None:
        """Mark the run as done; the last thing that its work does."""
        write_atomic(self.path / DONE, "")


def list_runs(root: Path) -> list[Run]:
    """Every run below `root`, finished or not, sorted by path."""
    return [Run(path.parent) for path in sorted(Path(root).rglob(MANIFEST))]
