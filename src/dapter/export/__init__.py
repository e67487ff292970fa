"""The contract of an export: a trained client part as one file that runs without torch and without us.

One file a target. An exporter writes a file and opens it again; the base class owns the call that users make: the file
is written under a temporary name, compared with the client part on images, and only then gets its name. Whatever the
format, the graph takes `image`, uint8 (N, H, W, 3) RGB, and gives `payload`, the same: order of colours, scaling and
rounding are inside, so that no app can get them wrong. A client part with a dial takes it as a second input.
"""

import abc
import contextlib
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from torch import nn

from dapter.data import Split
from dapter.errors import RunError, UsageError
from dapter.export._parity import compare_answers, compare_bytes, probes
from dapter.runs import write_atomic
from dapter.service.classifier import Service
from dapter.types import Answer, Payload

FOLDER = "exports"
"""Where a run keeps its exports."""

Precision = Literal["float32", "float16", "int8"]
"""What is computed with inside; images are 8-bit at both ends whatever it is."""

CALIBRATION = 256
"""Training images that the ranges of int8 are taken from."""

Runner = Callable[[np.ndarray, float | None], np.ndarray]
"""Converts: images uint8 (N, H, W, 3) and the dial, or None, to the same shape and type."""


@dataclass(frozen=True)
class Dial:
    """The setting that is chosen when a converter is used.

    Attributes:
        name: of the setting, and of the graph's input.
        low, high: its range.
        default: what it is unless the user chooses.
    """

    name: str
    low: float
    high: float
    default: float


@dataclass(frozen=True)
class Subject:
    """A trained converter, to be exported.

    Attributes:
        client: float (N, 3, H, W) in [0, 1] to the same, before rounding; with a dial, its value is a second, scalar
            argument.
        protect: what the export must do, byte for byte.
        size: height and width of the images that it was trained on.
        dial: None: it has none.
        inspect: of what left the device for a split, and the answer to it: raises CheckFailed where a payload breaks
            what the defence guarantees.
    """

    client: nn.Module
    protect: Runner
    size: tuple[int, int]
    dial: Dial | None = None
    inspect: Callable[[Split, Payload, Answer], object] = lambda *_: None


@dataclass(frozen=True)
class Evidence:
    """What float16 and int8 are judged by.

    Attributes:
        service: the one that the converter was trained against.
        train: images to calibrate with, uint8 (N, H, W, 3).
        val: images to measure the answer on.
    """

    service: Service
    train: np.ndarray
    val: Split


@dataclass(frozen=True)
class Export:
    """A file that passed its checks.

    Attributes:
        path: the file's name in its folder.
        sha256: of the file.
        bytes: its size.
        format: the exporter's name.
        sizes: the heights and widths that it takes: `any`, or a list of [height, width].
        opset: of ONNX; None for other formats.
        dial: the further input, if there is one.
        parity: what the checks found.
    """

    path: str
    sha256: str
    bytes: int
    format: str
    precision: Precision
    sizes: Literal["any"] | Sequence[Sequence[int]]
    opset: int | None = None
    dial: Dial | None = None
    parity: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Export":
        """Read what `record` gave."""
        dial = record["dial"]
        return cls(**{**record, "dial": None if dial is None else Dial(**dial)})


