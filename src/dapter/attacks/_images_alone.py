"""A recogniser of images alone: it is trained and asked without the service's answers."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from dapter.attacks import Attack, granted
from dapter.runs import Run
from dapter.types import Answer, Guess, Known, Observed, View


def learn_images(
    recogniser: Attack, view: View, images: Mapping[str, np.ndarray], seed: int, run: Run
) -> Callable[[Observed], Guess]:
    """What a recogniser learns from images and secrets, without answers; what it then says of others' payloads.

    Args:
        recogniser: an attack that learns from payloads, answers and secrets.
        view: whose secrets are learned.
        images: of `train` and `val`, in the places of the payloads, uint8 (N, H, W, 3).
    """
    train, val = (_without_answers(known, images[name]) for name, known in (("train", view.train), ("val", view.val)))
    learned = recogniser._learn(replace(view, train=train, redraws=(), val=val), seed, run)

    def guess(observed: Observed) -> Guess:
        payloads = granted(observed.payloads)
        return learned(Observed(payloads, _no_answers(len(payloads))))

    return guess


def _without_answers(known: Known, images: np.ndarray) -> Known:
    return replace(known, payloads=images, answers=_no_answers(len(images)))


def _no_answers(n: int) -> Answer:
    """Answers of a service with one class, which say nothing."""
    return Answer({"none": np.zeros((n, 1), np.float32)})
