"""No defence: the original leaves the device. The audit's ceiling; an attack that cannot break it is no evidence."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from dapter.defences._untrained import Untrained
from dapter.service.classifier import Service


@dataclass(eq=False)
class Identity(Untrained):
    """Send the image as it is."""

    def _build(self, service: Service | None) -> Mapping[str, nn.Module]:
        return {"client": nn.Identity()}
