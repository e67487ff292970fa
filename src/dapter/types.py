"""The frozen values that the parts hand to one another. Needs numpy only."""

import json
import math
from collections.abc import Callable, Mapping, Set
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

import numpy as np

from dapter.errors import DataError, UsageError

GREY = 128
"""The grey level that a converter is drawn towards (DAPter, Eq. 2)."""

GRADES = ("measured", "estimated", "guaranteed")
PRESETS = ("tiny", "cpu", "paper")
FIGURES = ("value", "low", "high", "floor", "ceiling", "leak", "reported")
"""The fields of a Measurement that are figures: finite, or null."""

TOLD = ("ssim", "l1", "reid_auc", "secret_auc", "secret_balanced_accuracy")
"""The measures by which leaks are told: of each secret the first that was measured (AUC is of two classes alone)."""


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
    """What leaves the device, after rounding, before lossless encoding.

    Attributes:
        values: 8-bit RGB images, uint8 (N, H, W, 3); or, of a defence that changes the service, features of a network,
            float16 (N, h, w, C).
    """

    values: np.ndarray

    def __post_init__(self) -> None:
        if not self.is_features:
            check_images(self.values)
        elif self.values.ndim != 4 or not np.isfinite(self.values).all():
            raise UsageError(f"features must be finite, (N, h, w, C), not {self.values.shape}. Cure: channels last")

    @property
    def is_features(self) -> bool:
        """Whether it is features, and no image."""
        return isinstance(self.values, np.ndarray) and self.values.dtype == np.float16

    @property
    def pixels(self) -> np.ndarray:
        """The images, uint8 (N, H, W, 3).

        Raises:
            UsageError: it is features.
        """
        if self.is_features:
            raise UsageError(
                "features of a network are no image. Cure: `dapter.features.pack` gives the bytes that are sent"
            )
        return check_images(self.values)


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


SEES = ("payloads", "answers", "originals", "secrets", "people", "client")
"""What a threat model can grant to an attacker while it learns."""


@dataclass(frozen=True)
class Observed:
    """What an attacker sees of the images that it attacks; None: its threat model does not grant it.

    Attributes:
        payloads: what left the device, the values of a Payload: uint8 (N, H, W, 3), or features float16 (N, h, w, C).
        answers: of the service to these payloads.
    """

    payloads: np.ndarray | None = None
    answers: Answer | None = None

    @property
    def is_features(self) -> bool:
        """Whether the payloads are features, and no images."""
        return self.payloads is not None and self.payloads.dtype == np.float16


@dataclass(frozen=True)
class Known(Observed):
    """What an attacker knows of the images that it learns from; None: not granted.

    Attributes:
        originals: uint8 (N, H, W, 3).
        secrets: for each secret label int64 (N,), -1 where it is unknown.
        people: who is shown, int64 (N,), -1 where it is unknown; None also where people are no secret.
    """

    originals: np.ndarray | None = None
    secrets: Mapping[str, np.ndarray] | None = None
    people: np.ndarray | None = None

    def restrict(self, sees: Set[str]) -> Self:
        """The same with only the fields that are named."""
        return replace(self, **{entry.name: None for entry in fields(self) if entry.name not in sees})

    def observed(self) -> Observed:
        """What the attacker would see of these images if it attacked them."""
        return Observed(self.payloads, self.answers)


@dataclass(frozen=True)
class View:
    """What the threat model grants while the attacker learns. The images that it attacks are not in it.

    Attributes:
        train: the images to learn from.
        val: the images to choose by.
        classes: for each secret label, the number of its values.
        redraws: of a random defence, `train` again with other noise, several times: who knows the converter can draw
            as often as he likes, and what he learns from one draw alone is that draw.
        mirror: whether a mirrored image keeps its labels.
        client: the client part (white box): float tensor (N, 3, H, W) in [0, 1] to the same, or to features
            (N, C, h, w), before rounding; differentiable, but for choices that it makes; None: not granted. One that
            leaves channels out has an attribute `whole`, the same with all of them.
    """

    train: Known
    val: Known
    classes: Mapping[str, int]
    redraws: tuple[Known, ...] = ()
    mirror: bool = True
    client: Callable[[Any], Any] | None = None

    @property
    def draws(self) -> tuple[Known, ...]:
        """The images to learn from, with each draw of the noise: each pass of a training takes the next."""
        return (self.train, *self.redraws)

    def restrict(self, sees: Set[str]) -> Self:
        """The same with only what is named, among SEES."""
        return replace(
            self,
            train=self.train.restrict(sees),
            redraws=tuple(each.restrict(sees) for each in self.redraws),
            val=self.val.restrict(sees),
            client=self.client if "client" in sees else None,
        )


@dataclass(frozen=True)
class Guess:
    """What an attack says of the images that it observed.

    Attributes:
        scores: for each secret float (N, classes): log-probabilities, up to a constant for each image, where the
            values are as frequent as in the training labels.
        images: the restored originals, uint8 (N, H, W, 3).
        people: who is shown, float32 (N, values) of length 1.
        describe: the same of photos, of which is known what the attack sees but whom they show.
    """

    scores: Mapping[str, np.ndarray] = field(default_factory=dict)
    images: np.ndarray | None = None
    people: np.ndarray | None = None
    describe: Callable[[Known], np.ndarray] | None = None


@dataclass(frozen=True)
class Outcome:
    """What an attack came to.

    Attributes:
        val: its guesses at the images it chose by.
        test: its guesses at the images under attack.
        guess: what it learned, to be tried on other images.
    """

    val: Guess
    test: Guess
    guess: Callable[[Observed], Guess]


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
