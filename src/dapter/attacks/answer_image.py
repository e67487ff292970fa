"""The floor of the image: the best picture that the service's answer alone gives."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from dapter.attacks import Attack, Goal, granted
from dapter.attacks._inputs import StandardiseAnswer, answer_values
from dapter.attacks._restoring import Objective, check_objective, originals, pairs, restoring_loss, to_pixels
from dapter.attacks._training import ANSWER, ask, blank, train_net
from dapter.batches import Batch
from dapter.data import Split
from dapter.loop import Plan
from dapter.runs import Run
from dapter.types import Answer, Guess, Known, Observed, View

PLANS = {
    "tiny": Plan(epochs=3, batch_size=64, bfloat16=False, augment=False),
    "cpu": Plan(epochs=5, bfloat16=False, augment=False),
    "paper": Plan(epochs=20, bfloat16=False, augment=False),
}


@dataclass(frozen=True)
class AnswerImage(Attack):
    """The mean original of the training images with the same answer, corrected by a small network of the logits.

    Attributes:
        objective: of the network, `l2` or `ssim`; None: the mean image as it is.
        plan: how it is trained.
        hidden: units of the hidden layer.
        learning_rate: of AdamW.
    """

    objective: Objective | None = None
    plan: Plan = PLANS["cpu"]
    hidden: int = 64
    learning_rate: float = 1e-3

    sees: ClassVar[frozenset[str]] = frozenset({"answers", "originals"})
    goal: ClassVar[Goal] = "image"

    def __post_init__(self) -> None:
        if self.objective is not None:
            check_objective(self.objective)

    @classmethod
    def suite(cls, preset: str) -> tuple[Self, ...]:
        """The mean image, and both objectives: the floor of each measure is the best of them."""
        return (cls(None, PLANS[preset]), cls("l2", PLANS[preset]), cls("ssim", PLANS[preset]))

    def _learn(self, view: View, seed: int, run: Run) -> Callable[[Observed], Guess]:
        answers = granted(view.train.answers)
        net = _Net(_means(answers, granted(view.train.originals)), StandardiseAnswer(answers), self.hidden)
        objective = self.objective
        if objective is not None:

            def loss(batch: Batch) -> Tensor:
                return restoring_loss(objective, net(batch.images, batch.labels[ANSWER]), originals(batch))

            splits = [_pairs(each) for each in view.draws], _pairs(view.val)
            train_net(net, loss, *splits, self.plan, run, seed, learning_rate=self.learning_rate)

        def guess(observed: Observed) -> Guess:
            answer = answer_values(granted(observed.answers))
            return Guess(images=to_pixels(ask(net, net, blank(len(answer)), answer)))

        return guess


class _Net(nn.Module):
    """The mean image of the answered classes, and a correction that begins at nothing."""

    means: Tensor

    def __init__(self, means: list[np.ndarray], standardise: StandardiseAnswer, hidden: int) -> None:
        super().__init__()
        self.standardise = standardise
        self.sizes = [len(each) for each in means]
        self.register_buffer("means", torch.from_numpy(np.concatenate(means)))
        self.shape = self.means.shape[1:]
        last = nn.Linear(hidden, self.shape.numel())
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.body = nn.Sequential(nn.Linear(standardise.values, hidden), nn.ReLU(), last)

    def forward(self, images: Tensor, answer: Tensor) -> Tensor:
        """Images, float (N, 3, H, W), about [0, 1]; of the images given it takes no notice."""
        starts = np.cumsum([0, *self.sizes[:-1]]).tolist()
        parts = torch.split(answer, self.sizes, dim=1)
        rows = [start + part.argmax(dim=1) for start, part in zip(starts, parts, strict=True)]
        mean = torch.stack([self.means[row] for row in rows]).mean(dim=0)
        correction: Tensor = self.body(self.standardise(answer))
        return mean + correction.float().view(-1, *self.shape)


def _pairs(known: Known) -> Split:
    return pairs(blank(len(granted(known.originals))), known)


def _means(answers: Answer, images: np.ndarray) -> list[np.ndarray]:
    """For each target, in the order of `answer_values`, the mean original of each answered class.

    Each is float32 (classes, 3, H, W) in [0, 1]; a class that is never answered gets the mean of all. With several
    targets the net averages their means.
    """
    every = images.mean(axis=0, dtype=np.float64)
    found = []
    for target in sorted(answers.logits):
        answered = answers.logits[target].argmax(axis=1)
        classes = range(answers.logits[target].shape[1])
        mean = [
            images[answered == i].mean(axis=0, dtype=np.float64) if (answered == i).any() else every for i in classes
        ]
        found.append((np.stack(mean) / 255).transpose(0, 3, 1, 2).astype(np.float32))
    return found
