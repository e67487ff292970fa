"""Budget: the payload is a few stamps of a small alphabet, and every bit beyond the service's answer has a price.

Ours. The bound and its proof are in dapter.bits; the rate is that of variational compression (Ballé et al., "End-to-end
optimized image compression", ICLR 2017) given the answer; its price follows the budget as a Lagrange multiplier does in
GECO (Rezende & Viola, "Taming VAEs", 2018). The choice of one stamp is entropy-constrained vector quantisation (Chou,
Lookabaugh & Gray, IEEE TASSP 1989), from coarse to fine (Rose, "Deterministic annealing", Proc. IEEE 1998).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dapter import bits
from dapter.batches import Batch
from dapter.data import Split
from dapter.defences import Defence
from dapter.defences._answers import accuracy, every, joint, labels_of, one_hot, sizes_of, those_given, together
from dapter.defences._bounds import all_figures
from dapter.defences._levels import Client, Levels, check_budget
from dapter.defences._price import BETA_RANGE, FIRST_BETA, MOST_BETA, follow
from dapter.defences._seen import Seen, answer_to, drawn, exactly
from dapter.defences._stamps import search_stamps, teach_stamps
from dapter.errors import UsageError
from dapter.nets.painters import Painter
from dapter.nets.priors import Prior
from dapter.service.classifier import Service
from dapter.stamps import MOST_CELLS, Stamps, flip
from dapter.types import Answer, Payload

SHARE = 4
"""One in so many images of a batch is also painted as in use, for the price and the prior; for a range all are, because
each level has only some of them."""

TAKEN = "taken_"
"""Begins the names of what each level takes of its budget."""

LEAST_FLIP = 2.0**-40
"""Of `flip`: 64 bits are drawn for each decision, so that a probability is right to about one part in 16 million."""

MOST_ANSWERS = 256
"""The prior has a row for each joint answer that counts, and of several cells finding where it starts takes a search
a row."""


@dataclass(eq=False)
class Budget(Defence):
    """The converter with a hard budget.

    In use no payload carries more than grid^2 log2(alphabet) bits, whatever training does. Training aims at
    `budget_bits` on average beyond the service's answer to the payload (of several targets: the joint answer, or that
    of those `given`), counted under a published prior over each cell's stamps for each answer; `figures` counts what it
    reached. The prior and the price of a bit, beta, follow payloads painted as in use, with the service's answers to
    them: what the bound counts.

    *One cell*, as by default: the payload is one of `alphabet` pictures. They are first taught, through the frozen
    service, to make it give each answer, from as sure as can be to hardly. The painter learns to answer as a classifier
    does (T, its cross-entropy). Of the stamps to which the service gives that answer it shows the one that says best
    how sure it is: least cross-entropy with its own answer plus beta times the bits that the prior charges. The stamps
    move to lower L_acc, the cross-entropy of the service's answer. As the service is asked about each stamp, not about
    each image, all averages over the choice are exact. Beta starts high, with one stamp an answer, and falls as far as
    the budget allows.

    *Several cells*: L = L_acc + beta R + max(beta, taught) T. With p the painter's distribution and q the prior of the
    wanted answer, in bits over all cells: R = cross-entropy(p, q) makes the code short. T = cross-entropy(q, p), its
    mirror, teaches the painter at once which answer to write; without it nothing is learned before the price bites, and
    the payload ends up constant. Its gradient reaches the painter past the draw of the stamps and the service: of it
    most of the answer is learned. The prior starts from stamps that make the service give each answer, found by a
    search, so that training goes from payloads that say the answer only to those that say as much more as the budget
    allows.

    Either way half of what the service sees in training is as JPEG and WebP show it, so that the answer survives the
    wire.

    With `flip`, a payload is randomised response (Warner, 1965) to whatever the painter chose, drawn from the operating
    system's randomness: many payloads of one person together tell no more than dapter.bits says. The rate is then that
    of the painter's choice, before the flips.

    Attributes:
        budget_bits: the dial: how many bits beyond the answer a payload should carry on average at most; beta follows.
        budget_bits_range: (low, high) trains one converter for all budgets between, each image with one of its own,
            evenly on a logarithmic scale; `budget_bits` then chooses at use time. The hard budget is the same for all.
        grid: cells on a side.
        stamps: patches that are `learned`, or `flat` colours.
        alphabet: how many stamps; of one cell at least as many as joint answers; of flat ones the cube of a number of
            levels, 27: three a channel.
        patch: pixels on a side of a learned stamp.
        width: channels of the painter's first layer.
        labels: train on the labels of the `data`, or towards the `service`'s own answers to the originals, with
            their confidence (Hinton et al., 2015); the latter needs no labels.
        given: targets beyond whose answer bits are counted; None: all that the service answers. Of a hierarchy the
            coarse target: a small budget then leaves room for the coarse answer only, a larger one for the fine one.
        flip: probability with which a cell shows, instead of what was chosen, a stamp drawn evenly from the alphabet.
        taught: of several cells, the least weight of a bit of T, where beta is below it. For a range of budgets and
            with `given` the weight is beta alone: there larger budgets are for more than the answer that T teaches.
        learning_rate: of Adam, for the painter.
    """

    budget_bits: float = 1.0
    budget_bits_range: tuple[float, float] | None = None
    grid: int = 1
    stamps: Literal["flat", "learned"] = "learned"
    alphabet: int = 16
    patch: int = 4
    width: int = 16
    labels: Literal["data", "service"] = "data"
    given: tuple[str, ...] | None = None
    flip: float = 0.0
    taught: float = 0.3
    learning_rate: float = 2e-3

    needs_service_change: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.stamps not in ("flat", "learned"):
            raise UsageError(f"stamps is {self.stamps!r}. Cure: 'flat' or 'learned'")
        if self.labels not in ("data", "service"):
            raise UsageError(f"labels is {self.labels!r}. Cure: 'data' or 'service'")
        if min(self.grid, self.patch, self.width) < 1 or self.grid > MOST_CELLS or self.alphabet < 2:
            cure = "Cure: the defaults"
            raise UsageError(f"grid is from 1 to {MOST_CELLS}, patch and width at least 1, alphabet at least 2. {cure}")
        if self.stamps == "flat" and round(self.alphabet ** (1 / 3)) ** 3 != self.alphabet:
            raise UsageError(f"{self.alphabet} flat stamps are no cube. Cure: 8, 27, 64 or 125: levels of each channel")
        if self.taught < 0:
            raise UsageError(f"taught is {self.taught}. Cure: 0 or more; 0.3 is usual")
        if self.flip and not LEAST_FLIP <= self.flip < 1:
            raise UsageError(f"flip is {self.flip}. Cure: a probability below 1, from {LEAST_FLIP}; 0 never flips")
        self.given = None if self.given is None else tuple(self.given)
        if self.budget_bits_range is not None:
            self.budget_bits_range = (self.budget_bits_range[0], self.budget_bits_range[1])
        check_budget(self.budget_bits, self.budget_bits_range, bits.budget_bits(self.grid**2, self.alphabet))

    @property
    def random(self) -> bool:
        """Whether stamps are flipped."""
        return self.flip > 0

    def adjustable(self) -> frozenset[str]:
        """The budget, if the converter was trained for a range of them."""
        return frozenset() if self.budget_bits_range is None else frozenset({"budget_bits"})

    def _build(self, service: Service | None) -> Mapping[str, nn.Module]:
        answers, belongs = self._rows(service)
        side = self.grid * (1 if self.stamps == "flat" else self.patch)
        if self.task is not None and side > min(self.task.image_size):
            cure = "Cure: larger images, or a smaller patch or grid"
            raise UsageError(f"images of {min(self.task.image_size)} pixels cannot show {side}. {cure}")
        patch, conditioned = None if self.stamps == "flat" else self.patch, self.budget_bits_range is not None
        levels = self._levels.count
        return {
            "painter": Painter(self.grid, self.alphabet, patch, self.width, conditioned, self.flip, belongs, levels),
            "prior": Prior(answers, self.grid**2, self.alphabet, MOST_BETA if self.grid == 1 else FIRST_BETA, levels),
        }

    def _rows(self, service: Service | None) -> tuple[int | None, Tensor | None]:
        """How many answers count, and of one cell to which each joint answer belongs; None without a service."""
        if service is None:
            return None, None
        sizes = sizes_of(service)
        given = those_given(sizes, self.given)
        answers, every_answer = math.prod(given.values()), math.prod(sizes.values())
        if answers > MOST_ANSWERS:
            raise UsageError(f"{answers} joint answers are above {MOST_ANSWERS}. Cure: a converter for fewer targets")
        if self.grid > 1:
            return answers, None
        if every_answer > self.alphabet:
            cure = f"Cure: an alphabet of {every_answer} or more, or a grid of several cells"
            raise UsageError(f"one of {self.alphabet} stamps cannot say {every_answer} joint answers. {cure}")
        return answers, one_hot(joint(every(sizes), given), answers)

    def _optimizers(self, nets: Mapping[str, nn.Module]) -> Mapping[str, torch.optim.Optimizer]:
        return {"painter": torch.optim.Adam(nets["painter"].parameters(), lr=self.learning_rate)}

    def losses(self, batch: Batch, service: Service) -> dict[str, Tensor]:
        """`accuracy` (cross-entropy, as DAPter's L_acc), `rate` in bits, in training also `taught`, and `loss`.

        In training `accuracy` is that of drawn stamps (of one cell its mean over the draw), `rate` is R, `taught` T. In
        use `rate` is the code length given the answer. Of a range of budgets there is also, for each level, what the
        payloads take of theirs: `taken_0` and so on. `loss` is accuracy, plus 1 for every time the budget is exceeded.
        """
        return self._named(self._see(batch, service))

    def _named(self, seen: Seen) -> dict[str, Tensor]:
        taken = self._levels.overrun(seen.rate, seen.budgets)
        found = {"loss": seen.accuracy + F.relu(taken - 1).mean(), "accuracy": seen.accuracy, "rate": seen.rate.mean()}
        if self._levels.count > 1:
            found |= {f"{TAKEN}{level}": share for level, share in enumerate(taken)}
        return found if seen.taught is None else {**found, "taught": seen.taught.mean()}

    def validation_loss(self, means: Mapping[str, float]) -> float:
        """Compares epochs at equal budget: a budget is exceeded by the mean of all payloads, not by that of a batch."""
        taken = [share for name, share in means.items() if name.startswith(TAKEN)]
        excess = [max(0.0, share - 1) for share in taken or [means["rate"] / self.budget_bits]]
        return means["accuracy"] + sum(excess) / len(excess)

    def _see(self, batch: Batch, service: Service) -> Seen:
        prior, sizes, images = self._prior, sizes_of(service), batch.images
        given = those_given(sizes, self.given)
        if not prior.started:
            first = search_stamps if self.grid > 1 else teach_stamps
            prior.start(first(self._painter, service, given, images[:1]))
            self._set_prices()
        wanted, budgets = self._wanted(batch, service), self._budgets(images)
        mix = self._levels.mix(budgets)
        with self.learner.autocast():
            scores = self.learner.net("painter")(images, self._condition(budgets))
            if not self.learner.nets.training:
                stamps = scores.stamps.argmax(dim=2)
                answer = answer_to(self._painter.flipped(stamps), self._painter, service, images)
                rate = prior(one_hot(stamps, self.alphabet), joint(answer, given), mix)
                return Seen(accuracy(answer, wanted), rate, None, scores.stamps, budgets)
            row = joint(wanted, given)
            if self.grid == 1:
                found = exactly(self._painter, service, scores, images, together(wanted, sizes))
            else:
                found = drawn(self._painter, service, scores.stamps, images, wanted, prior.expected(row, mix))
        return Seen(found[0], prior(scores.stamps.softmax(dim=2), row, mix), found[1], scores.stamps, budgets)

    def update(self, batch: Batch, service: Service) -> dict[str, float]:
        """One step of Adam; then the prior and the price follow what the payloads would be in use."""
        seen = self._see(batch, service)
        assert seen.taught is not None
        losses, beta = self._named(seen), self._prior.beta(self._levels.mix(seen.budgets))
        if self.grid == 1:
            priced = seen.taught
        else:
            least = self.taught if self.given is None and self.budget_bits_range is None else 0.0
            priced = beta * seen.rate + beta.clamp(min=least) * seen.taught
        self.learner.descend(seen.accuracy + priced.mean(), "painter")
        n = len(batch.images)
        some = slice(max(1, n // SHARE) if self.budget_bits_range is None else n)
        part = Batch(batch.images[some], {name: values[some] for name, values in batch.labels.items()})
        used = self._follow(part, seen.logits[some].argmax(dim=2), seen.budgets[some], service)
        found = {name: float(value.detach()) for name, value in losses.items()}
        return {**found, "beta": float(beta.mean()), "used": used}

    @torch.no_grad()
    def _follow(self, batch: Batch, stamps: Tensor, budgets: Tensor, service: Service) -> float:
        """Move the prior and the price after payloads painted as in use; gives their bits beyond the answer.

        The prior moves only as far as the answer is learned (cross-entropy below that of a guess): while the painter
        cannot tell the answers apart, following it would make their rows equal, and equal they would stay.
        """
        with self.learner.autocast():
            answer = answer_to(self._painter.flipped(stamps), self._painter, service, batch.images)
        chance = sum(math.log(size) for size in sizes_of(service).values())
        learned = 1 - float(accuracy(answer, self._wanted(batch, service))) / chance
        sizes = those_given(sizes_of(service), self.given)
        given, choice = joint(answer, sizes), one_hot(stamps, self.alphabet)
        most = BETA_RANGE[1] if self.grid > 1 and self.given is None else MOST_BETA
        rate = follow(self._prior, self._levels, choice, given, budgets, max(0.0, learned), most)
        self._set_prices()
        return float(rate.mean())

    @torch.no_grad()
    def _set_prices(self) -> None:
        """Tell a painter of one cell what each stamp costs now."""
        if self.grid == 1:
            nearest = self._painter.nearest
            nearest.price.copy_(self._prior.price(nearest.row()))

    def _budgets(self, images: Tensor) -> Tensor:
        """The budget of each image (N,): the setting; of a range, drawn, and in validation evenly spread."""
        n, device = len(images), images.device
        if self.budget_bits_range is None:
            return torch.full((n,), self.budget_bits, device=device)
        training = self.learner.nets.training
        return self._levels.at(torch.rand(n, device=device) if training else torch.linspace(0, 1, n, device=device))

    def _condition(self, budgets: Tensor) -> Tensor | None:
        return None if self.budget_bits_range is None else self._levels.place(budgets)

    def _wanted(self, batch: Batch, service: Service) -> Mapping[str, Tensor]:
        """What the service should answer: labels (N,), or its own distributions for the originals (N, classes)."""
        if self.labels == "data":
            return labels_of(batch, service)
        with torch.no_grad(), self.learner.autocast():
            return {name: logits.softmax(dim=1) for name, logits in service.logits(batch.images).items()}

    def client(self) -> nn.Module:
        """The painter, without what only training needs and before any flip; of a range, at the chosen budget."""
        return Client(self._painter, None if self.budget_bits_range is None else self._levels, self.budget_bits)

    def protect(self, images: np.ndarray, seed: int | None = None) -> Payload:
        """As for every defence; then the stamps are flipped, if they are."""
        payload = super().protect(images, seed)
        if not self.flip:
            return payload
        stamps, (height, width) = self.published(), images.shape[1:3]
        shown = flip(stamps.read(payload.pixels), len(stamps.alphabet), self.flip, seed)
        return Payload(stamps.paint(shown, (height, width)))

    def figures(self, split: Split, payload: Payload, answer: Answer) -> list[dict[str, Any]]:
        """Bits of the payloads, and what they bound for every secret of the split and for a restored image.

        Raises:
            CheckFailed: a payload is not made of the alphabet's stamps.
        """
        stamps = self.indices(payload)
        labels = {name: torch.from_numpy(values) for name, values in answer.labels().items()}
        given = joint(
            labels, those_given({name: values.shape[1] for name, values in answer.logits.items()}, self.given)
        ).numpy()
        prior = self._prior.probabilities(self._levels.mix(torch.tensor([self.budget_bits]))[0])
        published, which = self._stamps().distinct()
        prior = prior @ np.eye(len(published.alphabet))[which]  # of those that look the same the sum
        secrets = {name: values for name, values in split.labels.items() if name not in labels}
        return all_figures(stamps, given, prior, split.images, secrets, self.flip, self.budget_bits)

    def indices(self, payload: Payload) -> np.ndarray:
        """The stamps of each payload, int64 (N, grid^2): all that it says, and all that need be sent.

        Raises:
            CheckFailed: a payload is not, to the last bit, made of the alphabet's stamps.
        """
        return self.published().read(payload.pixels)

    def published(self) -> Stamps:
        """The alphabet, without those that look the same, and the grid: all that a payload can be made of."""
        return self._stamps().distinct()[0]

    def _stamps(self) -> Stamps:
        alphabet = (self._painter.alphabet().detach() * 255).round().to(torch.uint8)
        return Stamps(alphabet.permute(0, 2, 3, 1).cpu().numpy(), self.grid)

    @cached_property
    def _levels(self) -> Levels:
        return Levels(*(self.budget_bits_range or (self.budget_bits, self.budget_bits)))

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
