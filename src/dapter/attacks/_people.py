"""What attacks that ask who is shown share: nets that put what was sent near the originals of the same person."""

from collections.abc import Callable

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from dapter.attacks import granted
from dapter.attacks._inputs import answer_values
from dapter.attacks._restoring import ORIGINAL, originals
from dapter.attacks._training import ANSWER, ask, blank, train_net
from dapter.batches import Batch, augment
from dapter.data import IDENTITY, UNKNOWN, Split
from dapter.errors import UsageError
from dapter.loop import Plan
from dapter.nets.judges import SHARPNESS, Embedder
from dapter.runs import Run, derive_seed
from dapter.types import Guess, Observed, View

HELD_OUT = 0.1
"""Share of the training images by which the epoch is chosen: people in `val` are strangers to the net."""


def numbered(labels: np.ndarray) -> tuple[int, np.ndarray]:
    """How many people the labels int64 (N,) name, and for each image the number among them, or UNKNOWN."""
    people = np.unique(labels[labels != UNKNOWN])
    numbers = np.where(labels == UNKNOWN, UNKNOWN, np.searchsorted(people, labels))
    return len(people), numbers.astype(np.int64)


def hold_out(split: Split, seed: int) -> tuple[Split, Split]:
    """The images of known people, to learn from and to choose the epoch by."""
    rows = np.random.default_rng(derive_seed(seed, "held out")).permutation(
        np.flatnonzero(split.labels[IDENTITY] != UNKNOWN)
    )
    held = max(1, round(HELD_OUT * len(rows)))
    train, val = (
        Split(split.images[part], {name: values[part] for name, values in split.labels.items()})
        for part in (rows[held:], rows[:held])
    )
    return train, val


class Eyes(nn.Module):
    """Two nets with one space of people: of what was sent, and of originals.

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

    def loss(self, batch: Batch, mirror: bool) -> Tensor:
        """Cross-entropy of the person, by what was sent and by the original."""
        truth, shown = batch.labels[IDENTITY], originals(batch)
        seen = self(batch.images, batch.labels[ANSWER])
        by_payload = SHARPNESS * seen @ F.normalize(self.known.people, dim=1).T
        by_original = self.known(augment(shown, mirror) if self.training else shown)
        return F.cross_entropy(by_payload, truth) + F.cross_entropy(by_original.float(), truth)


def learn_people(
    sent: nn.Module, view: View, width: int, plan: Plan, learning_rate: float, seed: int, run: Run
) -> Callable[[Observed], Guess]:
    """Train nets of the training images; gives a function that says whom others show.

    Args:
        sent: the net of payloads, as of `Eyes`; where payloads are not seen, it gets empty images.
        width: channels of the first layer of the net of originals.

    Raises:
        UsageError: there are fewer than two people.
    """
    height, wide = granted(view.train.originals).shape[1:3]
    count, numbers = numbered(granted(view.train.people))
    if count < 2:
        raise UsageError("nobody can be told from another. Cure: training images of two people or more")
    eyes = Eyes(sent, Embedder(count, width, (height, wide)))
    labels = {
        IDENTITY: numbers,
        ANSWER: answer_values(granted(view.train.answers)),
        ORIGINAL: granted(view.train.originals),
    }
    train, val = hold_out(Split(_images(view.train), labels), seed)

    def loss(batch: Batch) -> Tensor:
        return eyes.loss(batch, view.mirror)

    mirror = view.mirror and not view.val.is_features  # mirrored features are none of the mirrored image
    train_net(eyes, loss, train, val, plan, run, seed, learning_rate=learning_rate, mirror=mirror)

    def describe(images: np.ndarray) -> np.ndarray:
        return ask(eyes, lambda batch, _: eyes.known.embed(batch), images, _nothing(len(images))).numpy()

    def guess(observed: Observed) -> Guess:
        answer = answer_values(granted(observed.answers))
        return Guess(people=ask(eyes, eyes, _images(observed), answer).numpy(), describe=describe)

    return guess


def _images(observed: Observed) -> np.ndarray:
    """The payloads, or empty images where they are not seen."""
    if observed.payloads is not None:
        return observed.payloads
    return blank(len(answer_values(granted(observed.answers))))


def _nothing(n: int) -> np.ndarray:
    """Answers that are not looked at."""
    return np.zeros((n, 1), np.float32)
