"""Budget: the payload is a few stamps of a small alphabet, and every bit beyond the service's answer has a price.

Ours. The bound and its proof are in dapter.bits; the rate is that of variational compression (Ballé et al., "End-to-end
optimized image compression", ICLR 2017) given the answer; its price follows the budget as a Lagrange multiplier does in
GECO (Rezende & Viola, "Taming VAEs", 2018).
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch import distributed as dist

from dapter import bits
from dapter.batches import Batch, to_float
from dapter.data import Split
from dapter.defences import Defence, round_to_levels
from dapter.defences._bounds import bit_figures, image_figures, secret_figures
from dapter.defences._stamps import find_stamps
from dapter.defences._wire import halve_chroma
from dapter.errors import CheckFailed, UsageError
from dapter.nets.painters import Painter
from dapter.nets.priors import Prior
from dapter.service.classifier import Service
from dapter.stamps import Stamps
from dapter.types import Answer, Payload

FIRST_BETA = 0.02
BETA_RANGE = (0.003, 0.1)
"""The price of a bit, at first and at its ends: never so low that the painter's choice stays vague."""

BETA_RATE = 0.03
"""The most that the logarithm of the price moves in a step."""

PRIOR_RATE = 0.02
"""How far the prior moves in a step towards what is painted."""

SHARE = 4
"""One in so many images of a batch is also painted as in use, for the price and the prior."""

MOST_ANSWERS = 256
"""The prior has a row for each joint answer of all targets, and finding where it starts takes a search a row."""


