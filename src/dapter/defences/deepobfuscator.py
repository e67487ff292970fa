"""DeepObfuscator: features from which adversaries can neither restore the image nor read the secrets.

Li, Guo, Yang, Salim, Chen: "DeepObfuscator: Obfuscating Intermediate Representations with Privacy-Preserving
Adversarial Learning on Smartphones", IoTDI 2021. The obfuscator (the client part) is the first blocks of a VGG16, the
classifier the rest; the adversary reconstructor wants a large MS-SSIM between its image and the original, the adversary
classifiers read the secrets. They are trained in turn. The obfuscator works against both, and towards features whose
restored image looks like Gaussian noise. Decided here, where the paper and its published code
(charleslipku/DeepObfuscator) say nothing or could not be followed:

- The code gives each of five aims a batch of its own; here every step serves all: the adversaries' aims first, then the
  classifier's and the obfuscator's. In the code the obfuscator learns three times for the answer where it learns once
  against each adversary, with weights of 10 that fall to 1 in the second half: here 3.3, and they fall likewise.
- The code begins with networks that were trained to answer (10 epochs) and to restore the image from what these send
  (20), before 20 epochs of the game. Here that is the first third of the training, for all of them at once.
- MS-SSIM needs 176 pixels for its five scales; smaller images get as many as fit. Each scale is moved to (x + 1) / 2,
  so that its root always has a gradient; the code falls back on the squared error where there is none.
- The noise is drawn anew in each step; the code has one picture of it.
- The classifiers end in one linear layer, for images of any size; adversary classifiers share all other layers.
- The reconstructor resizes and convolves; in the code it convolves transposed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from dapter.batches import Batch
from dapter.defences._adversarial import Adversarial
from dapter.defences._divided import Heads, Scaled
from dapter.defences._restorers import Duo, Found, Hides, Restorer, check_hides, secret_loss, to_hide
from dapter.errors import UsageError
from dapter.metrics import MS_SSIM_WEIGHTS
from dapter.nets.classifiers import build_classifier
from dapter.service.classifier import Service

SMALLEST = (11, 22, 44, 99, 176)
"""The side in pixels from which on MS-SSIM has one scale, two, ..., five."""

NOISE = (0.5, 0.114)
"""Mean and deviation of the noise: the code's, which stretches 178 x 218 x 3 normal values from 0 to 1."""


def cut_vgg(width: int, blocks: int, labels: Mapping[str, int]) -> tuple[nn.Module, Heads]:
    """A VGG16 with batch normalisation (Simonyan & Zisserman, ICLR 2015) in two parts.

    Args:
        width: channels of its first block.
        blocks: of its five blocks, each ending in a pooling, how many are in the client part.
        labels: what the service part answers, each with the number of its values.
    """
    features = build_classifier("vgg16", 2, width).features
    assert isinstance(features, nn.Sequential)
    layers = list(features)
    ends = [place + 1 for place, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    client, rest = (nn.Sequential(*part) for part in (layers[: ends[blocks - 1]], layers[ends[blocks - 1] :]))
    return Scaled(client), Heads(rest, 8 * width, labels)


def similarity(images: Tensor, others: Tensor) -> Tensor:
    """MS-SSIM (Wang et al., 2003), moved to (x + 1) / 2 for each scale: a scalar, 1 for equal images.

    Args:
        images, others: float (N, 3, H, W) in [0, 1], at least 11 pixels a side.
    """
    side = min(images.shape[2:])
    weights = MS_SSIM_WEIGHTS[: sum(side >= smallest for smallest in SMALLEST)]
    found: Tensor = multiscale_structural_similarity_index_measure(
        images, others, data_range=1.0, betas=tuple(each / sum(weights) for each in weights), normalize="simple"
    )
    return found


@dataclass(eq=False)
class DeepObfuscator(Adversarial):
    """A VGG16 cut in two, whose features are obfuscated.

    Attributes:
        width: channels of its first block.
        blocks: of its five blocks, how many are in the client part; 2 in the code.
        hides: the task's `secrets`, the `image`, or `both`.
        secret_weight: of the adversary classifiers' loss, in the first half of the game.
        image_weight: of the reconstructor's.
        pretrain: the share of the training before the game: the two parts learn to answer, the adversaries to read.
    """

    blocks: int = 2
    hides: Hides = "both"
    secret_weight: float = 3.3
    image_weight: float = 3.3
    pretrain: float = 0.33

    def __post_init__(self) -> None:
        check_hides(self.hides)
        if not 0 < self.pretrain < 1:
            raise UsageError(f"pretrain is {self.pretrain}. Cure: a share of the training, above 0 and below 1")
        if not 1 <= self.blocks <= 4:
            raise UsageError(f"the cut is after {self.blocks} blocks of VGG16. Cure: 1 to 4")

    @property
    def phases(self) -> tuple[float, ...]:
        """The second is the game."""
        return (self.pretrain,)

    def _build(self, service: Service | None) -> Mapping[str, nn.Module]:
        client, server = cut_vgg(self.width, self.blocks, self.wanted.targets)
        return {"client": client, "server": server, "adversary": self._adversary()}

    def _adversary(self) -> nn.Module:
        secrets, image = to_hide(self.hides, self.wanted)
        if image and min(self.wanted.image_size) < SMALLEST[0]:
            raise UsageError(f"MS-SSIM needs {SMALLEST[0]} pixels a side. Cure: larger images, or hides='secrets'")
        channels = self.width * 2 ** min(self.blocks - 1, 3)
        return Duo(
            cut_vgg(self.width, self.blocks, secrets)[1] if secrets else None,
            Restorer(channels, self.width, self.wanted.image_size) if image else None,
        )

    def _mistaken(self, found: Found, batch: Batch) -> Tensor:
        guesses, restored = found
        loss = secret_loss(guesses, batch)
        return loss if restored is None else loss + 1 - similarity(restored, batch.images)

    def _privacy(self, found: Found, batch: Batch) -> Tensor:
        guesses, restored = found
        loss = -self.secret_weight * secret_loss(guesses, batch)
        if restored is not None:
            mean, deviation = NOISE
            noise = (mean + deviation * torch.randn_like(batch.images)).clamp(0, 1)
            loss = loss + self.image_weight * (similarity(restored, batch.images) - similarity(restored, noise))
        return self._share(batch.progress) * loss

    def _share(self, progress: float) -> float:
        """What counts of the weights: nothing before the game, all in its first half, then less, a tenth at its end."""
        if progress < self.pretrain:
            return 0.0
        left = (1 - progress) / (1 - self.pretrain)
        return min(1.0, max(2 * left, 0.1))
