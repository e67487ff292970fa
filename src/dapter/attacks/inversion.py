"""Likelihood maximisation: an image is sought whose conversion is the payload (white box).

Singh et al., "DISCO: Dynamic and Invariant Sensitive Channel Obfuscation for Deep Neural Networks", CVPR 2021, section
3.1. Of all images that were tried, the one that explains the payload best is taken; nothing else is known of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
import torch
from torch import Tensor

from dapter.attacks import Attack, Goal, granted
from dapter.attacks._deep_prior import DeepPriors
from dapter.attacks._gradients import Client, has_gradient, imitate, mean_image, with_gradient_of
from dapter.attacks._inputs import Standardise
from dapter.attacks._restoring import to_pixels
from dapter.attacks._search import Pixels, Search
from dapter.batches import to_float
from dapter.errors import UsageError
from dapter.loop import CURVE, Plan
from dapter.processes import pick_device
from dapter.runs import Run, derive_seed
from dapter.types import Guess, Observed, View

Prior = Literal["tv", "deep"]

CHUNK_PIXELS = 100_000
"""About how many pixels are sought at a time; bounds memory."""

NOISE = 0.1
"""Deviation of what is added to the mean image where a later start begins."""

QUIET = 0.05
"""Of the largest deviation of features, the least that a value counts by."""

_CPU = Plan(epochs=1, batch_size=64, augment=False)


@dataclass(frozen=True)
class Inversion(Attack):
    """Gradient descent on an input of the known client part, until its conversion is the payload.

    Of a client part that leaves channels out (one with a `whole`) the others are explained, by all that it would send.
    Granted: the client part, and originals with their payloads, from which come the mean image where the search begins,
    the payloads' scale and, for a client part without a gradient, a network that imitates it.

    Attributes:
        prior: what is sought: the pixels (`tv`), or for each image the weights of a network that paints it (`deep`, see
            `_deep_prior`); either with little total variation.
        weight: of the total variation; little suits a client part that can be inverted, much one that loses a lot.
        learning_rate: of Adam.
        images: how many images of a split are attacked, its first ones.
        steps: of Adam, for each start.
        starts: the first from the mean image, others from it with noise.
        width: channels of the networks.
        plan: how the imitation is trained.
    """

    prior: Prior = "tv"
    weight: float = 0.01
    learning_rate: float = 0.03
    images: int = 32
    steps: int = 300
    starts: int = 1
    width: int = 8
    plan: Plan = _CPU

    sees: ClassVar[frozenset[str]] = frozenset({"payloads", "originals", "client"})
    goal: ClassVar[Goal] = "image"

    def __post_init__(self) -> None:
        if self.prior not in get_args(Prior):
            raise UsageError(f"prior {self.prior!r} is none of {', '.join(get_args(Prior))}")
        if min(self.images, self.steps, self.starts) < 1:
            raise UsageError("images, steps and starts must be at least 1. Cure: the defaults")

    @classmethod
    def suite(cls, preset: str) -> tuple[Self, ...]:
        """The pixels, with little and with much weight on total variation; then the deep prior."""
        pixels = cls(**_SUITES[preset])
        deep = replace(pixels, prior="deep", weight=1.0, learning_rate=0.01)
        return pixels, replace(pixels, weight=1.0), deep

    def most(self) -> int:
        """The most images of a split that it attacks."""
        return self.images

    def _learn(self, view: View, seed: int, run: Run) -> Callable[[Observed], Guess]:
        originals, payloads = granted(view.train.originals), granted(view.train.payloads)
        device, client = pick_device(), granted(view.client)
        scale = Standardise("residue", payloads).std.to(device)
        if view.val.is_features:  # else channels that are nearly always 0 would count for all
            scale = scale.clamp(min=QUIET * float(scale.max()))
        mean = mean_image(originals)
        masked = isinstance(getattr(client, "whole", None), torch.nn.Module)
        if masked:  # which channels were left out shows; a gradient through that choice would lead nowhere
            client = client.whole  # type: ignore[attr-defined]
        if not has_gradient(client, originals):
            part = Run(run.path / "imitation")
            client = with_gradient_of(client, imitate(client, view, scale, self.width, self.plan, part, seed))

        def guess(observed: Observed) -> Guess:
            seen = granted(observed.payloads)
            torch.manual_seed(derive_seed(seed, "search"))
            chunk = max(1, CHUNK_PIXELS // mean[0].numel())
            parts = [to_float(seen[start : start + chunk], device) for start in range(0, len(seen), chunk)]
            found = [self._search(part, client, scale, mean, observed.is_features, masked) for part in parts]
            curve = np.mean([search.curve for search in found], axis=0).tolist()
            run.write_lines(CURVE, [{"step": step, "val_loss": loss} for step, loss in enumerate(curve)])
            return Guess(images=np.concatenate([to_pixels(search.best.cpu()) for search in found]))

        return guess

    def _search(
        self, payloads: Tensor, client: Client, scale: Tensor, mean: Tensor, features: bool, masked: bool
    ) -> Search:
        """Every start, from the mean image (3, H, W)."""
        first = mean.expand(len(payloads), -1, -1, -1)
        search = Search(payloads, client, scale, first, features, masked)
        for start in range(self.starts):
            begin = first + NOISE * torch.randn_like(first) if start else first
            sought = DeepPriors(begin, self.width) if self.prior == "deep" else Pixels(begin)
            search.descend(sought.to(payloads.device), self.steps, self.learning_rate, self.weight)
        return search


_SUITES: Mapping[str, dict[str, Any]] = {
    "tiny": {"images": 8, "steps": 100, "plan": Plan(epochs=4, batch_size=32, augment=False)},
    "cpu": {},
    "paper": {"images": 256, "steps": 2000, "starts": 3, "width": 32, "plan": Plan(epochs=10, augment=False)},
}
"""What an audit runs at each scale."""
