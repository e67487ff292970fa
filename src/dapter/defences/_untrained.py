"""Defences without anything to learn: the two ends of the scale on which the others are measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dapter.batches import Batch
from dapter.defences import Defence
from dapter.service.classifier import Service


@dataclass(eq=False)
class Untrained(Defence):
    """Base of the defences that are ready once they are set up."""

    needs_service_change: ClassVar[bool] = False
    learns: ClassVar[bool] = False
    learns_privacy: ClassVar[bool] = False

    def _optimizers(self, nets: Mapping[str, nn.Module]) -> Mapping[str, torch.optim.Optimizer]:
        return {}

    def client(self) -> nn.Module:
        """The network of that name."""
        return self.learner.nets["client"]

    def losses(self, batch: Batch, service: Service) -> dict[str, Tensor]:
        """Nothing can be lost."""
        return {"loss": batch.images.new_zeros(())}

    def update(self, batch: Batch, service: Service) -> dict[str, float]:
        """Nothing to do."""
        return {"loss": 0.0}
