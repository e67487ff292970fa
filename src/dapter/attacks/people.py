"""Re-identification: whether a payload leads to other photos of the same person, whoever that is. See decision 27."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor, nn

from dapter.attacks import Attack, Goal, granted
from dapter.attacks._inputs import Inputs, Standardise, StandardiseAnswer
from dapter.attacks._people import learn_people
from dapter.loop import Plan
from dapter.nets.judges import EMBEDDING
from dapter.nets.recognisers import build_recogniser
from dapter.runs import Run
from dapter.types import Guess, Observed, View

PLANS = {
    "tiny": Plan(epochs=8, batch_size=32),
    "cpu": Plan(epochs=30, batch_size=64),
    "paper": Plan(epochs=60, patience=15),
}


@dataclass(frozen=True)
class People(Attack):
    """A net of payloads and one of originals, trained together to put images of one person near one another.

    It knows who the people of the training images are. Those under attack are strangers to it: it says how alike their
    payloads are to photos, which it can send as well. Both nets share their people (NormFace; Wang et al., MM 2017).

    Attributes:
        family: the net of payloads, see `nets.recognisers`.
        inputs: how payloads are standardised, see `attacks._inputs.Standardise`.
        width: channels of both nets' first layers.
        plan: how they are trained.
        learning_rate: of AdamW.
    """

    family: str = "cnn"
    inputs: Inputs = "residue"
    width: int = 16
    plan: Plan = PLANS["cpu"]
    learning_rate: float = 2e-3

    sees: ClassVar[frozenset[str]] = frozenset({"payloads", "answers", "originals", "people"})
    goal: ClassVar[Goal] = "people"

    @classmethod
    def suite(cls, preset: str) -> tuple[Self, ...]:
        """Two families, and the bits of the payload."""
        plan = PLANS[preset]
        if preset == "tiny":
            return tuple(cls(inputs=inputs, width=8, plan=plan) for inputs in ("residue", "bits"))
        if preset == "cpu":
            return (cls(plan=plan), cls(inputs="bits", plan=plan), cls("resnet18", "whitened", plan=plan))
        return tuple(
            cls(family, inputs, 48, plan, 1e-3)
            for family in ("cnn", "resnet18", "vit")
            for inputs in ("residue", "bits")
        )

    def on_features(self) -> Self:
        """Scaled by channel where it was on bits."""
        return replace(self, inputs="channels" if self.inputs == "bits" else self.inputs)

    def on_originals(self) -> Self:
        """The same on originals as they are."""
        return replace(self, inputs="raw")

    def _learn(self, view: View, seed: int, run: Run) -> Callable[[Observed], Guess]:
        payloads, answers = granted(view.train.payloads), granted(view.train.answers)
        standardise, scale = Standardise(self.inputs, payloads), StandardiseAnswer(answers)
        height, width = payloads.shape[1:3]
        heads = {_PERSON: EMBEDDING}
        body = build_recogniser(self.family, standardise.channels, scale.values, heads, self.width, (height, width))
        sent = _Sent(standardise, scale, body)
        return learn_people(sent, view, self.width, self.plan, self.learning_rate, seed, run)


_PERSON = "person"


class _Sent(nn.Module):
    """A recogniser of the person, with what prepares its inputs."""

    def __init__(self, standardise: nn.Module, scale: nn.Module, body: nn.Module) -> None:
        super().__init__()
        self.standardise, self.scale, self.body = standardise, scale, body

    def forward(self, images: Tensor, answer: Tensor) -> Tensor:
        """A description of the person, (N, EMBEDDING)."""
        found: dict[str, Tensor] = self.body(self.standardise(images), self.scale(answer))
        return found[_PERSON]
