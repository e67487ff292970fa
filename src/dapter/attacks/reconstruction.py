"""Image reconstruction: a decoder from the payload to the original (DAPter, sections 5.3 and 7.3.3)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from dapter.attacks import Attack, Goal
from dapter.attacks._decoding import Restorer, learn_to_restore
from dapter.attacks._inputs import Inputs
from dapter.attacks._restoring import Objective, check_objective
from dapter.loop import Plan
from dapter.runs import Run
from dapter.types import Guess, Observed, View

_TINY = Plan(epochs=6, batch_size=32, augment=False)
_CPU = Plan(epochs=5, augment=False)
_PAPER = Plan(epochs=60, patience=15, augment=False)


@dataclass(frozen=True)
class Reconstruction(Attack):
    """A decoder of payloads; it sees the service's answer too.

    Attributes:
        family: the network, one of `nets.decoders.DECODERS`: the paper's `symmetric` generator, a `unet`, ...
        objective: what its training makes small: `l2`, the paper's, or `ssim`: L1 + (1 - SSIM).
        inputs: how payloads are standardised, see `attacks._inputs.Standardise`.
        width: channels of the network's first layer.
        plan: how it is trained.
        learning_rate: of AdamW.
    """

    family: str = "unet"
    objective: Objective = "ssim"
    inputs: Inputs = "residue"
    width: int = 16
    plan: Plan = _CPU
    learning_rate: float = 2e-3

    sees: ClassVar[frozenset[str]] = frozenset({"payloads", "answers", "originals"})
    goal: ClassVar[Goal] = "image"

    def __post_init__(self) -> None:
        check_objective(self.objective)

    @classmethod
    def suite(cls, preset: str) -> tuple[Self, ...]:
        """The paper's generator and stronger ones, of which one reads bits, and features by channel."""
        return tuple(cls(**settings) for settings in _SUITES[preset])

    def on_features(self) -> Self:
        """Scaled by channel where it was on bits."""
        return replace(self, inputs="channels" if self.inputs == "bits" else self.inputs)

    def on_originals(self) -> Self:
        """The same on the residue, whatever it reads of payloads."""
        return replace(self, inputs="residue")

    def _learn(self, view: View, seed: int, run: Run) -> Callable[[Observed], Guess]:
        net = Restorer(view, self.inputs, self.family, self.width)
        return learn_to_restore(net, self.objective, view, self.plan, run, seed, self.learning_rate)


_SUITES: Mapping[str, tuple[dict, ...]] = {
    "tiny": (
        {"family": "symmetric", "objective": "l2", "width": 8, "plan": _TINY},
        {"family": "unet", "objective": "ssim", "width": 8, "plan": _TINY},
        {"family": "unet", "objective": "ssim", "inputs": "bits", "width": 8, "plan": _TINY},
    ),
    "cpu": (
        {"family": "symmetric", "objective": "l2", "plan": replace(_CPU, epochs=4)},
        {"family": "unet", "objective": "ssim", "plan": _CPU},
        {"family": "unet", "objective": "ssim", "inputs": "bits", "plan": _CPU},
    ),
    "paper": (
        {"family": "symmetric", "objective": "l2", "width": 32, "plan": _PAPER},
        *(
            {"family": "unet", "objective": objective, "inputs": inputs, "width": 64, "plan": _PAPER}
            for objective, inputs in (("l2", "residue"), ("ssim", "residue"), ("ssim", "bits"))
        ),
    ),
}
"""What an audit runs at each scale."""
