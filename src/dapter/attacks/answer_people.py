"""The floor of re-identification: how far the service's answer alone leads to other photos of the same person."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor, nn

from dapter.attacks import Attack, Goal, granted
from dapter.attacks._inputs import StandardiseAnswer
from dapter.attacks._people import learn_people
from dapter.loop import Plan
from dapter.nets.judges import EMBEDDING
from dapter.runs import Run
from dapter.types import Guess, Observed, View

PLANS = {
    "tiny": Plan(epochs=8, batch_size=32, augment=False),
    "cpu": Plan(epochs=30, batch_size=64, augment=False),
    "paper": Plan(epochs=60, patience=15, augment=False),
}


@dataclass(frozen=True)
class AnswerPeople(Attack):
    """A small network of the answer's logits, and a net of originals, trained together as those of `people` are.

    Attributes:
        width: channels of the first layer of the net of originals.
        plan: how they are trained.
        hidden: units of a hidden layer.
        learning_rate: of AdamW.
    """

    width: int = 16
    plan: Plan = PLANS["cpu"]
    hidden: int = 64
    learning_rate: float = 2e-3

    sees: ClassVar[frozenset[str]] = frozenset({"answers", "originals", "people"})
    goal: ClassVar[Goal] = "people"

    @classmethod
    def suite(cls, preset: str) -> tuple[Self, ...]:
        """One setting."""
        return (cls({"tiny": 8, "cpu": 16, "paper": 48}[preset], PLANS[preset]),)

    def _learn(self, view: View, seed: int, run: Run) -> Callable[[Observed], Guess]:
        net = _Net(StandardiseAnswer(granted(view.train.answers)), self.hidden)
        return learn_people(net, view, self.width, self.plan, self.learning_rate, seed, run)


class _Net(nn.Module):
    """Two hidden layers; of the images it takes no notice."""

    def __init__(self, standardise: StandardiseAnswer, hidden: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(standardise, nn.Linear(standardise.values, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()),
            nn.Linear(hidden, EMBEDDING),
        )

    def forward(self, images: Tensor, answer: Tensor) -> Tensor:
        """A description of the person, (N, EMBEDDING)."""
        found: Tensor = self.body(answer)
        return found
