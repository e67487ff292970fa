"""Export the converter of a finished run to a file that apps can run."""

from functools import partial
from pathlib import Path

import numpy as np

from dapter.data import Data
from dapter.defences import Defence, with_settings
from dapter.errors import UsageError
from dapter.export import FOLDER, Dial, Evidence, Export, Exporter, Precision, Subject
from dapter.plugins import find
from dapter.runs import Run
from dapter.service.classifier import Service
from dapter.train import load_defence


def export(
    run: Run | Path | str,
    target: str,
    service: Service | None = None,
    data: Data | None = None,
    *,
    precision: Precision = "float32",
    size: tuple[int, int] | None = None,
) -> Export:
    """Export a trained converter into the folder `exports` of its run.

    Args:
        run: of `train`.
        target: the format: `onnx`, `executorch` or `litert`.
        service, data: those of the training: int8 is calibrated with `train`, and the answer is compared on `val`.
            float32 can be checked without them, on generated images.
        precision: what is computed with inside.
        size: height and width, for formats that fix them; by default those of the training.

    Raises:
        UsageError: no such format or precision, another service or data set than the run's, a defence that sends no
            image, or service and data are missing.
        CheckFailed: the file does not give what the converter gives; it is not kept.
        RunError: not such a run, or not finished.
    """
    run = run if isinstance(run, Run) else Run.load(run)
    defence = load_defence(run)
    exporter: Exporter = find("export", target)()
    evidence = _evidence(run, service, data)
    subject = subject_of(defence, data)
    return exporter.export(subject, run.path / FOLDER, precision, evidence=evidence, size=size)


def _evidence(run: Run, service: Service | None, data: Data | None) -> Evidence | None:
    if service is None or data is None:
        return None
    manifest = run.manifest
    if manifest["service"] != service.digest or manifest["data"]["digest"] != data.digest:
        raise UsageError(f"{run.path} was trained with another service or data set. Cure: give the same ones")
    return Evidence(service, data.splits["train"].images, data.splits["val"])


def subject_of(defence: Defence, data: Data | None) -> Subject:
    """What is exported of a trained defence.

    Args:
        data: says how large the images are, where the run does not.

    Raises:
        UsageError: it needs a service of its own, or draws its payloads; or nothing says how large the images are.
    """
    if defence.needs_service_change:
        raise UsageError(
            "only converters for a service that stays as it is are exported. Cure: another defence; `dapter serve` "
            "offers this one's service part"
        )
    if defence.random:
        raise UsageError(
            "only converters that always send the same image for an image are exported: a file has no random source "
            "that an app could trust. Cure: another defence, `budget` without flip, or `dapter convert`"
        )
    size = defence.task.image_size if defence.task else data.image_size if data else None
    if size is None:
        raise UsageError("this run does not say how large its images were. Cure: name the service and the data")
    return Subject(defence.client(), partial(_protect, defence), size, _dial(defence), defence.figures)


def _dial(defence: Defence) -> Dial | None:
    """The adjustable setting, if there is one."""
    for name in defence.adjustable():
        low, high = getattr(defence, f"{name}_range")
        return Dial(name, low, high, getattr(defence, name))
    return None


def _protect(defence: Defence, images: np.ndarray, dial: float | None) -> np.ndarray:
    """What the defence itself gives, with its dial at that value."""
    chosen = defence if dial is None else with_settings(defence, **dict.fromkeys(defence.adjustable(), dial))
    return chosen.protect(images).pixels
