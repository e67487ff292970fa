"""Training on stolen payloads: the abuse itself (DAPter, section 7.3). A model for images is made out of payloads.

Whoever holds payloads knows the secrets of a few, learns to tell those of the others (pseudo-labels; Lee, "Pseudo-
label", ICML workshop 2013), and trains a new model on all of them, which is then tried on payloads and, for what it is
worth elsewhere, on originals.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import torch

from dapter.attacks import Attack, Goal, granted
from dapter.attacks._images_alone import learn_images
from dapter.attacks.recognition import Recognition
from dapter.loop import CHECKPOINT, Plan
from dapter.runs import Run, derive_seed
from dapter.scoring import score_secrets
from dapter.types import Guess, Observed, View

PLANS = {
    "tiny": Plan(epochs=6, batch_size=64),
    "cpu": Plan(epochs=6),
    "paper": Plan(epochs=60, patience=15),
}


@dataclass(frozen=True)
class Stolen(Attack):
    """A model of images, trained on payloads whose secrets a recogniser of payloads has guessed.

    Granted: the payloads of the training images and the answers to them, and the secrets of a share of these; to choose
    by, the payloads of the validation images with their secrets. No original, so that nothing can be converted again:
    of a random defence there is one draw. Payloads are whitened, each by itself, so
    that the model fits originals too. A secret that it cannot tell on validation payloads it does not claim to tell.

    Attributes:
        share: of the training images whose secrets are known.
        family: the networks, see `nets.recognisers`.
        width: channels of their first layer.
        plan: how both are trained; the recogniser takes more epochs for its smaller share.
    """

    share: float = 0.1
    family: str = "cnn"
    width: int = 16
    plan: Plan = PLANS["cpu"]

    sees: ClassVar[frozenset[str]] = frozenset({"payloads", "answers", "secrets"})
    goal: ClassVar[Goal] = "secrets"
    trains_on_payloads: ClassVar[bool] = True

    @classmethod
    def suite(cls, preset: str) -> tuple[Self, ...]:
        """One model."""
        family, width = ("resnet18", 64) if preset == "paper" else ("cnn", 8 if preset == "tiny" else 16)
        return (cls(0.5 if preset == "tiny" else 0.1, family, width, PLANS[preset]),)

    def on_features(self) -> None:
        """A model of features is none of images."""

    def _learn(self, view: View, seed: int, run: Run) -> Callable[[Observed], Guess]:
        view = replace(view, redraws=())
        payloads = granted(view.train.payloads)
        labels = self._label(view, seed, Run(run.path / "labelling"))
        images = {"train": payloads, "val": granted(view.val.payloads)}
        torch.manual_seed(derive_seed(seed, "model"))  # the same whether the labels were just learned or resumed
        model = Recognition(self.family, "whitened", width=self.width, plan=self.plan)
        learned = learn_images(model, replace(view, train=replace(view.train, secrets=labels)), images, seed, run)
        (run.path / "labelling" / CHECKPOINT).unlink(missing_ok=True)
        blind = _cannot_tell(learned(view.val.observed()), labels, view)

        def guess(observed: Observed) -> Guess:
            scores = dict(learned(observed).scores)
            for name, frequencies in blind.items():
                scores[name] = np.tile(frequencies, (len(scores[name]), 1))
            return Guess(scores)

        return guess

    def _label(self, view: View, seed: int, run: Run) -> dict[str, np.ndarray]:
        """For each secret the labels of all training payloads, as a recogniser that knows a share of them guesses."""
        recogniser = Recognition(self.family, share=self.share, width=self.width, plan=self.plan)
        guessed = recogniser._learn(view, seed, run)(view.train.observed())
        return {name: scores.argmax(axis=1).astype(np.int64) for name, scores in guessed.scores.items()}


def _cannot_tell(guess: Guess, labels: Mapping[str, np.ndarray], view: View) -> dict[str, np.ndarray]:
    """The secrets that are told on validation images no better than by chance, with the log-frequency of each value."""
    found = {}
    for score in score_secrets(guess, granted(view.val.secrets), labels, view.classes):
        count = view.classes[score.secret]
        if score.measure == "secret_balanced_accuracy" and score.value <= 1 / count:
            seen = np.bincount(labels[score.secret], minlength=count)
            found[score.secret] = np.log((seen + 1) / (seen.sum() + count))
    return found
