"""The frozen values that the parts hand to one another. Needs numpy only."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from dapter.errors import DataError, UsageError

GREY = 128
"""The grey level that a converter is drawn towards (DAPter, Eq. 2)."""

GRADES = ("measured", "estimated", "guaranteed")
PRESETS = ("tiny", "cpu", "paper")
FIGURES = ("value", "low", "high", "floor", "ceiling", "leak", "reported")
"""The fields of a Measurement that are figures: finite, or null."""


def check_images(images: np.ndarray) -> np.ndarray:
    """Return `images` if they are a batch of 8-bit RGB images, uint8 (N, H, W, 3).

    Raises:
        UsageError: another type, rank or number of channels.
    """
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        found = getattr(images, "dtype", type(images).__name__)
        raise UsageError(f"images must be a numpy array of uint8 (N, H, W, 3), not {found}. Cure: scale to 0..255")
    if images.ndim != 4 or images.shape[3] != 3:
        raise UsageError(f"images must be (N, H, W, 3), not {images.shape}. Cure: convert to RGB, channels last")
    return images


@dataclass(frozen=True)
class Payload:
    """What leaves the device: 8-bit RGB images, after rounding, before lossless encoding.

    Attributes:
        pixels: uint8 (N, H, W, 3).
    """

    pixels: np.ndarray

    def __post_init__(self) -> None:
        check_images(self.pixels)


@dataclass(frozen=True)
class Answer:
    """What a service answers.

    Attributes:
        logits: for each target label, float32 (N, classes).
    """

    logits: Mapping[str, np.ndarray]

    def labels(self) -> dict[str, np.ndarray]:
        """The most likely class of each target, int64 (N,)."""
        return {target: logits.argmax(axis=1) for target, logits in self.logits.items()}


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One figure, with all that is needed to judge and repeat it: one line of a results file.

    Attributes:
        value: the figure; `low` and `high` are its 95 % interval and `n` the number of images behind it.
        seed: the seed of the run, null for a figure of no run.
        grade: how strong the evidence is, one of GRADES.
        reported: the figure that the paper reports for the same thing.
        source: the command or script that measured it.
        code: version (and commit) of dapter.
    """

    defence: str
    data: str
    target: str
    measure: str
    value: float | None
    n: int | None = None
    low: float | None = None
    high: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    secret: str | None = None
    attack: str | None = None
    floor: float | None = None
    ceiling: float | None = None
    leak: float | None = None
    seed: int | None = None
    preset: str | None = None
    grade: str = "measured"
    flags: tuple[str, ...] = ()
    reported: float | None = None
    source: str = ""
    code: str = ""
    data_digest: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.grade not in GRADES:
            raise UsageError(f"grade {self.grade!r} is none of {', '.join(GRADES)}")
        if self.preset is not None and self.preset not in PRESETS:
            raise UsageError(f"preset {self.preset!r} is none of {', '.join(PRESETS)}")
        for name in FIGURES:
            figure = getattr(self, name)
            if figure is not None and not math.isfinite(figure):
                raise UsageError(f"{name} of {self.measure} is {figure}. Cure: leave out what could not be measured")

    def record(self) -> dict[str, Any]:
        """Every field as a JSON value, null where it does not apply."""
        return {**asdict(self), "flags": list(self.flags)}

    @classmethod
    def from_record(cls, record: Any) -> "Measurement":
        """Read what `record` gave.

        Raises:
            DataError: fields are missing or unknown, or hold what no measurement can.
        """
        known = {entry.name for entry in fields(cls)}
        if not isinstance(record, dict) or set(record) != known:
            wrong = sorted(known ^ set(record)) if isinstance(record, dict) else type(record).__name__
            raise DataError(f"a line of results has missing or unknown fields: {wrong}. Cure: measure again")
        try:
            return cls(**{**record, "flags": tuple(record["flags"])})
        except (TypeError, UsageError) as error:
            raise DataError(f"a line of results cannot be right: {error}. Cure: measure again") from error

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.record(), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> "Measurement":
        """Read what `to_json` wrote.

        Raises:
            DataError: not JSON, or fields missing or unknown.
        """
        try:
            return cls.from_record(json.loads(line))
        except json.JSONDecodeError as error:
            raise DataError(f"a line of results is not JSON ({error}). Cure: delete the line") from error
