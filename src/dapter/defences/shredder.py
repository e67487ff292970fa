"""Shredder: a trained network is cut in two and left as it is; for the features between, noise is learned.

Mireshghallah, Taram, Ramrakhyani, Jalali, Tullsen, Esmaeilzadeh: "Shredder: Learning Noise Distributions to Protect
Inference Privacy", ASPLOS 2020. The paper learns many noise tensors from Laplace starts, rewards their size by λ, and
draws from distributions fitted to them. Here the Laplace distributions themselves are learned, in one training: a
tensor that was learned once is a constant, which anyone can subtract. For the same reason λ rewards their scale and
not their mean. Ours too: the network is trained first, in the same run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Laplace

from dapter.batches import Batch
from dapter.defences._divided import Cut, cross_entropy, shape_of
from dapter.defences._noise import RATE, LearnedNoise, loudness
from dapter.errors import UsageError
from dapter.service.classifier import Service


@dataclass(eq=False)
class Shredder(Cut):
    """A ResNet18 cut in two; on the device noise of its own scale is added to each feature.

    Attributes:
        lam: λ, weight of the logarithm of the noise's mean scale.
        most: the largest scale, in units of the features.
        pretrain: the share of the training for the network, without noise; then it is frozen, and the noise learned.
    """

    lam: float = 0.5
    most: float = 10.0
    pretrain: float = 0.5

    random: ClassVar[bool] = True
    keeps_last: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.pretrain < 1:
            raise UsageError(f"pretrain is {self.pretrain}. Cure: above 0 and below 1, a share of the training")

    @property
    def phases(self) -> tuple[float, ...]:
        """The second is the noise's."""
        return (self.pretrain,)

    def _build(self, service: Service | None) -> Mapping[str, nn.Module]:
        nets = super()._build(service)
        shape = shape_of(nets["client"], self.wanted.image_size)
        return {**nets, "noise": LearnedNoise(Laplace, shape, self.most)}

    def _optimizers(self, nets: Mapping[str, nn.Module]) -> Mapping[str, torch.optim.Optimizer]:
        network = super()._optimizers({name: net for name, net in nets.items() if name != "noise"})
        return {**network, "noise": torch.optim.Adam(nets["noise"].parameters(), lr=RATE)}

    def losses(self, batch: Batch, service: Service) -> dict[str, Tensor]:
        """`accuracy`: cross-entropy of the answer, with noise; `privacy`: λ times what is missing of the noise."""
        with self.learner.autocast():
            with torch.no_grad():
                features = self.learner.nets["client"](batch.images)
            accuracy = cross_entropy(self.learner.net("server")(self.learner.net("noise")(features)), batch.labels)
        privacy = -self.lam * loudness(self._noise.scale())
        return {"loss": accuracy + privacy, "accuracy": accuracy, "privacy": privacy}

    def update(self, batch: Batch, service: Service) -> dict[str, float]:
        """A step of the network without noise; later one of the noise, with the network as it is."""
        if batch.progress < self.pretrain:
            accuracy = self._forward(batch)[1]
            self.learner.descend(accuracy, "both")
            return {"loss": float(accuracy.detach())}
        for name in ("client", "server"):
            self.learner.nets[name].eval()
        losses = self.losses(batch, service)
        self.learner.descend(losses["loss"], "noise")
        return {name: float(value.detach()) for name, value in losses.items()}

    def client(self) -> nn.Module:
        """The first layers, and noise."""
        return nn.Sequential(self.learner.nets["client"], self._noise)

    @property
    def _noise(self) -> LearnedNoise:
        noise = self.learner.nets["noise"]
        assert isinstance(noise, LearnedNoise)
        return noise
