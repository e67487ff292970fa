"""The floor of every secret: what the service's answer alone, for which the user paid, says of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor, nn

from dapter.attacks import Attack, Goal, granted
from dapter.attacks._inputs import StandardiseAnswer, answer_values
from dapter.attacks._training import ANSWER, SecretsLoss, ask_secrets, blank, train_net
from dapter.batches import Batch
from dapter.data import Split
from dapter.loop import Plan
from dapter.runs import Run
from dapter.types import Guess, Known, Observed, View

PLANS = {
    "tiny": Plan(epochs=20, batch_size=64, bfloat16=False, augment=False),
    "cpu": Plan(epochs=15, batch_size=512, bfloat16=False, augment=False),
    "paper": Plan(epochs=30, batch_size=512, bfloat16=False, augment=False),
}


class _Net(nn.Module):
    """Two hidden layers, then a head for each secret; of the images it takes no notice."""

    def __init__(self, standardise: StandardiseAnswer, hidden: int, classes: Mapping[str, int]) -> None:
        super().__init__()
        self.standardise = standardise
        self.body = nn.Sequential(
            *(nn.Linear(standardise.values, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()),
            nn.Linear(hidden, sum(classes.values())),
        )
        self.classes = dict(classes)

    def forward(self, images: Tensor, answer: Tensor) -> dict[str, Tensor]:
        """For each secret, logits (N, classes)."""
        logits = self.body(self.standardise(answer)).split(list(self.classes.values()), dim=1)
        return dict(zip(self.classes, logits, strict=True))


@dataclass(frozen=True)
class AnswerOnly(Attack):
    """A small network from the answer's logits, of all targets, to every secret.

    Attributes:
        plan: how it is trained.
        hidden: units of a hidden layer.
        learning_rate: of AdamW.
    """

    plan: Plan = PLANS["cpu"]
    hidden: int = 64
    learning_rate: float = 3e-3

    sees: ClassVar[frozenset[str]] = frozenset({"answers", "secrets"})
    goal: ClassVar[Goal] = "secrets"

    @classmethod
    def suite(cls, preset: str) -> tuple[Self, ...]:
        """One setting."""
        return (cls(PLANS[preset]),)

    def _learn(self, view: View, seed: int, run: Run) -> Callable[[Observed], Guess]:
        net = _Net(StandardiseAnswer(granted(view.train.answers)), self.hidden, view.classes)
        measure = SecretsLoss(granted(view.train.secrets), view.classes)

        def loss(batch: Batch) -> Tensor:
            return measure(net(batch.images, batch.labels[ANSWER]), batch.labels)

        splits = [_rows(each) for each in view.draws], _rows(view.val)
        train_net(net, loss, *splits, self.plan, run, seed, learning_rate=self.learning_rate)

        def guess(observed: Observed) -> Guess:
            answer = answer_values(granted(observed.answers))
            return Guess(ask_secrets(net, view.classes, blank(len(answer)), answer))

        return guess


def _rows(known: Known) -> Split:
    answer = answer_values(granted(known.answers))
    return Split(blank(len(answer)), {**granted(known.secrets), ANSWER: answer})
