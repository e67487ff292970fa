"""DAPter: a converter that draws the image to grey while the frozen service still gives its answer.

Wu, Tian, Gong, Su, Li, Xu: "DAPter: Preventing User Data Abuse in Deep Learning Inference Services", WWW 2021.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from dapter.batches import Batch
from dapter.defences import Defence, round_to_levels
from dapter.errors import UsageError
from dapter.nets.converters import build_converter
from dapter.service.classifier import Service
from dapter.types import GREY


@dataclass(eq=False)
class Dapter(Defence):
    """The paper's converter: L = λ L_eta + (1 - λ) L_acc (Eq. 1 to 4).

    Attributes:
        lam: λ in [0, 1]: 0 only the answer counts, 1 only grey counts.
        net: `paper` or `fast` (see dapter.nets.converters).
        width: the network's channels; None: its usual number.
        labels: train on the labels of the `data`, or on the `service`'s own answers to the originals.
        lam_range: (low, high) trains one λ-conditioned converter for the whole range, each image with a λ of its
            own; `lam` then chooses at use time.
        warm_up: the share of the training over which λ rises from 0. Without it, training from random weights falls
            to plain grey, from where no gradient leads back. 0 suits a warm start.
        learning_rate: of Adam.
    """

    lam: float = 0.9
    net: str = "paper"
    width: int | None = None
    labels: Literal["data", "service"] = "data"
    lam_range: tuple[float, float] | None = None
    warm_up: float = 0.2
    learning_rate: float = 2e-3

    needs_service_change: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.lam = float(self.lam)
        if not 0 <= self.lam <= 1:
            raise UsageError(f"lam is {self.lam}. Cure: a number in [0, 1]; the paper's default is 0.9")
        if self.labels not in ("data", "service"):
            raise UsageError(f"labels is {self.labels!r}. Cure: 'data' or 'service'")
        if not 0 <= self.warm_up <= 1:
            raise UsageError(f"warm_up is {self.warm_up}. Cure: a share of the training, in [0, 1]")
        if self.lam_range is not None:
            self.lam_range = (self.lam_range[0], self.lam_range[1])
            low, high = self.lam_range
            if not 0 <= low < high <= 1 or not low <= self.lam <= high:
                raise UsageError(f"lam_range {self.lam_range} must rise within [0, 1] and hold lam {self.lam}")

    def _build(self, service: Service | None) -> Mapping[str, nn.Module]:
        return {"converter": build_converter(self.net, self.width, conditioned=self.lam_range is not None)}

    def _optimizers(self, nets: Mapping[str, nn.Module]) -> Mapping[str, torch.optim.Optimizer]:
        return {"converter": torch.optim.Adam(nets["converter"].parameters(), lr=self.learning_rate)}

    def losses(self, batch: Batch, service: Service) -> dict[str, Tensor]:
        """`eta` (Eq. 2, as a mean), `accuracy` (Eq. 3, cross-entropy) and their weighted sum `loss` (Eq. 1)."""
        lam = self._draw_lam(batch.images)
        with self.learner.autocast():
            labels = batch.labels if self.labels == "data" else _answers(batch.images, service)
            payload = round_to_levels(
                self.learner.net("converter")(batch.images, None if self.lam_range is None else lam)
            )
            eta = (payload - GREY / 255).abs().mean(dim=(1, 2, 3)) * 255 / 127.5
            accuracy = service.loss(payload, labels)
        weight = lam * min(1.0, batch.progress / self.warm_up) if self.warm_up else lam
        loss = weight * eta + (1 - weight) * accuracy
        return {"loss": loss.mean(), "eta": eta.mean(), "accuracy": accuracy.mean()}

    def update(self, batch: Batch, service: Service) -> dict[str, float]:
        """One step of Adam."""
        losses = self.losses(batch, service)
        self.learner.descend(losses["loss"], "converter")
        return {name: float(value.detach()) for name, value in losses.items()}

    def adjustable(self) -> frozenset[str]:
        """λ, if the converter is conditioned on it."""
        return frozenset() if self.lam_range is None else frozenset({"lam"})

    def client(self) -> nn.Module:
        """The converter; a conditioned one at the chosen λ."""
        converter = self.learner.nets["converter"]
        return converter if self.lam_range is None else _AtLambda(converter, self.lam)

    def _draw_lam(self, images: Tensor) -> Tensor:
        """λ for each image (N,): the setting; a conditioned converter draws, and validates evenly."""
        n = len(images)
        if self.lam_range is None:
            return torch.full((n,), self.lam, device=images.device)
        low, high = self.lam_range
        if not self.learner.nets.training:
            return torch.linspace(low, high, n, device=images.device)
        return low + (high - low) * torch.rand(n, device=images.device)


class _AtLambda(nn.Module):
    """A conditioned converter with λ chosen, unless `forward` is given another, a scalar tensor."""

    def __init__(self, converter: nn.Module, lam: float) -> None:
        super().__init__()
        self.converter = converter
        self.lam = lam

    def forward(self, images: Tensor, lam: Tensor | None = None) -> Tensor:
        chosen = images.new_full((), self.lam) if lam is None else lam
        converted: Tensor = self.converter(images, chosen.expand(images.shape[0]))
        return converted


@torch.no_grad()
def _answers(images: Tensor, service: Service) -> dict[str, Tensor]:
    """The service's own labels for the originals, for each target int64 (N,)."""
    return {target: logits.argmax(dim=1) for target, logits in service.logits(images).items()}
