"""Random channel pruning: for every image some channels of the features are left out, whichever they are.

The baseline of DISCO's tables (Singh et al., "DISCO: Dynamic and Invariant Sensitive Channel Obfuscation for deep
neural networks", CVPR 2021), whose learned choice of channels it is compared with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from dapter.defences._divided import Cut
from dapter.defences._draws import uniform
from dapter.errors import UsageError
from dapter.service.classifier import Service


class _Prune(nn.Module):
    def __init__(self, ratio: float) -> None:
        super().__init__()
        self.ratio = ratio

    def forward(self, features: Tensor) -> Tensor:
        n, channels = features.shape[:2]
        order = uniform((n, channels), features.device).argsort(dim=1)
        kept = order >= round(self.ratio * channels)
        return features * kept[:, :, None, None]


class _Pruned(nn.Sequential):
    @property
    def whole(self) -> nn.Module:
        """The client part with all its channels."""
        return self[0]


@dataclass(eq=False)
class RandomPruning(Cut):
    """A ResNet18 cut in two and trained for the answer, with channels left out in training as in use.

    Attributes:
        ratio: the share of the channels that are set to 0.
    """

    ratio: float = 0.9

    learns_privacy: ClassVar[bool] = False
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise UsageError(
                f"ratio is {self.ratio}. Cure: above 0 and below 1, the share of channels that are left out"
            )

    def _build(self, service: Service | None) -> Mapping[str, nn.Module]:
        nets = super()._build(service)
        return {**nets, "client": _Pruned(nets["client"], _Prune(self.ratio))}
