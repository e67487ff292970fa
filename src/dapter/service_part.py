"""The service part of a defence that changes the service: it answers what the client part sends; for `dapter serve`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from dapter.defences import name_of
from dapter.defences._divided import Divided
from dapter.errors import RunError, UsageError
from dapter.runs import MANIFEST, Run
from dapter.train import CLASSES, load_defence
from dapter.types import Payload


def is_defence(source: str) -> bool:
    """Whether a source of `dapter serve` is the run folder of a defence."""
    return (Path(source) / MANIFEST).exists() and Run.load(source).manifest.get("kind") == "defence"


@dataclass(frozen=True)
class ServicePart:
    """What runs at the service.

    Attributes:
        classes: for each target, the names of its values.
    """

    defence: Divided
    classes: Mapping[str, Sequence[str]]

    @classmethod
    def load(cls, source: Path | str) -> Self:
        """That of a finished run.

        Raises:
            UsageError: the defence leaves the service alone, or its service part cannot be run apart.
            RunError: no such run, not finished, or it does not name its classes.
        """
        run = Run.load(source)
        defence = load_defence(run)
        if not defence.needs_service_change:
            raise UsageError(f"{name_of(defence)} has no service part. Cure: serve the service that it was trained for")
        if not isinstance(defence, Divided):
            raise UsageError(
                f"the service part of {name_of(defence)} cannot be run apart. Cure: derive its class from "
                "dapter.defences._divided.Divided"
            )
        if CLASSES not in run.manifest:
            raise RunError(
                f"{run.path} does not name its classes: it is older. Cure: delete the folder and train again"
            )
        return cls(defence, run.manifest[CLASSES])

    @property
    def takes_features(self) -> bool:
        """Whether its payloads are features; otherwise they are images."""
        return self.defence.sends == "features"

    def answer(self, values: np.ndarray) -> Mapping[str, np.ndarray]:
        """Logits, float32 (N, classes) for each target, to payloads, float16 (N, h, w, C) or uint8 (N, H, W, 3).

        Raises:
            UsageError: its networks cannot take that shape.
        """
        try:
            return self.defence.answer(Payload(values)).logits
        except RuntimeError as error:
            cure = "Cure: send what the client part of the same run gives"
            raise UsageError(f"this service part cannot take {values.shape[1:]} ({error}). {cure}") from error
