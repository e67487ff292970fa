"""A baseline whose service has learned from what it sends: how much of the answer noise, blur or pixels really cost.

The baselines that learn nothing meet the service as it is, which never saw a blurred or noisy image and answers worse
than one that did. Here a ResNet18 of the service's own is trained on their payloads, rounded and drawn anew as in use;
what leaves the device is the baseline's. It is the fair comparison for defences that change the service, such as
Privacy Partitioning (Chi et al., arXiv:1812.02863), which compares itself with private pixelation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from dapter.data import Split
from dapter.defences import build_defence, round_to_levels
from dapter.defences._divided import Heads, Joint, Scaled
from dapter.defences._untrained import Untrained
from dapter.errors import UsageError
from dapter.nets.classifiers import build_classifier
from dapter.service.classifier import Service
from dapter.types import Answer, Payload


@dataclass(eq=False)
class Retrained(Joint):
    """The payloads of a defence that learns nothing, and a service that learned from them.

    Attributes:
        baseline: the name of that defence.
        baseline_settings: its settings; those that are not given are the usual ones.
    """

    baseline: str = "dp_pixelation"
    baseline_settings: Mapping[str, Any] = field(default_factory=dict)

    sends: ClassVar[Literal["image", "features"]] = "image"
    learns_privacy: ClassVar[bool] = False

    def __post_init__(self) -> None:
        built = build_defence(self.baseline, self.baseline_settings)
        if not isinstance(built, Untrained):
            raise UsageError(f"{self.baseline} is itself trained. Cure: a defence that learns nothing, such as blur")
        self._built, self.baseline_settings = built, built.settings()

    @property
    def random(self) -> bool:
        """Whether the baseline is."""
        return self._built.random

    def _build(self, service: Service | None) -> Mapping[str, nn.Module]:
        body = build_classifier("resnet18", 2, self.width).features
        server = Scaled(Heads(body, 8 * self.width, self.wanted.targets))
        return {**self._built._build(service), "server": server}

    @torch.no_grad()
    def _send(self, images: Tensor) -> Tensor:
        """The payloads, as the service gets them: computed in full precision, and rounded."""
        with torch.autocast(images.device.type, enabled=False):
            return round_to_levels(self.client()(images)).clamp(0, 1)

    def figures(self, split: Split, payload: Payload, answer: Answer) -> list[dict[str, Any]]:
        """What the baseline says of its payloads."""
        return self._built.figures(split, payload, answer)
