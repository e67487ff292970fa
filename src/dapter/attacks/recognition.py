"""Automatic recognition: a network learns the secrets from labelled payloads (DAPter, sections 5.1 and 7.3.1)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np
from safetensors.torch import load, save
from torch import Tensor, nn

from dapter.attacks import Attack, Goal, granted
from dapter.attacks._inputs import Inputs, Standardise, StandardiseAnswer, answer_values
from dapter.attacks._training import ANSWER, SecretsLoss, ask_secrets, digest, train_net
from dapter.batches import Batch
from dapter.data import Split
from dapter.errors import UsageError
from dapter.loop import Plan
from dapter.nets.recognisers import Recogniser, build_recogniser
from dapter.runs import Run, derive_seed, write_atomic
from dapter.types import Guess, Known, Observed, View

LEAST = 64
"""Labelled images that every share holds at least."""

ON_VECTORS = 4
"""Times as many epochs on payloads without places, of which a pass costs next to nothing."""

WEIGHTS = "weights.safetensors"

_TINY = Plan(epochs=6, batch_size=64)
_CPU = Plan(epochs=8)
_SHORT = Plan(epochs=5)
_PAPER = Plan(epochs=60, patience=15)


@dataclass(frozen=True)
class Recognition(Attack):
    """A recogniser of payloads, with a head for each secret; it sees the service's answer too.

    Attributes:
        family: the network, see `nets.recognisers`.
        inputs: how payloads are standardised, see `attacks._inputs.Standardise`.
        share: of the training images whose secrets the attacker knows.
        start: from `scratch`, or fine-tuned from a recogniser of the same family trained on `originals`.
        width: channels of the network's first layer.
        plan: how it is trained; smaller shares take more epochs, and so do vectors.
        learning_rate: of AdamW.
    """

    family: str = "resnet18"
    inputs: Inputs = "residue"
    share: float = 1.0
    start: Literal["scratch", "originals"] = "scratch"
    width: int = 16
    plan: Plan = _CPU
    learning_rate: float = 2e-3

    sees: ClassVar[frozenset[str]] = frozenset({"payloads", "answers", "originals", "secrets"})
    goal: ClassVar[Goal] = "secrets"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UsageError(f"share is {self.share}. Cure: the share of images with known secrets, in (0, 1]")
        if self.start not in ("scratch", "originals"):
            raise UsageError(f"start is {self.start!r}. Cure: 'scratch' or 'originals'")

    @classmethod
    def suite(cls, preset: str) -> tuple[Self, ...]:
        """Several families, standardisations, shares of labels and starts."""
        return tuple(cls(**settings) for settings in _SUITES[preset])

    def on_features(self) -> Self:
        """From scratch, scaled by channel where it was on bits."""
        return replace(self, inputs="channels" if self.inputs == "bits" else self.inputs, start="scratch")

    def in_place(self) -> Self:
        """On payloads as they are, neither shifted nor mirrored: that weakens who reads noise, or aligned faces."""
        return replace(self, plan=replace(self.plan, augment=False))

    def on_originals(self) -> Self:
        """The same family and plan with all labels, from scratch, on standardised originals."""
        inputs: Inputs = "raw" if self.family != "mlp" else "residue"
        return replace(self, inputs=inputs, share=1.0, start="scratch")

    def _learn(self, view: View, seed: int, run: Run) -> Callable[[Observed], Guess]:
        payloads, answers = granted(view.train.payloads), granted(view.train.answers)
        standardise, scale = Standardise(self.inputs, payloads), StandardiseAnswer(answers)
        recogniser = self._recogniser(view, standardise.channels, scale.values)
        if self.start == "originals":
            self._pretrain(recogniser, view, scale.values, seed, run)
        net = _Attacker(standardise, scale, recogniser)
        *train, val = (_few(_rows(known), self.share, seed) for known in (*view.draws, view.val))
        self._train(net, train, val, view, seed, run)

        def guess(observed: Observed) -> Guess:
            answer = answer_values(granted(observed.answers))
            return Guess(ask_secrets(net, view.classes, granted(observed.payloads), answer))

        return guess

    def _recogniser(self, view: View, channels: int, answer: int) -> Recogniser:
        height, width = granted(view.train.payloads).shape[1:3]
        return build_recogniser(self.family, channels, answer, view.classes, self.width, (height, width))

    def _train(self, net: nn.Module, train: Sequence[Split], val: Split, view: View, seed: int, run: Run) -> None:
        first = train[0]
        measure = SecretsLoss({name: first.labels[name] for name in view.classes}, view.classes)

        def loss(batch: Batch) -> Tensor:
            return measure(net(batch.images, batch.labels[ANSWER]), batch.labels)

        longer = ON_VECTORS if first.images.shape[1:3] == (1, 1) else 1
        plan = replace(
            self.plan,
            epochs=round(longer * self.plan.epochs / self.share**0.5),
            batch_size=min(self.plan.batch_size, max(16, len(first) // 10)),
        )
        train_net(net, loss, train, val, plan, run, seed, learning_rate=self.learning_rate, mirror=view.mirror)

    def _pretrain(self, recogniser: Recogniser, view: View, answer: int, seed: int, run: Run) -> None:
        """Give the recogniser the weights of one trained on originals, without answers; all audits share it."""
        originals, secrets = granted(view.train.originals), granted(view.train.secrets)
        chosen = replace(self, share=1.0).settings()
        labels = [secrets[name] for name in view.classes]
        manifest = {
            "kind": "recogniser",
            "settings": chosen,
            "answer": answer,
            "seed": seed,
            "classes": dict(view.classes),
            "images": digest(originals, *labels),
        }
        part = Run.open(run.path.parent, f"recogniser-{self.family}", manifest)
        with part.lock():
            if not part.done:
                net = _Attacker(Standardise(self.inputs, originals), None, recogniser)
                train, val = (_blind(known, answer) for known in (view.train, view.val))
                replace(self, share=1.0)._train(net, [train], val, view, seed, part)
                state = {name: value.cpu().contiguous() for name, value in recogniser.state_dict().items()}
                write_atomic(part.path / WEIGHTS, save(state))
                part.finish()
            recogniser.load_state_dict(load((part.path / WEIGHTS).read_bytes()))


class _Attacker(nn.Module):
    """A recogniser with what prepares its inputs."""

    def __init__(self, standardise: Standardise, scale: StandardiseAnswer | None, recogniser: Recogniser) -> None:
        super().__init__()
        self.standardise = standardise
        self.scale = scale or nn.Identity()
        self.recogniser = recogniser

    def forward(self, images: Tensor, answer: Tensor) -> dict[str, Tensor]:
        """For each secret, logits (N, classes)."""
        found: dict[str, Tensor] = self.recogniser(self.standardise(images), self.scale(answer))
        return found


def _rows(known: Known) -> Split:
    """Payloads with their secrets and answers."""
    return Split(granted(known.payloads), {**granted(known.secrets), ANSWER: answer_values(granted(known.answers))})


def _blind(known: Known, answer: int) -> Split:
    """Originals with their secrets, and as many values of no answer."""
    originals = granted(known.originals)
    return Split(originals, {**granted(known.secrets), ANSWER: np.zeros((len(originals), answer), np.float32)})


def _few(split: Split, share: float, seed: int) -> Split:
    """A share of the images, drawn at random."""
    if share == 1:
        return split
    count = min(len(split), max(LEAST, round(share * len(split))))
    rows = np.sort(np.random.default_rng(derive_seed(seed, "labelled")).permutation(len(split))[:count])
    return Split(split.images[rows], {name: values[rows] for name, values in split.labels.items()})


_SUITES: Mapping[str, tuple[dict, ...]] = {
    "tiny": (
        {"family": "mlp", "inputs": "bits", "width": 8, "plan": replace(_TINY, augment=False), "learning_rate": 1e-3},
        {"family": "cnn", "inputs": "residue", "width": 8, "plan": _TINY},
        {"family": "cnn", "inputs": "residue", "width": 8, "plan": replace(_TINY, augment=False)},
        {"family": "cnn", "inputs": "bits", "width": 8, "plan": _TINY},
    ),
    "cpu": (
        {"family": "cnn", "inputs": "residue", "plan": _CPU, "share": 0.01},
        {"family": "cnn", "inputs": "residue", "plan": _CPU, "share": 0.1},
        {"family": "mlp", "inputs": "bits", "plan": replace(_SHORT, augment=False), "learning_rate": 1e-3},
        {"family": "cnn", "inputs": "residue", "plan": _CPU},
        {"family": "cnn", "inputs": "residue", "plan": replace(_CPU, augment=False)},
        {"family": "cnn", "inputs": "bits", "plan": _CPU},
        {"family": "convnext", "inputs": "residue", "plan": replace(_CPU, epochs=6)},
        {"family": "resnet18", "inputs": "residue", "plan": _SHORT},
        {"family": "resnet18", "inputs": "whitened", "plan": _SHORT, "start": "originals"},
    ),
    "paper": (
        *(
            {"family": "resnet18", "inputs": "residue", "plan": _PAPER, "width": 64, "share": share}
            for share in (0.01, 0.1)
        ),
        *(
            {"family": family, "inputs": inputs, "plan": _PAPER, "width": 48, "learning_rate": 1e-3}
            for family in ("cnn", "resnet18", "convnext", "vit")
            for inputs in ("raw", "residue", "whitened", "bits")
        ),
        *(
            {"family": family, "inputs": inputs, "plan": replace(_PAPER, augment=False), "learning_rate": 1e-3}
            for family, inputs in (("mlp", "bits"), ("cnn", "residue"), ("resnet18", "residue"))
        ),
        *(
            {"family": family, "inputs": "residue", "plan": _PAPER, "width": 48, "start": "originals"}
            for family in ("resnet18", "convnext")
        ),
    ),
}
"""What an audit runs at each scale."""
