"""What the attacks that train a decoder of payloads share: the decoder with what prepares its inputs, and its use."""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor, nn

from dapter.attacks import granted
from dapter.attacks._inputs import Inputs, Standardise, StandardiseAnswer, answer_values
from dapter.attacks._restoring import originals, pairs_of_payloads, restoring_loss, to_pixels
from dapter.attacks._training import ANSWER, ask, train_net
from dapter.batches import Batch
from dapter.loop import Plan
from dapter.nets.decoders import build_decoder
from dapter.runs import Run
from dapter.types import Guess, Observed, View


class Restorer(nn.Module):
    """A decoder of payloads, fitted to the payloads and answers of a view; arguments as for `build_decoder`."""

    def __init__(self, view: View, inputs: Inputs, family: str, width: int, depth: int = 2) -> None:
        super().__init__()
        payloads = granted(view.train.payloads)
        size, image_size = (images.shape[1:3] for images in (payloads, granted(view.train.originals)))
        self.standardise = Standardise(inputs, payloads)
        self.scale = StandardiseAnswer(granted(view.train.answers))
        channels, values = self.standardise.channels, self.scale.values
        self.decoder = build_decoder(family, channels, values, width, size, image_size, depth)

    def forward(self, images: Tensor, answer: Tensor) -> Tensor:
        """Restored originals, float (N, 3, H, W) in [0, 1]."""
        restored: Tensor = self.decoder(self.standardise(images), self.scale(answer))
        return restored

    def guess(self, observed: Observed) -> Guess:
        """The originals of what was observed."""
        answer = answer_values(granted(observed.answers))
        return Guess(images=to_pixels(ask(self, self, granted(observed.payloads), answer)))


def learn_to_restore(
    net: Restorer, objective: str, view: View, plan: Plan, run: Run, seed: int, learning_rate: float
) -> Callable[[Observed], Guess]:
    """Train a decoder on pairs of payload and original."""

    def loss(batch: Batch) -> Tensor:
        return restoring_loss(objective, net(batch.images, batch.labels[ANSWER]), originals(batch))

    splits = pairs_of_payloads(view)
    plan = replace(plan, augment=False)  # the loop would shift the payload and not the original
    train_net(net, loss, *splits, plan, run, seed, learning_rate=learning_rate)
    return net.guess
