"""Hybrid analytics: Siamese features, reduced by PCA, with noise.

Osia, Shamsabadi, Sajadmanesh, Taheri, Katevas, Rabiee, Lane, Haddadi: "A Hybrid Deep Learning Architecture for
Privacy-Preserving Mobile Analytics", IEEE Internet of Things Journal 2020. The network is cut late. Siamese training
draws together the features of images with the same answer (the contrastive loss of Hadsell, Chopra, LeCun, CVPR 2006),
so that a few principal components hold the answer; only these are sent, with Gaussian noise. Ours, because everything
is trained by one loop: the components follow the features in every step; features are pooled to a 4 x 4 grid, so that
any size of image will do, and have length 1, so that a network cannot outgrow the noise; the service part is trained on
noisy features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional as F

from dapter.batches import Batch
from dapter.defences._divided import Divided, cross_entropy, cut_resnet, shape_of
from dapter.defences._draws import noise
from dapter.errors import UsageError
from dapter.service.classifier import Service

GRID = 4
"""Places on a side to which features are pooled."""

MARGIN = 1.0
"""Distance that images with different answers should have at least; the features' length is 1."""

RATE = 0.02
"""The least share of a new batch in the centre and the components; of the first batches it is more."""


class _Components(nn.Module):
    """The principal components of features (N, D) that move: incremental PCA that forgets (Ross et al., IJCV 2008).

    Buffers: `centre`, (D,); `axes`, (K, D), each as long as the features' deviation along it; how many `batches`.
    """

    centre: Tensor
    axes: Tensor
    batches: Tensor

    def __init__(self, features: int, components: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("axes", torch.linalg.qr(torch.randn(features, components))[0].T)
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def forward(self, features: Tensor) -> Tensor:
        """The coordinates of features, (N, K)."""
        found: Tensor = (features - self.centre) @ F.normalize(self.axes, dim=1).T
        return found

    @torch.no_grad()
    def follow(self, features: Tensor) -> None:
        """Take in the features of a batch; an axis keeps its sign, or the service part could not follow."""
        self.batches += 1
        rate = (1 / self.batches).clamp(min=RATE)
        self.centre.lerp_(features.mean(dim=0), rate)
        batch = (rate / len(features)).sqrt() * (features - self.centre)
        _, lengths, axes = torch.linalg.svd(torch.cat([(1 - rate).sqrt() * self.axes, batch]), full_matrices=False)
        found = (lengths[:, None] * axes)[: len(self.axes)]
        turned = (found * self.axes).sum(dim=1, keepdim=True) < 0
        self.axes.copy_(torch.where(turned, -found, found))


class _Body(nn.Module):
    """The first layers: float (N, 3, H, W) in [0, 1] to features (N, D) of length 1, and their components (N, K).

    In one network, so that several processes that train it share the components like other statistics.
    """

    def __init__(self, net: nn.Module, components: _Components) -> None:
        super().__init__()
        self.net, self.components = net, components

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = F.normalize(F.adaptive_avg_pool2d(self.net(images).float(), GRID).flatten(1), dim=1)
        return features, self.components(features)


class _Client(nn.Module):
    """What the device does: components (N, K, 1, 1) with noise."""

    def __init__(self, body: nn.Module, sigma: float) -> None:
        super().__init__()
        self.body, self.sigma = body, sigma

    def forward(self, images: Tensor) -> Tensor:
        return noisy(self.body(images)[1], self.sigma)


class _Server(nn.Module):
    """Back to features, then the rest of the network: components (N, K, 1, 1) to logits of every target."""

    def __init__(self, components: int, channels: int, rest: nn.Module) -> None:
        super().__init__()
        self.restore = nn.Linear(components, channels * GRID**2)
        self.channels, self.rest = channels, rest

    def forward(self, components: Tensor) -> dict[str, Tensor]:
        features = self.restore(components.flatten(1)).view(-1, self.channels, GRID, GRID)
        found: dict[str, Tensor] = self.rest(features)
        return found


@dataclass(eq=False)
class Hybrid(Divided):
    """A ResNet18 cut in two, between whose parts only a few noisy numbers pass.

    Attributes:
        components: how many.
        sigma: standard deviation of the noise; features have length 1.
        gamma: weight of the Siamese loss.
        width: channels of the first stage.
        blocks: of its eight residual blocks, how many are in the client part.
        learning_rate: of Adam.
    """

    components: int = 8
    sigma: float = 0.1
    gamma: float = 1.0
    width: int = 16
    blocks: int = 6
    learning_rate: float = 2e-3

    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.components < 1 or not self.sigma > 0:
            raise UsageError(f"components {self.components}, sigma {self.sigma}. Cure: 1 or more, and above 0")

    def _build(self, service: Service | None) -> Mapping[str, nn.Module]:
        first, rest = cut_resnet(self.width, self.blocks, self.wanted.targets)
        channels = shape_of(first, self.wanted.image_size)[0]
        if self.components > channels * GRID**2:
            raise UsageError(f"{self.components} components of {channels * GRID**2} features. Cure: no more than those")
        return {
            "body": _Body(first, _Components(channels * GRID**2, self.components)),
            "server": _Server(self.components, channels, rest),
        }

    def _optimizers(self, nets: Mapping[str, nn.Module]) -> Mapping[str, torch.optim.Optimizer]:
        return {"both": torch.optim.Adam(nn.ModuleDict(nets).parameters(), lr=self.learning_rate)}

    def losses(self, batch: Batch, service: Service) -> dict[str, Tensor]:
        """`accuracy`: cross-entropy of the answer; `siamese`: the contrastive loss; `loss`: their weighted sum."""
        return self._losses(batch)[0]

    def _losses(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """The losses, and the features (N, D)."""
        with self.learner.autocast():
            features, found = self.learner.net("body")(batch.images)
            accuracy = cross_entropy(self.learner.net("server")(noisy(found, self.sigma)), batch.labels)
        answers = torch.stack([batch.labels[name] for name in self.wanted.targets], dim=1)
        siamese = contrastive(features, answers)
        return {"loss": accuracy + self.gamma * siamese, "accuracy": accuracy, "siamese": siamese}, features

    def update(self, batch: Batch, service: Service) -> dict[str, float]:
        """A step of Adam; then the components follow the features."""
        losses, features = self._losses(batch)
        self.learner.descend(losses["loss"], "both")
        self._body.components.follow(features.detach())
        return {name: float(value.detach()) for name, value in losses.items()}

    def client(self) -> nn.Module:
        """The first layers, the components and noise."""
        return _Client(self._body, self.sigma)

    @property
    def _body(self) -> _Body:
        body = self.learner.nets["body"]
        assert isinstance(body, _Body)
        return body


def noisy(components: Tensor, sigma: float) -> Tensor:
    """Components (N, K) as they are sent, (N, K, 1, 1): with noise drawn anew."""
    return (components + sigma * noise(Normal, components))[:, :, None, None]


def contrastive(features: Tensor, answers: Tensor) -> Tensor:
    """Mean over all pairs: d^2 where the answers are the same, max(0, MARGIN - d)^2 where they differ.

    Args:
        features: (N, D).
        answers: int64 (N, targets).
    """
    distances = torch.cdist(features, features)
    same = (answers[:, None] == answers[None]).all(dim=2)
    return torch.where(same, distances, F.relu(MARGIN - distances)).square().mean()
