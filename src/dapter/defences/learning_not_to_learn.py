"""Learning not to learn: the features carry no information about a secret, by a game and by entropy.

Kim, Kim, Kim, Kim, Kim: "Learning Not to Learn: Training Deep Neural Networks with Biased Data", CVPR 2019. The secret
is the paper's bias. Its adversary learns by cross-entropy; the client part gets that gradient reversed (Ganin &
Lempitsky, ICML 2015), and beside it the entropy of the adversary's guess is made large, which bounds the mutual
information. Ours: the network, several secrets (mean), training from the start (its authors' code
begins with a network trained without the game), and weights that are ten times theirs.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from dapter.batches import Batch
from dapter.defences._adversarial import Adversarial, entropy
from dapter.defences._divided import cross_entropy

Logits = dict[str, Tensor]


@dataclass(eq=False)
class LearningNotToLearn(Adversarial):
    """A ResNet18 cut in two, whose client part unlearns what an adversary learns.

    Attributes:
        lam: λ, weight of the entropy of the adversary's guess.
        mu: μ, weight of the adversary's reversed loss.
    """

    lam: float = 0.1
    mu: float = 1.0

    def _adversary(self) -> nn.Module:
        return self.reader()

    def _mistaken(self, found: Logits, batch: Batch) -> Tensor:
        return cross_entropy(found, batch.labels)

    def _privacy(self, found: Logits, batch: Batch) -> Tensor:
        return -self.lam * entropy(found) - self.mu * cross_entropy(found, batch.labels)
