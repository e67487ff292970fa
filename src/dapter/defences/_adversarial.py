"""What the defences share that are trained in turn with an adversary who reads their features.

The adversary is the defence's own, of the kind that its paper trains against; the audit never sees it.
"""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dapter.batches import Batch
from dapter.defences._divided import Cut, cut_resnet
from dapter.errors import UsageError
from dapter.service.classifier import Service

HASTE = 4.0
"""How many times faster an adversary learns than what it plays against, so that it keeps up (Heusel et al., NIPS 2017,
prove convergence for such pairs of rates; maximum entropy's authors take 100 times). One that lags is fooled by a shift
of the features, from which a new reader learns everything."""


@dataclass(eq=False)
class Adversarial(Cut):
    """Base: in each step the adversary learns first, then the two parts learn to answer and to stand up to it.

    The adversary's network is named `adversary`. Trained for is `loss` + `privacy`.
    """

    keeps_last: ClassVar[bool] = True
    plays: ClassVar[bool] = True

    @abc.abstractmethod
    def _adversary(self) -> nn.Module:
        """The adversary, newly initialised: takes features (N, C, h, w)."""

    @abc.abstractmethod
    def _mistaken(self, found: Any, batch: Batch) -> Tensor:
        """What the adversary learns to make small, a scalar.

        Args:
            found: what its network gives.
            batch: what the features were made of.
        """

    @abc.abstractmethod
    def _privacy(self, found: Any, batch: Batch) -> Tensor:
        """What the client part learns to make small, a scalar, with its weight; arguments as for `_mistaken`."""

    def _build(self, service: Service | None) -> Mapping[str, nn.Module]:
        return {**super()._build(service), "adversary": self._adversary()}

    def _optimizers(self, nets: Mapping[str, nn.Module]) -> Mapping[str, torch.optim.Optimizer]:
        own = super()._optimizers({name: net for name, net in nets.items() if name != "adversary"})
        return {**own, "adversary": torch.optim.Adam(nets["adversary"].parameters(), lr=HASTE * self.learning_rate)}

    def losses(self, batch: Batch, service: Service) -> dict[str, Tensor]:
        """`loss`: cross-entropy of the answer; `privacy`: what the adversary finds, with its weight."""
        features, accuracy = self._forward(batch)
        return {"loss": accuracy, "privacy": self._privacy(self._attack(features), batch)}

    def update(self, batch: Batch, service: Service) -> dict[str, float]:
        """A step of the adversary, then one of the two parts; `adversary` is its loss."""
        features, accuracy = self._forward(batch)
        mistaken = self._mistaken(self._attack(features.detach()), batch)
        self.learner.descend(mistaken, "adversary")
        privacy = self._privacy(self._attack(features), batch)
        self.learner.descend(accuracy + privacy, "both")
        found = {"loss": accuracy, "privacy": privacy, "adversary": mistaken}
        return {name: float(value.detach()) for name, value in found.items()}

    def _attack(self, features: Tensor) -> Any:
        with self.learner.autocast():
            return self.learner.net("adversary")(features)

    def reader(self) -> nn.Module:
        """An adversary that names the secrets: built like the service part, with logits (N, values) of every secret.

        Raises:
            UsageError: there is no secret to hide.
        """
        if not self.wanted.secrets:
            raise UsageError(
                "this defence learns to hide secrets, and has none. Cure: name some with the data (--secrets)"
            )
        return cut_resnet(self.width, self.blocks, self.wanted.secrets)[1]


def entropy(guesses: Mapping[str, Tensor]) -> Tensor:
    """Of an adversary's guesses, for each secret logits (N, values): in nats, mean over batch and secrets."""
    each = [(logits.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1).mean() for logits in guesses.values()]
    return -torch.stack(each).mean()
