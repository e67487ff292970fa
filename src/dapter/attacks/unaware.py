"""The unaware attacker: a recogniser of originals, applied to payloads as if they were images like any others.

It stands in many papers for all attackers. It is here only to show, beside those that learn from payloads, how little
its failure says; every figure of it is flagged. Where it succeeds all the same, that is a leak like any other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

from dapter.attacks import Attack, Goal, granted
from dapter.attacks._images_alone import learn_images
from dapter.attacks._training import digest
from dapter.attacks.recognition import Recognition
from dapter.loop import CURVE, Plan
from dapter.runs import Run
from dapter.types import Guess, Observed, View

PLANS = {
    "tiny": Plan(epochs=6, batch_size=64),
    "cpu": Plan(epochs=8),
    "paper": Plan(epochs=60, patience=15),
}


@dataclass(frozen=True)
class Unaware(Attack):
    """A recogniser trained on originals, without the service's answers; all audits of the same data share it.

    Granted: originals with their secrets; of the images under attack the payloads.

    Attributes:
        family: the network, see `nets.recognisers`.
        width: channels of its first layer.
        plan: how it is trained.
    """

    family: str = "cnn"
    width: int = 16
    plan: Plan = PLANS["cpu"]

    sees: ClassVar[frozenset[str]] = frozenset({"payloads", "originals", "secrets"})
    goal: ClassVar[Goal] = "secrets"
    flags: ClassVar[tuple[str, ...]] = ("unaware",)

    @classmethod
    def suite(cls, preset: str) -> tuple[Self, ...]:
        """One network; at the paper's scale its own family."""
        family, width = ("resnet18", 64) if preset == "paper" else ("cnn", 8 if preset == "tiny" else 16)
        return (cls(family, width, PLANS[preset]),)

    def on_features(self) -> None:
        """A recogniser of originals takes no features."""

    def _learn(self, view: View, seed: int, run: Run) -> Callable[[Observed], Guess]:
        images = {"train": granted(view.train.originals), "val": granted(view.val.originals)}
        labels = [granted(view.train.secrets)[name] for name in view.classes]
        manifest = {
            "kind": "unaware",
            "settings": self.settings(),
            "classes": dict(view.classes),
            "images": digest(images["train"], *labels),
            "seed": seed,
        }
        part = Run.open(run.path.parent, f"unaware-{self.family}", manifest)
        recogniser = Recognition(self.family, "raw", width=self.width, plan=self.plan)
        with part.lock():
            guess = learn_images(recogniser, view, images, seed, part)  # from its checkpoint, if it has been trained
            part.finish()
        run.write_lines(CURVE, part.read_lines(CURVE))
        return guess
