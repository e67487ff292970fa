"""Cloak: noise on the image where the service can bear it; where it bears most, a constant. The service stays as it is.

Mireshghallah, Taram, Jalali, Elthakeb, Tullsen, Esmaeilzadeh: "Not All Features Are Equal: Discovering Essential
Features for Preserving Prediction Privacy", WWW 2021. A feature is one value of one pixel. First the scale of normal
noise is learned for each, with a reward λ for loudness; then the loudest features are suppressed: constants take their
place, which are learned for the answer alone. The others keep their noise. Ours: the paper suppresses above a
threshold of the scale, here the share that is suppressed is set; noisy values are clipped and rounded to an 8-bit
image, in training too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from dapter.batches import Batch
from dapter.defences import Defence, round_to_levels
from dapter.defences._noise import RATE, LearnedNoise, loudness, stretch
from dapter.errors import UsageError
from dapter.service.classifier import Service


class _Sift(nn.Module):
    """Noise on the features that are kept, constants for the others; or, to find out which, noise on all."""

    def __init__(self, noise: LearnedNoise, suppressed: float) -> None:
        super().__init__()
        self.noise, self.suppressed = noise, suppressed
        self.constants = nn.Parameter(torch.full_like(noise.mean, 0.5))

    def kept(self, images: Tensor) -> Tensor:
        """Which features of such images are kept, bool (1, 3, H, W)."""
        rho = stretch(self.noise.rho.detach(), images)
        return rho <= rho.flatten().quantile(1 - self.suppressed)

    def forward(self, images: Tensor, noise_on_all: bool = False) -> Tensor:
        kept = self.kept(images) | noise_on_all
        return torch.where(kept, self.noise(images), stretch(self.constants, images)).clamp(0, 1)


@dataclass(eq=False)
class Cloak(Defence):
    """Learned noise and learned constants, the same distributions for every image.

    Attributes:
        lam: λ, weight of the logarithm of the noise's mean scale.
        most: the largest standard deviation, as a share of the range from black to white.
        suppressed: the share of the features for which a constant is sent.
        search: the share of the training that learns the noise; the rest learns the constants.
    """

    lam: float = 0.1
    most: float = 1.0
    suppressed: float = 0.5
    search: float = 0.6

    needs_service_change: ClassVar[bool] = False
    random: ClassVar[bool] = True
    keeps_last: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.suppressed < 1 or not 0 < self.search < 1:
            raise UsageError(f"suppressed {self.suppressed}, search {self.search}. Cure: shares, above 0 and below 1")

    @property
    def phases(self) -> tuple[float, ...]:
        """The second is the constants'."""
        return (self.search,)

    def _build(self, service: Service | None) -> Mapping[str, nn.Module]:
        if self.task is None:
            raise UsageError(
                "this defence learns noise for each pixel, and must know how many. Cure: give `setup` a Task"
            )
        return {"sift": _Sift(LearnedNoise(Normal, (3, *self.task.image_size), self.most), self.suppressed)}

    def _optimizers(self, nets: Mapping[str, nn.Module]) -> Mapping[str, torch.optim.Optimizer]:
        sift = nets["sift"]
        assert isinstance(sift, _Sift)
        return {
            "noise": torch.optim.Adam(sift.noise.parameters(), lr=RATE),
            "constants": torch.optim.Adam([sift.constants], lr=RATE),
        }

    def losses(self, batch: Batch, service: Service) -> dict[str, Tensor]:
        """`accuracy`: cross-entropy of the answer to the payload; `privacy`: λ times what is missing of the noise."""
        with self.learner.autocast():
            payload = round_to_levels(self.learner.net("sift")(batch.images, self._searches(batch)))
            accuracy = service.loss(payload, batch.labels).mean()
        privacy = -self.lam * loudness(self._sift.noise.scale())
        return {"loss": accuracy + privacy, "accuracy": accuracy, "privacy": privacy}

    def update(self, batch: Batch, service: Service) -> dict[str, float]:
        """A step of the noise; later one of the constants."""
        losses = self.losses(batch, service)
        self.learner.descend(losses["loss"], "noise" if self._searches(batch) else "constants")
        with torch.no_grad():  # what is black or white already gets no gradient beyond
            self._sift.constants.clamp_(0, 1)
        return {name: float(value.detach()) for name, value in losses.items()}

    def _searches(self, batch: Batch) -> bool:
        return self.learner.nets.training and batch.progress < self.search

    def client(self) -> nn.Module:
        """What is kept, with noise, and constants."""
        return self._sift

    @property
    def _sift(self) -> _Sift:
        sift = self.learner.nets["sift"]
        assert isinstance(sift, _Sift)
        return sift
