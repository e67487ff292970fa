"""The contract of a defence: what runs on the user's device, how it is trained, what leaves.

One file a paper. A defence is a dataclass whose fields are its settings; it implements the hooks below, and the
base class owns the public calls: checking, batching, rounding to 8 bits, failing closed.
"""

import abc
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from dapter.batches import Batch, to_float
from dapter.data import Data, Split
from dapter.defences._draws import draws_of
from dapter.errors import ConversionError, UsageError
from dapter.loop import Learner
from dapter.plugins import find
from dapter.service.classifier import Service
from dapter.types import Answer, Payload, check_images

HALF_MAX = 65504.0
"""The largest float16: features are sent in that format."""

HALF_LEVEL = 0.5 / 255
"""How far from [0, 1] a converter's image may be: what rounding to 8 bits takes back."""

CHUNK_PIXELS = 2_000_000
"""About how many pixels are converted at a time; bounds memory."""


@dataclass(frozen=True)
class Task:
    """What a defence is trained for.

    Attributes:
        targets: the labels that the service answers, each with the number of its values.
        secrets: labels that a defence may be trained to hide, likewise.
        image_size: height and width in pixels.
    """

    targets: Mapping[str, int]
    secrets: Mapping[str, int]
    image_size: tuple[int, int]

    @classmethod
    def of(cls, data: Data) -> Self:
        """The task that a data set sets."""
        sizes = {name: len(values) for name, values in data.classes.items()}
        return cls(
            {name: sizes[name] for name in data.targets}, {name: sizes[name] for name in data.secrets}, data.image_size
        )

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return {"targets": dict(self.targets), "secrets": dict(self.secrets), "image_size": list(self.image_size)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read what `record` gave."""
        height, width = record["image_size"]
        return cls(record["targets"], record["secrets"], (height, width))


@dataclass(eq=False)
class Defence(abc.ABC):
    """Base of all defences. Build it with its settings, `setup` it, then train it or load its weights.

    Attributes:
        task: what it is set up for, if that was said.
        learner: its networks, once it is set up.
    """

    needs_service_change: ClassVar[bool]
    """Whether the service must be changed for it; DAPter and the budget converter leave it alone."""

    sends: ClassVar[Literal["image", "features"]] = "image"
    """What leaves the device: an image of the same size, or features that only a changed service understands."""

    learns: ClassVar[bool] = True
    """Whether anything is trained, on the device or at the service; otherwise a seed changes nothing but draws."""

    learns_privacy: ClassVar[bool] = True
    """Whether it is trained to hide something: some of its losses beside `loss` and `accuracy` are for that."""

    keeps_last: ClassVar[bool] = False
    """Whether the last epoch of a training is kept, whichever has the best `loss`: where phases follow each other or an
    adversary plays along, the answer is best before anything is hidden; with NoPeek the other way round."""

    plays: ClassVar[bool] = False
    """Whether its networks play against each other in training: their weights move so fast that statistics of batch
    normalisation must be measured anew (`loop.fit`, `settle`)."""

    @abc.abstractmethod
    def _build(self, service: Service | None) -> Mapping[str, nn.Module]:
        """The networks, by name, newly initialised. Without a service only what `protect` needs."""

    @abc.abstractmethod
    def _optimizers(self, nets: Mapping[str, nn.Module]) -> Mapping[str, torch.optim.Optimizer]:
        """The optimizers that `update` steps, by name."""

    @abc.abstractmethod
    def losses(self, batch: Batch, service: Service) -> dict[str, Tensor]:
        """The named losses of a batch, differentiable scalars, `loss` among them."""

    def validation_loss(self, means: Mapping[str, float]) -> float:
        """What selects among epochs, unless the defence `keeps_last`: the smaller the better.

        Args:
            means: of the named losses over the validation split.
        """
        return means["loss"]

    @abc.abstractmethod
    def update(self, batch: Batch, service: Service) -> dict[str, float]:
        """One training step, in place; gives the named losses."""

    @abc.abstractmethod
    def client(self) -> nn.Module:
        """The client part, before rounding: float (N, 3, H, W) in [0, 1] to the same, or to features (N, C, h, w).

        With an adjustable setting it takes another value of it as a second argument, a scalar tensor.
        """

    @property
    def random(self) -> bool:
        """Whether the payload is drawn anew, for every image and at every call; a class variable where all are."""
        return False

    @property
    def phases(self) -> tuple[float, ...]:
        """Where further phases of the training begin, as shares of it: there the learning rates start anew."""
        return ()

    def adjustable(self) -> frozenset[str]:
        """The settings, at most one, that may be chosen when the defence is used; the others are fixed by training.

        A setting `x` has its range, (low, high), in the setting `x_range`.
        """
        return frozenset()

    def setup(self, seed: int = 0, service: Service | None = None, task: Task | None = None) -> Self:
        """Make the networks and optimizers, initialised from the seed. Returns itself."""
        torch.manual_seed(seed)
        self.task = task
        nets = self._build(service)
        self.learner = Learner(nets, self._optimizers(nets))
        return self

    def settings(self) -> dict[str, Any]:
        """The fields, as JSON values."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def conditions(self) -> dict[str, Any]:
        """The settings as results record them: where the service must be changed, that is one."""
        return {**self.settings(), **({"service_changed": True} if self.needs_service_change else {})}

    def protect(self, images: np.ndarray, seed: int | None = None) -> Payload:
        """What leaves the device for these images.

        Args:
            images: uint8 (N, H, W, 3).
            seed: of the noise of a defence that is `random`, so that a measurement can be repeated. None, as in use:
                every number is drawn from the operating system (`_draws`), because noise that somebody can draw again
                can be subtracted.

        Raises:
            UsageError: not such images, or not set up.
            ConversionError: the conversion failed; nothing may be sent.
        """
        check_images(images)
        if not hasattr(self, "learner"):
            raise UsageError("this defence has no networks yet. Cure: train it, or load a run with load_defence")
        self.learner.nets.eval()
        if not all(bool(value.isfinite().all()) for value in self.learner.nets.state_dict().values()):
            raise ConversionError("the defence's weights are not finite. Cure: train it again")
        chunk = max(1, CHUNK_PIXELS // max(1, images.shape[1] * images.shape[2]))
        device = self.learner.device
        with draws_of(seed, device) as drawn:
            parts = [self._chunk(images[start : start + chunk]) for start in range(0, len(images), chunk)]
            parts = parts or [self._chunk(np.zeros((1, *images.shape[1:]), np.uint8))[:0]]
            if drawn() and not self.random:
                raise ConversionError(
                    f"{name_of(self)} draws random numbers and does not say so, by which attackers would see one draw "
                    "only. Cure: `random = True` in its class"
                )
        return Payload(np.concatenate(parts))

    @torch.no_grad()
    def _chunk(self, images: np.ndarray) -> np.ndarray:
        try:
            floats = self.client()(to_float(images, self.learner.device))
        except RuntimeError as error:
            raise ConversionError(
                f"the defence fails on images of {images.shape[1:]} ({error}). Cure: the size that it was trained at"
            ) from error
        if not isinstance(floats, Tensor) or not floats.is_floating_point():
            found = getattr(floats, "dtype", type(floats).__name__)
            raise ConversionError(f"the defence gave {found}, not floats. Cure: what `Defence.client` says")
        if not torch.isfinite(floats).all():
            raise ConversionError("the defence gave values that are not finite. Cure: train it again")
        if floats.ndim != 4 or len(floats) != len(images):
            raise ConversionError(f"the defence made {tuple(floats.shape)} of {len(images)} images, not (N, C, h, w)")
        if self.sends == "features":
            return _last(floats.clamp(-HALF_MAX, HALF_MAX).half())
        if floats.shape != (len(images), 3, *images.shape[1:3]):
            raise ConversionError(f"the defence changed the shape {images.shape} to {tuple(floats.shape)}")
        low, high = floats.min().item(), floats.max().item()
        if low < -HALF_LEVEL or high > 1 + HALF_LEVEL:
            raise ConversionError(
                f"the defence gave values from {low:.3g} to {high:.3g}, and an image has 0 to 1: another one "
                "would be sent. Cure: end its client part in a sigmoid, or clamp there"
            )
        return _last((floats * 255).round().clamp(0, 255).to(torch.uint8))

    def tail(self, payload: Payload, service: Service) -> Answer:
        """The service's side: the answer to a payload. Differs only where `needs_service_change`."""
        return service.answer(payload)

    def figures(self, split: Split, payload: Payload, answer: Answer) -> list[dict[str, Any]]:
        """What only this defence can say of itself on a split: each entry fields of a Measurement. Usually nothing.

        Args:
            split: the images, with their labels.
            payload: what `protect` makes of them.
            answer: what `tail` gives to that.
        """
        return []


def _last(values: Tensor) -> np.ndarray:
    """(N, C, h, w) as an array with channels last."""
    found: np.ndarray = values.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return found


def build_defence(name: str, settings: Mapping[str, Any]) -> Defence:
    """A defence by its plug-in's name.

    Raises:
        UsageError: no such defence or setting, or a setting that cannot work.
    """
    kind = find("defences", name)
    try:
        built: Defence = kind(**settings)
    except (TypeError, ValueError) as error:
        known = ", ".join(entry.name for entry in fields(kind))
        raise UsageError(f"defence {name}: {error}. Its settings: {known}") from error
    return built


def with_settings(defence: Defence, **changes: Any) -> Defence:
    """The same trained defence under other settings of use, sharing its networks.

    Raises:
        UsageError: a setting that was fixed by training.
    """
    fixed = sorted(set(changes) - defence.adjustable())
    if fixed:
        raise UsageError(f"{', '.join(fixed)} cannot change after training. Cure: train it with that setting")
    other = replace(defence, **changes)
    other.task, other.learner = defence.task, defence.learner
    return other


def name_of(defence: Defence) -> str:
    """The plug-in's name of a defence."""
    return type(defence).__module__.rsplit(".", 1)[-1]


def round_to_levels(images: Tensor) -> Tensor:
    """Round [0, 1] to the 256 levels of an 8-bit image, with a straight-through gradient (Bengio et al., 2013)."""
    return images + ((images * 255).round().clamp(0, 255) / 255 - images).detach()
