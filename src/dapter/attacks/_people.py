"""What attacks that ask who is shown share: nets that put what was sent near photos of the same person."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from dapter.attacks import granted
from dapter.attacks._inputs import answer_values
from dapter.attacks._restoring import originals, pairs
from dapter.attacks._training import ANSWER, ask, blank, train_net
from dapter.batches import Batch, augment
from dapter.data import IDENTITY, UNKNOWN, Split
from dapter.errors import UsageError
from dapter.loop import Plan
from dapter.nets.judges import SHARPNESS, Embedder
from dapter.runs import Run, derive_seed
from dapter.types import Guess, Known, Observed, View

HELD_OUT = 0.1
"""Share of the training images by which the epoch is chosen: people in `val` are strangers to the net."""

STEPS = 40
"""An epoch has at least so many steps, with smaller batches where there are few images."""


def numbered(labels: np.ndarray) -> tuple[int, np.ndarray]:
    """How many people the labels int64 (N,) name, and for each image the number among them, or UNKNOWN."""
    people = np.unique(labels[labels != UNKNOWN])
    numbers = np.where(labels == UNKNOWN, UNKNOWN, np.searchsorted(people, labels))
    return len(people), numbers.astype(np.int64)


def held_out(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the images of known people, drawn: those to learn from, and those to choose the epoch by."""
    known = np.flatnonzero(labels != UNKNOWN)
    rows = np.random.default_rng(derive_seed(seed, "held out")).permutation(known)
    held = max(1, round(HELD_OUT * len(rows)))
    return rows[held:], rows[:held]


class Eyes(nn.Module):
    """What was sent, and photos, in one space of people.

    A photo is known by more than its pixels: whoever has it can send it as well, and ask the service. So it is
    described by its original and by what would be sent of it.

    Args:
        sent: from payloads (N, C, H, W) and answers (N, values) to (N, `nets.judges.EMBEDDING`).
        known: of originals; its people are those of both.
    """

    def __init__(self, sent: nn.Module, known: Embedder) -> None:
        super().__init__()
        self.sent, self.known = sent, known

    def forward(self, images: Tensor, answer: Tensor) -> Tensor:
        """Who payloads show: (N, EMBEDDING), of length 1."""
        return F.normalize(self.sent(images, answer).float(), dim=1)

    def photos(self, shown: Tensor, seen: Tensor) -> Tensor:
        """Who photos show: (N, EMBEDDING), of length 1.

        Args:
            shown: originals, float (N, 3, H, W) in [0, 1].
            seen: what `forward` gives of their payloads.
        """
        return F.normalize(self.known.embed(shown) + seen, dim=1)

    def loss(self, batch: Batch, mirror: bool) -> Tensor:
        """Cross-entropy of the person, by what was sent and by the photo; unknown people are left out."""
        truth, shown = batch.labels[IDENTITY], originals(batch)
        seen = self(batch.images, batch.labels[ANSWER])
        photo = self.photos(augment(shown, mirror) if self.training else shown, seen)
        people = SHARPNESS * F.normalize(self.known.people, dim=1)
        losses = [
            F.cross_entropy(each @ people.T, truth, ignore_index=UNKNOWN, reduction="sum") for each in (seen, photo)
        ]
        return (losses[0] + losses[1]) / (truth != UNKNOWN).sum().clamp(min=1)


def learn_people(
    sent: nn.Module, view: View, width: int, plan: Plan, learning_rate: float, seed: int, run: Run
) -> Callable[[Observed], Guess]:
    """Train nets of the training images; gives a function that says whom others show.

    Args:
        sent: the net of payloads, as of `Eyes`; where payloads are not seen, it gets empty images.
        width: channels of the first layer of the net of originals.

    Raises:
        UsageError: it is not known who is shown, or there are fewer than two people.
    """
    if view.train.people is None:
        raise UsageError("nobody says who is shown. Cure: identity among the secrets of the data")
    count, numbers = numbered(view.train.people)
    if count < 2:
        raise UsageError("nobody can be told from another. Cure: training images of two people or more")
    height, wide = granted(view.train.originals).shape[1:3]
    eyes = Eyes(sent, Embedder(count, width, (height, wide)))
    _, held = held_out(numbers, seed)
    every = [pairs(_images(each), each) for each in view.draws]
    kept = {name: values[held] for name, values in every[0].labels.items()}
    val = Split(every[0].images[held], {**kept, IDENTITY: numbers[held]})
    numbers[held] = UNKNOWN  # so that no other image need be copied
    train = [Split(each.images, {**each.labels, IDENTITY: numbers}) for each in every]

    def loss(batch: Batch) -> Tensor:
        return eyes.loss(batch, view.mirror)

    plan = replace(plan, batch_size=min(plan.batch_size, max(16, len(numbers) // STEPS)))
    train_net(eyes, loss, train, val, plan, run, seed, learning_rate=learning_rate, mirror=view.mirror)

    def describe(known: Known) -> np.ndarray:
        seen = guess(known).people
        return ask(eyes, eyes.photos, granted(known.originals), granted(seen)).numpy()

    def guess(observed: Observed) -> Guess:
        answer = answer_values(granted(observed.answers))
        return Guess(people=ask(eyes, eyes, _images(observed), answer).numpy(), describe=describe)

    return guess


def _images(observed: Observed) -> np.ndarray:
    """The payloads, or empty images where they are not seen."""
    if observed.payloads is not None:
        return observed.payloads
    return blank(len(answer_values(granted(observed.answers))))
