"""Image reconstruction: a decoder from the payload to the original (DAPter, sections 5.3 and 7.3.3)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

from torch import Tensor, nn

from dapter.attacks import Attack, granted
from dapter.attacks._inputs import Inputs, Standardise, StandardiseAnswer, answer_values
from dapter.attacks._restoring import Objective, check_objective, originals, pairs, restoring_loss, to_pixels
from dapter.attacks._training import ANSWER, ask, train_net
from dapter.batches import Batch
from dapter.loop import Plan
from dapter.nets.attackers import build_decoder
from dapter.runs import Run
from dapter.types import Guess, Observed, View

_TINY = Plan(epochs=6, batch_size=32, augment=False)
_CPU = Plan(epochs=6, augment=False)
_PAPER = Plan(epochs=60, patience=15, augment=False)


@dataclass(frozen=True)
class Reconstruction(Attack):
    """A decoder of payloads; it sees the service's answer too.

    Attributes:
        family: the network, see `nets.attackers`: the paper's `symmetric` generator, or a `unet`.
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
    goal: ClassVar[Literal["secrets", "image"]] = "image"

    def __post_init__(self) -> None:
        check_objective(self.objective)

    @classmethod
    def suite(cls, preset: str) -> tuple[Self, ...]:
        """The paper's generator and a stronger one."""
        return tuple(cls(**settings) for settings in _SUITES[preset])

    def _learn(self, view: View, seed: int, run: Run) -> Callable[[Observed], Guess]:
        payloads = granted(view.train.payloads)
        net = _Restorer(self, Standardise(self.inputs, payloads), StandardiseAnswer(granted(view.train.answers)))

        def loss(batch: Batch) -> Tensor:
            return restoring_loss(self.objective, net(batch.images, batch.labels[ANSWER]), originals(batch))

        splits = pairs(payloads, view.train), pairs(granted(view.val.payloads), view.val)
        plan = replace(self.plan, augment=False)  # the loop would shift the payload and not the original
        train_net(net, loss, *splits, plan, run, seed, learning_rate=self.learning_rate)

        def guess(observed: Observed) -> Guess:
            answer = answer_values(granted(observed.answers))
            return Guess(images=to_pixels(ask(net, net, granted(observed.payloads), answer)))

        return guess


class _Restorer(nn.Module):
    """A decoder with what prepares its inputs."""

    def __init__(self, attack: Reconstruction, standardise: Standardise, scale: StandardiseAnswer) -> None:
        super().__init__()
        self.standardise = standardise
        self.scale = scale
        self.decoder = build_decoder(attack.family, standardise.channels, scale.values, attack.width)

    def forward(self, images: Tensor, answer: Tensor) -> Tensor:
        """Restored originals, float (N, 3, H, W) in [0, 1]."""
        restored: Tensor = self.decoder(self.standardise(images), self.scale(answer))
        return restored


_SUITES: Mapping[str, tuple[dict, ...]] = {
    "tiny": (
        {"family": "symmetric", "objective": "l2", "width": 8, "plan": _TINY},
        {"family": "unet", "objective": "ssim", "width": 8, "plan": _TINY},
    ),
    "cpu": (
        {"family": "symmetric", "objective": "l2", "plan": _CPU},
        {"family": "unet", "objective": "ssim", "plan": _CPU},
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
