"""Image reconstruction with an adversary: what a decoder restores must also look like an original.

Isola et al., "Image-to-image translation with conditional adversarial networks", CVPR 2017 (pix2pix): a critic of
patches is trained beside the decoder to tell its images from originals. Their L1 distance is ours plus 1 - SSIM; the
critic is trained by least squares (Mao et al., "Least squares generative adversarial networks", ICCV 2017), which keeps
its gradient small and the training stable. Where payloads say little, its images look real and are wrong: their
measures tell.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from dapter.attacks import Attack, Goal
from dapter.attacks._decoding import Restorer
from dapter.attacks._inputs import Inputs
from dapter.attacks._restoring import originals, pairs_of_payloads, restoring_loss
from dapter.attacks._training import ANSWER, run_loop
from dapter.batches import Batch
from dapter.errors import UsageError
from dapter.loop import Learner, Plan
from dapter.nets.decoders import PatchCritic
from dapter.processes import pick_device
from dapter.runs import Run
from dapter.types import Guess, Observed, View

BETAS = (0.5, 0.999)
"""Of both optimizers (Isola et al., section 3.3)."""


_CPU = Plan(epochs=3, augment=False)


@dataclass(frozen=True)
class Adversarial(Attack):
    """A U-Net of payloads, trained against a critic; it sees the service's answer too.

    Attributes:
        inputs: how payloads are standardised, see `attacks._inputs.Standardise`.
        width: channels of the first layer of both networks.
        weight: of the critic's opinion beside L1 + (1 - SSIM); pix2pix: a hundredth.
        plan: how both are trained; among epochs that is chosen whose restored images are nearest to the originals.
        learning_rate: of both AdamW.
    """

    inputs: Inputs = "residue"
    width: int = 16
    weight: float = 0.01
    plan: Plan = _CPU
    learning_rate: float = 2e-3

    sees: ClassVar[frozenset[str]] = frozenset({"payloads", "answers", "originals"})
    goal: ClassVar[Goal] = "image"

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise UsageError(f"weight is {self.weight}. Cure: 0 or more")

    @classmethod
    def suite(cls, preset: str) -> tuple[Self, ...]:
        """One."""
        return (cls(**_SUITES[preset]),)

    def on_features(self) -> Self:
        """Scaled by channel where it was on bits."""
        return replace(self, inputs="channels" if self.inputs == "bits" else self.inputs)

    def on_originals(self) -> Self:
        """The same on the residue, whatever it reads of payloads."""
        return replace(self, inputs="residue")

    def _learn(self, view: View, seed: int, run: Run) -> Callable[[Observed], Guess]:
        device = pick_device()
        net = Restorer(view, self.inputs, "unet", self.width).to(device)
        critic = PatchCritic(net.standardise.channels, self.width).to(device)
        learner = Learner(
            {"net": net, "critic": critic}, {"net": self._optimizer(net), "critic": self._optimizer(critic)}
        )

        def restore(batch: Batch) -> Tensor:
            restored: Tensor = net(batch.images, batch.labels[ANSWER])
            return restored

        def update(batch: Batch) -> Mapping[str, float]:
            payloads, truth = net.standardise(batch.images), originals(batch)
            with learner.autocast():
                restored = restore(batch)
                doubts = _squares(critic(payloads, truth), 1) + _squares(critic(payloads, restored.detach()), 0)
            learner.descend(doubts / 2, "critic")
            with learner.autocast():
                distance = restoring_loss("ssim", restored, truth)
                belief = _squares(critic(payloads, restored), 1)
            learner.descend(distance + self.weight * belief, "net")
            return {"loss": float(distance.detach()), "critic": float(doubts.detach()) / 2}

        def loss(batch: Batch) -> Tensor:
            return restoring_loss("ssim", restore(batch), originals(batch))

        run_loop(learner, update, loss, *pairs_of_payloads(view), replace(self.plan, augment=False), run, seed)
        return net.guess

    def _optimizer(self, net: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(net.parameters(), self.learning_rate, betas=BETAS, weight_decay=0.01)


def _squares(scores: Tensor, wanted: float) -> Tensor:
    """Mean squared distance of a critic's scores to what they should be."""
    return (scores - wanted).square().mean()


_SUITES: Mapping[str, dict[str, Any]] = {
    "tiny": {"width": 8, "plan": Plan(epochs=6, batch_size=32, augment=False)},
    "cpu": {},
    "paper": {"width": 64, "plan": Plan(epochs=60, patience=15, augment=False), "learning_rate": 1e-3},
}
"""What an audit runs at each scale."""
