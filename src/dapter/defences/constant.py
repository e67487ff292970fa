"""Grey everywhere: nothing of the image leaves. An attack that learns from it has cheated."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dapter.defences._untrained import Untrained
from dapter.service.classifier import Service
from dapter.types import GREY


class _Grey(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.full_like(images, GREY / 255)


@dataclass(eq=False)
class Constant(Untrained):
    """Send a grey image of the same size."""

    def _build(self, service: Service | None) -> Mapping[str, nn.Module]:
        return {"client": _Grey()}
