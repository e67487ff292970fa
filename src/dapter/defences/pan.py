"""PAN, the privacy adversarial network: features that neither a reader of secrets nor a restorer of images can use.

Liu, Du, Shrivastava, Zhong: "Privacy Adversarial Network: Representation Learning for Mobile Data Privacy", IMWUT
2019. Encoder, utility discriminator and privacy adversaries are trained in turn; the encoder keeps the first one's
loss small and the adversaries' losses large. Ours: the networks, one step of the adversaries for each of the others,
the squared error as a share of the images' variance as the restorer's loss, and the weights: with a larger `alpha` the
reader is soon led to sure errors, from which a new reader learns the secret.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from dapter.batches import Batch
from dapter.defences._adversarial import Adversarial
from dapter.defences._divided import channels_after, cross_entropy
from dapter.defences._restorers import Duo, Found, Restorer, image_loss


@dataclass(eq=False)
class Pan(Adversarial):
    """A ResNet18 cut in two, trained against a reader and a restorer at once.

    Attributes:
        alpha: weight of the reader's cross-entropy.
        beta: weight of the restorer's squared error, a share of the images' variance.
    """

    alpha: float = 0.5
    beta: float = 1.0

    def _adversary(self) -> nn.Module:
        channels = channels_after(self.width, self.blocks)
        return Duo(self.reader(), Restorer(channels, self.width, self.wanted.image_size))

    def _mistaken(self, found: Found, batch: Batch) -> Tensor:
        read, restored = _failures(found, batch)
        return read + restored

    def _privacy(self, found: Found, batch: Batch) -> Tensor:
        read, restored = _failures(found, batch)
        return -self.alpha * read - self.beta * restored


def _failures(found: Found, batch: Batch) -> tuple[Tensor, Tensor]:
    """How far the adversaries are from the secrets (cross-entropy) and from the image (a share of its variance)."""
    guesses, restored = found
    assert restored is not None
    return cross_entropy(guesses, batch.labels), image_loss(restored, batch.images)