@dataclass(eq=False)
class Budget(Defence):
    """The converter with a hard budget: L = L_acc + beta (R + T).

    In use no payload carries more than grid^2 log2(alphabet) bits, whatever training does. Training aims at
    `budget_bits` on average beyond the service's answer to the payload (of several targets: the joint answer), counted
    under a published prior over each cell's stamps for each answer; `figures` counts what it reached.

    With p the painter's distribution and q the prior of the wanted answer, in bits over all cells:
    R = cross-entropy(p, q) makes the code short. T = cross-entropy(q, p), its mirror, teaches the painter at once
    which answer to write; without it nothing is learned before the price bites, and the payload ends up constant.
    The prior starts from stamps that make the service give each answer, found by a search, so that training goes from
    payloads that say the answer only to those that say as much more as the budget allows. Both the prior and the
    price beta follow payloads painted as in use, with the service's answers to them: what the bound counts. Half of
    the pictures are trained on as JPEG and WebP would show them, so that the answer survives the wire.

    Attributes:
        budget_bits: the dial: how many bits beyond the answer a payload should carry on average at most; beta follows.
        grid: cells on a side.
        stamps: `flat` colours, or patches that are `learned`.
        alphabet: how many stamps; of flat ones the cube of a number of levels, 27: three a channel.
        patch: pixels on a side of a learned stamp.
        width: channels of the painter's first layer.
        labels: train on the labels of the `data`, or towards the `service`'s own answers to the originals, with
            their confidence (Hinton et al., 2015); the latter needs no labels.
        learning_rate: of Adam, for the painter.
    """

    budget_bits: float = 4.0
    grid: int = 4
    stamps: Literal["flat", "learned"] = "flat"
    alphabet: int = 27
    patch: int = 4
    width: int = 16
    labels: Literal["data", "service"] = "data"
    learning_rate: float = 2e-3

    needs_service_change: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.stamps not in ("flat", "learned"):
            raise UsageError(f"stamps is {self.stamps!r}. Cure: 'flat' or 'learned'")
        if self.labels not in ("data", "service"):
            raise UsageError(f"labels is {self.labels!r}. Cure: 'data' or 'service'")
        if min(self.grid, self.patch, self.width) < 1 or self.alphabet < 2:
            raise UsageError("grid, patch and width must be at least 1, alphabet at least 2. Cure: the defaults")
        if self.stamps == "flat" and round(self.alphabet ** (1 / 3)) ** 3 != self.alphabet:
            raise UsageError(f"{self.alphabet} flat stamps are no cube. Cure: 8, 27, 64 or 125: levels of each channel")
        most = bits.budget_bits(self.grid**2, self.alphabet)
        if not 0 < self.budget_bits <= most:
            raise UsageError(f"budget_bits is {self.budget_bits}. Cure: above 0, at most {most:.1f}: the hard budget")

    def _build(self, service: Service | None) -> Mapping[str, nn.Module]:
        answers = None if service is None else math.prod(len(names) for names in service.classes.values())
        if answers is not None and answers > MOST_ANSWERS:
            raise UsageError(f"{answers} joint answers are above {MOST_ANSWERS}. Cure: a converter for fewer targets")
        patch = None if self.stamps == "flat" else self.patch
        return {
            "painter": Painter(self.grid, self.alphabet, patch, self.width),
            "prior": Prior(answers, self.grid**2, self.alphabet, FIRST_BETA),
        }

    def _optimizers(self, nets: Mapping[str, nn.Module]) -> Mapping[str, torch.optim.Optimizer]:
        return {"painter": torch.optim.Adam(nets["painter"].parameters(), lr=self.learning_rate)}

    def losses(self, batch: Batch, service: Service) -> dict[str, Tensor]:
        """`accuracy` (cross-entropy, as DAPter's L_acc), `rate` and `taught` in bits, and `loss`.

        In training the stamps are drawn, and `rate` is R, `taught` T. In use `rate` is the code length given the
        answer; `loss` then compares epochs at equal budget: accuracy, plus 1 for every time it exceeds the budget.
        """
        return self._losses(batch, service)[0]

    def _losses(self, batch: Batch, service: Service) -> tuple[dict[str, Tensor], Tensor]:
        """The losses, and the painter's logits (N, cells, K)."""
        if not self._prior.started:
            self._prior.start(self._first_stamps(batch.images, service))
        wanted = self._wanted(batch, service)
        with self.learner.autocast():
            pixels, logits = self.learner.net("painter")(batch.images)
            if self.learner.nets.training:
                odd = torch.arange(len(pixels), device=pixels.device)[:, None, None, None] % 2 == 1
                pixels = torch.where(odd, halve_chroma(pixels), pixels)
            answer = service.logits(round_to_levels(pixels))
        accuracy = _accuracy(answer, wanted)
        row = _joint(wanted, _sizes(service))
        taught = -(self._prior.table[row] * logits.log_softmax(dim=2)).sum(dim=(1, 2)).mean() / math.log(2)
        if self.learner.nets.training:
            rate = self._prior(logits.softmax(dim=2), row).mean()
        else:
            rate = self._prior(_most_likely(logits), _joint(answer, _sizes(service))).mean()
        excess = F.relu(rate / self.budget_bits - 1)
        return {"loss": accuracy + excess, "accuracy": accuracy, "rate": rate, "taught": taught}, logits

    def update(self, batch: Batch, service: Service) -> dict[str, float]:
        """One step of Adam; then the prior and the price follow what the payloads would be in use."""
        losses, logits = self._losses(batch, service)
        beta = self._prior.log_beta.exp()
        self.learner.descend(losses["accuracy"] + beta * (losses["rate"] + losses["taught"]), "painter")
        some = slice(max(1, len(batch.images) // SHARE))
        part = Batch(batch.images[some], {name: values[some] for name, values in batch.labels.items()})
        used = self._follow(part, _most_likely(logits[some]), service)
        return {**{name: float(value.detach()) for name, value in losses.items()}, "beta": float(beta), "used": used}

    @torch.no_grad()
    def _follow(self, batch: Batch, choice: Tensor, service: Service) -> float:
        """Move the prior and the price after payloads painted as in use; gives their bits beyond the answer.

        The prior moves only as far as the answer is learned (cross-entropy below that of a guess): while the painter
        cannot tell the answers apart, following it would make their rows equal, and equal they would stay.
        """
        prior = self._prior
        with self.learner.autocast():
            answer = service.logits(round_to_levels(self._painter.paint(choice.argmax(dim=2), batch.images)))
        given = _joint(answer, _sizes(service))
        rate = prior(choice, given).mean()
        chance = sum(math.log(size) for size in _sizes(service).values())
        learned = 1 - float(_accuracy(answer, self._wanted(batch, service))) / chance
        prior.learn(choice, given, PRIOR_RATE * max(0.0, learned))
        low, high = (math.log(limit) for limit in BETA_RANGE)
        prior.log_beta.add_(BETA_RATE * (rate / self.budget_bits).log().clamp(-1, 1)).clamp_(low, high)
        if dist.is_initialized():
            for value in (prior.table, prior.log_beta):
                dist.broadcast(value, src=0)
        return float(rate)

    def _wanted(self, batch: Batch, service: Service) -> Mapping[str, Tensor]:
        """What the service should answer: labels (N,), or its own distributions for the originals (N, classes)."""
        if self.labels == "service":
            with torch.no_grad(), self.learner.autocast():
                return {name: logits.softmax(dim=1) for name, logits in service.logits(batch.images).items()}
        missing = sorted(set(service.targets) - set(batch.labels))
        if missing:
            raise UsageError(f"no labels of {', '.join(missing)}. Cure: labels='service' trains without any")
        return {name: batch.labels[name] for name in service.targets}

    def _first_stamps(self, images: Tensor, service: Service) -> Tensor:
        """For each joint answer stamps that make the service give it, int64 (answers, cells)."""
        sizes = _sizes(service)

        def search(answer: tuple[int, ...]) -> Tensor:
            def cost(stamps: Tensor) -> Tensor:
                clean = self._painter.paint(stamps, images[:1])
                logits = service.logits(round_to_levels(torch.cat([clean, halve_chroma(clean)])))
                each = [-logits[name].log_softmax(dim=1)[:, label] for name, label in zip(sizes, answer, strict=True)]
                return torch.stack(each).sum(dim=0).view(2, -1).amax(dim=0).cpu()

            return find_stamps(cost, self.grid**2, self.alphabet)

        found = [search(answer) for answer in itertools.product(*(range(size) for size in sizes.values()))]
        return torch.stack(found).to(images.device)

    def client(self) -> nn.Module:
        """The painter, without what only training needs."""
        return _Paint(self._painter)

    def figures(self, split: Split, payload: Payload, answer: Answer) -> list[dict[str, Any]]:
        """Bits of the payloads, and what they bound for every secret of the split and for a restored image.

        Raises:
            CheckFailed: a payload is not made of the alphabet's stamps.
        """
        stamps = self.indices(payload)
        labels = {name: torch.from_numpy(values) for name, values in answer.labels().items()}
        given = _joint(labels, {name: values.shape[1] for name, values in answer.logits.items()}).numpy()
        prior = self._prior.probabilities()
        found = [*bit_figures(stamps, given, prior), *image_figures(stamps, given, split.images)]
        for name, values in split.labels.items():
            if name not in labels:
                found += [{**entry, "secret": name} for entry in secret_figures(stamps, given, prior, values)]
        return found

    def indices(self, payload: Payload) -> np.ndarray:
        """The stamps of each payload, int64 (N, grid^2): all that it says, and all that need be sent.

        Raises:
            CheckFailed: a payload is not, to the last bit, made of the alphabet's stamps.
        """
        pictures = to_float(payload.pixels, self.learner.device)
        stamps = self._painter.read(pictures)
        with torch.no_grad():
            exact = round_to_levels(self._painter.paint(stamps, pictures))
        if not torch.equal((exact * 255).round(), (pictures * 255).round()):
            raise CheckFailed("a payload shows more than stamps of the alphabet. Cure: send only what `protect` gives")
        found: np.ndarray = stamps.cpu().numpy()
        return found

    def published(self) -> Stamps:
        """The alphabet and the grid, for whoever sends or paints bare indices."""
        alphabet = (self._painter.alphabet().detach() * 255).round().to(torch.uint8)
        return Stamps(alphabet.permute(0, 2, 3, 1).cpu().numpy(), self.grid)

    @property
    def _painter(self) -> Painter:
        painter = self.learner.nets["painter"]
        assert isinstance(painter, Painter)
        return painter

    @property
    def _prior(self) -> Prior:
        prior = self.learner.nets["prior"]
        assert isinstance(prior, Prior)
        return prior


class _Paint(nn.Module):
    """A painter's picture only."""

    def __init__(self, painter: Painter) -> None:
        super().__init__()
        self.painter = painter

    def forward(self, images: Tensor) -> Tensor:
        pixels: Tensor = self.painter(images).pixels
        return pixels


def _sizes(service: Service) -> dict[str, int]:
    """How many classes each target has."""
    return {name: len(classes) for name, classes in service.classes.items()}


def _most_likely(logits: Tensor) -> Tensor:
    """The choice that is painted in use: one-hot float32 (N, cells, K)."""
    return F.one_hot(logits.argmax(dim=2), logits.shape[2]).float()


def _accuracy(answer: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
    """Cross-entropy, batch mean, summed over the targets."""
    return torch.stack([F.cross_entropy(answer[name], values) for name, values in wanted.items()]).sum()


def _joint(found: Mapping[str, Tensor], sizes: Mapping[str, int]) -> Tensor:
    """One number for the classes of all targets, int64 (N,); of logits or distributions the most likely class."""
    joint = torch.zeros(1, dtype=torch.int64)
    for name, size in sizes.items():
        values = found[name]
        joint = joint.to(values.device) * size + (values.argmax(dim=1) if values.ndim == 2 else values)
    return joint
