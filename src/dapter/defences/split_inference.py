"""Split inference without a defence: the first layers run on the device, their features are sent as they are.

The baseline of every defence that cuts a network in two ("no defence" in DISCO's tables; Kang et al., "Neurosurgeon",
ASPLOS 2017, is where the cut comes from).
"""

from dataclasses import dataclass
from typing import ClassVar

from dapter.defences._divided import Cut


@dataclass(eq=False)
class SplitInference(Cut):
    """A ResNet18 cut in two, trained for the answer alone."""

    learns_privacy: ClassVar[bool] = False
