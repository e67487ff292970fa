"""Privacy Partitioning's attackers: decoders of three kinds, which know less of images than a U-Net does.

Chi et al., "Privacy Partitioning: protecting user data during the deep learning inference phase", arXiv:1812.02863,
2018. The paper attacks MNIST with eight decoders: deconvolutional, fully connected and sparse fully connected ones. Its
list of layers could not be had when this was written, and it decodes the features of a split network, where we decode
whatever was sent. The eight here are **ours**: of its three kinds, unlike in depth and width.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args

from dapter.attacks import Attack, Goal
from dapter.attacks._decoding import Restorer, learn_to_restore
from dapter.errors import UsageError
from dapter.loop import Plan
from dapter.runs import Run
from dapter.types import Guess, Observed, View

Kind = Literal["deconvolution", "dense", "sparse"]

ATTACKERS: tuple[Mapping[str, Any], ...] = (
    {"family": "dense", "depth": 1, "width": 4},
    {"family": "dense", "depth": 1, "width": 16},
    {"family": "dense", "depth": 3, "width": 16},
    {"family": "deconvolution", "depth": 1, "width": 8},
    {"family": "sparse", "depth": 1, "width": 16},
    {"family": "deconvolution", "depth": 2, "width": 8},
    {"family": "sparse", "depth": 3, "width": 16},
    {"family": "deconvolution", "depth": 2, "width": 16},
)
"""The eight, cheapest first."""

PLANS = {
    "tiny": Plan(epochs=6, batch_size=32, augment=False),
    "cpu": Plan(epochs=2, augment=False),
    "paper": Plan(epochs=60, patience=15, augment=False),
}


@dataclass(frozen=True)
class Partition(Attack):
    """One of the decoders, trained for the mean squared error; it sees the service's answer too.

    Attributes:
        family: `deconvolution`, `dense` or `sparse`, see `nets.decoders`.
        depth: hidden layers of the fully connected ones, halvings of the deconvolution.
        width: channels of the first layer; a fully connected layer has 32 times as many units.
        plan: how it is trained.
        learning_rate: of AdamW.
    """

    family: Kind = "deconvolution"
    depth: int = 2
    width: int = 16
    plan: Plan = PLANS["cpu"]
    learning_rate: float = 2e-3

    sees: ClassVar[frozenset[str]] = frozenset({"payloads", "answers", "originals"})
    goal: ClassVar[Goal] = "image"

    def __post_init__(self) -> None:
        if self.family not in get_args(Kind):
            raise UsageError(f"family {self.family!r} is none of {', '.join(get_args(Kind))}")
        if min(self.depth, self.width) < 1:
            raise UsageError(f"depth {self.depth}, width {self.width}. Cure: at least 1")

    @classmethod
    def suite(cls, preset: str) -> tuple[Self, ...]:
        """All eight."""
        return tuple(cls(**each, plan=PLANS[preset]) for each in ATTACKERS)

    def _learn(self, view: View, seed: int, run: Run) -> Callable[[Observed], Guess]:
        net = Restorer(view, "residue", self.family, self.width, self.depth)
        return learn_to_restore(net, "l2", view, self.plan, run, seed, self.learning_rate)