class Exporter(abc.ABC):
    """Base of the exporters: one final subclass a file, without settings."""

    suffix: ClassVar[str]
    """How its files end."""

    precisions: ClassVar[tuple[Precision, ...]]
    """What it can compute with."""

    any_size: ClassVar[bool]
    """Whether one file takes images of every size; else each file is for one size, one image at a time."""

    opset: ClassVar[int | None] = None
    """Of ONNX."""

    @abc.abstractmethod
    def write(
        self, subject: Subject, path: Path, precision: Precision, size: tuple[int, int], calibration: np.ndarray
    ) -> None:
        """Write the file, unchecked: the same bytes whenever it is asked.

        Args:
            precision: one of `precisions`.
            size: height and width, for a format that needs them fixed.
            calibration: training images, uint8 (N, *size, 3), for int8.
        """

    @abc.abstractmethod
    def open(self, path: Path) -> Runner:
        """A file, ready to convert images of a size that it takes, in the runtime that apps use.

        Where there is a dial, its value must always be given.
        """

    def missing(self) -> str:
        """What is missing to run it here and how to get it; empty if nothing is."""
        return ""

    def export(
        self,
        subject: Subject,
        folder: Path,
        precision: Precision = "float32",
        *,
        evidence: Evidence | None = None,
        size: tuple[int, int] | None = None,
    ) -> Export:
        """Export into a folder: done when the file gives what the converter gives.

        float32 must give the same bytes, save for values off by one, at most one in a thousand; float16 and int8 must
        leave the answer as accurate, within 0.2 points on the validation split.

        Args:
            evidence: float16 and int8 need it; with it, float32 is measured by it too.
            size: height and width, for a format that needs them fixed; by default those of the training.

        Raises:
            UsageError: the format has no such precision or takes every size, or its tools or evidence are missing.
            CheckFailed: the file does not give what the converter gives; nothing is left of it.
        """
        self._check(precision, evidence, size)
        fixed = size or subject.size
        name = ".".join(["converter", *([precision] if precision != "float32" else []), *_size_part(size)])
        path = Path(folder) / f"{name}{self.suffix}"
        calibration = fit(evidence.train[:CALIBRATION], fixed) if evidence else np.zeros((0, *fixed, 3), np.uint8)
        with _draft(path) as draft:
            self.write(subject, draft, precision, fixed, calibration)
            parity = self._parity(subject, self.open(draft), precision, evidence, fixed)
            content = draft.read_bytes()
            done = Export(
                path=path.name,
                sha256=hashlib.sha256(content).hexdigest(),
                bytes=len(content),
                format=type(self).__module__.rsplit(".", 1)[-1],
                precision=precision,
                sizes="any" if self.any_size else [list(fixed)],
                opset=self.opset,
                dial=subject.dial,
                parity=parity,
            )
            write_atomic(_record_path(path), json.dumps(done.record(), indent=2, sort_keys=True) + "\n")
            draft.replace(path)
        return done

    def _check(self, precision: Precision, evidence: Evidence | None, size: tuple[int, int] | None) -> None:
        if precision not in self.precisions:
            known = ", ".join(self.precisions)
            raise UsageError(f"this format is not exported in {precision}. Cure: one of {known}")
        if missing := self.missing():
            raise UsageError(missing)
        if size is not None and self.any_size:
            raise UsageError("a size is given, but this format takes images of every size. Cure: leave it out")
        if precision != "float32" and evidence is None:
            raise UsageError(
                f"{precision} is judged by the answer. Cure: name the service and the data of the training"
            )

    def _parity(
        self, subject: Subject, run: Runner, precision: Precision, evidence: Evidence | None, size: tuple[int, int]
    ) -> dict[str, Any]:
        """Compare the file with the converter at the ends and the default of its dial.

        Raises:
            CheckFailed: it does not give the same.
        """
        dials = (None,) if subject.dial is None else (subject.dial.default, subject.dial.low, subject.dial.high)
        images = probes(None if self.any_size else size, size)
        if evidence is not None:
            images.append(fit(evidence.val.images[:CALIBRATION], size))
        pairs = [(subject.protect(batch, dial), run(batch, dial)) for dial in dials for batch in images]
        found: dict[str, Any] = compare_bytes(pairs, strict=precision == "float32")
        if evidence is not None:
            val = Split(fit(evidence.val.images, size), evidence.val.labels)
            found["answers"] = [
                each for dial in dials for each in self._answers(subject, run, precision, evidence.service, val, dial)
            ]
        return found

    def _answers(
        self, subject: Subject, run: Runner, precision: Precision, service: Service, val: Split, dial: float | None
    ) -> list[dict[str, Any]]:
        """How the answer to the file's payloads compares, for each target.

        Raises:
            CheckFailed: it does not, or a payload breaks what the defence guarantees.
        """
        expected, given = (Payload(convert(val.images, dial)) for convert in (subject.protect, run))
        answers = service.answer(expected), service.answer(given)
        subject.inspect(val, given, answers[1])
        return [{"dial": dial, **each} for each in compare_answers(*answers, val.labels, precision)]


def read_exports(folder: Path) -> list[Export]:
    """The finished exports of a folder, sorted by name.

    Raises:
        RunError: a file is not what was checked when it was exported.
    """
    found = []
    for record in sorted(Path(folder).glob("*.json")):
        path = record.with_suffix("")
        if not path.is_file():
            continue
        try:
            done = Export.from_record(json.loads(record.read_text()))
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(f"{record} cannot be read ({error}). Cure: export again") from error
        if hashlib.sha256(path.read_bytes()).hexdigest() != done.sha256:
            raise RunError(f"{path} is not the file that was checked. Cure: export again")
        found.append(done)
    return found


@contextlib.contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """A place for the file while it is not yet checked, in the folder of its own that goes away."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=path.parent) as folder:
        yield Path(folder) / path.name


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _size_part(size: tuple[int, int] | None) -> list[str]:
    return [] if size is None else [f"{size[0]}x{size[1]}"]


def fit(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Images of another size, nearest pixels; uint8 (N, *size, 3)."""
    if images.shape[1:3] == tuple(size):
        return images
    rows, columns = (np.arange(side) * have // side for side, have in zip(size, images.shape[1:3], strict=True))
    found: np.ndarray = images[:, rows][:, :, columns]
    return found
