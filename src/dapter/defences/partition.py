"""Privacy Partitioning: the first stages of a network run on the device, and are trained against a suite of defenders.

Chi, Owusu, Yin, Yu, Chan, Tague, Tian: "Privacy Partitioning: Protecting User Data During the Deep Learning Inference
Phase", arXiv:1812.02863, 2018. A defender plays the attacker: it reads a secret from the features, or restores the
image. In each step every defender learns, and the network then learns to answer and to make the loss of the best
defender large, weighted by λ (Algorithm 1). At the end the local part is locked and the remote part goes on learning.
The paper's text could not be had when this was written, only its abstract and summaries; so these are decided here:

- L = L_answer - λ L_best, where L_best is the smallest loss of a suite in this batch.
- A restorer's loss is its squared error as a share of the variance of the images, so that λ means the same for both.
- A partition suite (several cuts in one network) has defenders at every cut; their best losses are added.
- The networks but for the MLP and VGG19, and all defenders: see `_stages`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dapter.batches import Batch
from dapter.defences._divided import Divided, Heads, cross_entropy
from dapter.defences._restorers import Found, Hides, check_hides, image_loss, to_hide
from dapter.defences._stages import (
    DEFENDERS,
    NETS,
    LocalPart,
    LocalStages,
    Net,
    RemotePart,
    Suites,
    build_stages,
    build_suite,
)
from dapter.errors import UsageError
from dapter.service.classifier import Service


@dataclass(eq=False)
class Partition(Divided):
    """A network cut after any of its stages.

    Attributes:
        net: `mlp` (three layers), `cnn` (four stages) or `vgg19` (sixteen).
        width: channels of its first stage; the MLP has 50 times as many units in a layer.
        cut: how many stages run on the device.
        cut_range: (low, high) trains for every cut in it; `cut` is then chosen in use. None: for `cut` only.
        defenders: how many in a suite, 0 to 4.
        lam: λ, the weight of the best defender's loss; 1 took most of the answer in a trial (decision 23).
        hides: the task's `secrets`, the `image`, or `both`.
        locked: the last share of the training, in which only the remote part learns.
        learning_rate: of Adam.
    """

    net: Net = "cnn"
    width: int = 16
    cut: int = 3
    cut_range: tuple[int, int] | None = None
    defenders: int = DEFENDERS
    lam: float = 0.3
    hides: Hides = "both"
    locked: float = 0.25
    learning_rate: float = 2e-3

    keeps_last: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_hides(self.hides)
        if self.net not in NETS:
            raise UsageError(f"net is {self.net!r}. Cure: one of {', '.join(NETS)}")
        if self.cut_range is not None:
            self.cut_range = (self.cut_range[0], self.cut_range[1])
        stages = NETS[self.net][1]
        low, high = self.cut_range or (1, stages)
        if not 1 <= low <= self.cut <= high <= stages:
            raise UsageError(f"cut {self.cut} must be in {low} to {high}, and that in 1 to {stages}: stages of the net")
        if not 0 <= self.defenders <= DEFENDERS:
            raise UsageError(f"{self.defenders} defenders. Cure: 0 to {DEFENDERS}")
        if self.lam < 0 or not 0 <= self.locked < 1:
            raise UsageError(f"lam {self.lam} must be at least 0, locked {self.locked} at least 0 and below 1")

    @property
    def phases(self) -> tuple[float, ...]:
        """The second is the remote part's alone."""
        return (1 - self.locked,) if self.locked else ()

    @property
    def _cuts(self) -> tuple[int, ...]:
        low, high = self.cut_range or (self.cut, self.cut)
        return tuple(range(low, high + 1))

    def _build(self, service: Service | None) -> Mapping[str, nn.Module]:
        task = self.wanted
        stages, shapes = build_stages(self.net, self.width, task.image_size)
        last = self._cuts[-1]
        heads = Heads(nn.Identity(), shapes[-1][0], task.targets)
        network = {"local": LocalStages(stages[:last], self._cuts), "remote": RemotePart(stages[last:], heads)}
        if not self.defenders:
            return network
        secrets, image = to_hide(self.hides, task)
        size = task.image_size if image else None
        suites = [build_suite(self.defenders, shapes[cut - 1], self.width, secrets, size) for cut in self._cuts]
        return {**network, "defenders": Suites(suites)}

    def _optimizers(self, nets: Mapping[str, nn.Module]) -> Mapping[str, torch.optim.Optimizer]:
        owned = {"network": nn.ModuleList([nets["local"], nets["remote"]])}
        if self.defenders:
            owned["defenders"] = nn.ModuleList([nets["defenders"]])
        return {name: torch.optim.Adam(part.parameters(), lr=self.learning_rate) for name, part in owned.items()}

    def adjustable(self) -> frozenset[str]:
        """The cut, if several are trained for."""
        return frozenset() if self.cut_range is None else frozenset({"cut"})

    def client(self) -> nn.Module:
        """The local part; of a partition suite, with all stages that may be chosen."""
        return LocalPart(self._local.stages, self.cut)

    def server(self) -> nn.Module:
        """The remote part for this cut."""
        remote = self.learner.nets["remote"]
        assert isinstance(remote, RemotePart)
        return RemotePart([*self._local.stages[self.cut :], *remote.stages], remote.heads)

    def losses(self, batch: Batch, service: Service) -> dict[str, Tensor]:
        """`loss`: cross-entropy of the answer; `privacy`: the best defenders' losses, reversed, times λ."""
        features, accuracy = self._forward(batch, locked=False)
        if not self.defenders:
            return {"loss": accuracy}
        return {"loss": accuracy, "privacy": self._privacy(features, batch)}

    def update(self, batch: Batch, service: Service) -> dict[str, float]:
        """Algorithm 1, with the sum of the `defenders`' losses; once the local part is locked, a step of the other."""
        locked = batch.progress >= 1 - self.locked
        features, accuracy = self._forward(batch, locked)
        if locked or not self.defenders:
            self.learner.descend(accuracy, "network")
            return {"loss": float(accuracy.detach())}
        each = self._defend([found.detach() for found in features], batch).sum()
        self.learner.descend(each, "defenders")
        privacy = self._privacy(features, batch)
        self.learner.descend(accuracy + privacy, "network")
        found = {"loss": accuracy, "privacy": privacy, "defenders": each}
        return {name: float(value.detach()) for name, value in found.items()}

    def _forward(self, batch: Batch, locked: bool) -> tuple[list[Tensor], Tensor]:
        """The features at every cut, and the cross-entropy of the answer."""
        with self.learner.autocast():
            if locked:
                with torch.no_grad():
                    features = self._local.eval()(batch.images)
            else:
                features = self.learner.net("local")(batch.images)
            logits = self.learner.net("remote")(features[-1])
        return features, cross_entropy(logits, batch.labels)

    def _privacy(self, features: Sequence[Tensor], batch: Batch) -> Tensor:
        return -self.lam * self._defend(features, batch).amin(dim=1).sum()

    def _defend(self, features: Sequence[Tensor], batch: Batch) -> Tensor:
        """The defenders' losses, (cuts, defenders, what is hidden)."""
        with self.learner.autocast():
            suites = self.learner.net("defenders")(features)
        return torch.stack([torch.stack([_hidden_losses(found, batch) for found in suite]) for suite in suites])

    @property
    def _local(self) -> LocalStages:
        local = self.learner.nets["local"]
        assert isinstance(local, LocalStages)
        return local


def _hidden_losses(found: Found, batch: Batch) -> Tensor:
    """A defender's loss of the secrets, and of the image, (what is hidden,)."""
    guesses, restored = found
    losses = [cross_entropy(guesses, batch.labels)] if guesses else []
    if restored is not None:
        losses.append(image_loss(restored, batch.images))
    return torch.stack(losses)
