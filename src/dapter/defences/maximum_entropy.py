"""Maximum entropy: an adversary who reads the features should find every value of a secret equally likely.

Roy & Boddeti: "Mitigating Information Leakage in Image Representations: A Maximum Entropy Approach", CVPR 2019. Not a
zero-sum game: the adversary learns by cross-entropy, while the client part learns to make the entropy of the
adversary's guess large, whatever the true value. As in the authors' code for CIFAR-10 (human-analysis/MaxEnt-ARL) a
whole ResNet18 runs on the device and sends a vector, of 128 values at width 16; predictor and adversary have two dense
layers. Ours: several secrets (mean), the vector (their last dense layer is left out), the adversary's rate of learning.
"""

import math
from dataclasses import dataclass
from statistics import mean

from torch import Tensor, nn

from dapter.batches import Batch
from dapter.defences._adversarial import Adversarial, entropy
from dapter.defences._divided import cross_entropy

Logits = dict[str, Tensor]


@dataclass(eq=False)
class MaximumEntropy(Adversarial):
    """A ResNet18 cut in two, whose features keep an adversary in doubt.

    Attributes:
        blocks: of its eight residual blocks, how many are in the client part; 8: all, and the mean over all places.
        alpha: weight of the doubt that is missing, in nats: log(values) less the entropy of the guess.
    """

    blocks: int = 8
    alpha: float = 1.0

    def _adversary(self) -> nn.Module:
        return self.reader()

    def _mistaken(self, found: Logits, batch: Batch) -> Tensor:
        return cross_entropy(found, batch.labels)

    def _privacy(self, found: Logits, batch: Batch) -> Tensor:
        most = mean(math.log(values) for values in self.wanted.secrets.values())
        return self.alpha * (most - entropy(found))
