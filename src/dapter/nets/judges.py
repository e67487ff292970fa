"""Networks that judge restored images: what a reader of originals sees in them, and whom."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dapter.nets.recognisers import RECOGNISERS

EMBEDDING = 128
"""Values that describe a person."""

SHARPNESS = 16.0
"""Factor on cosines before the softmax (NormFace; Wang et al., ACM MM 2017)."""


class Reader(nn.Module):
    """A small CNN with a linear head for each label; its feature maps compare images.

    Args:
        heads: for each label the number of its values.
        width: channels of the first layer.
        size: height and width of the images in pixels.
    """

    def __init__(self, heads: Mapping[str, int], width: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.trunk, features = RECOGNISERS["cnn"](3, width, size)
        self.labels = tuple(heads)
        self.heads = nn.ModuleList(nn.Linear(features, classes) for classes in heads.values())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """For each label, logits (N, classes), of images float (N, 3, H, W) in [0, 1]."""
        features = self.trunk(images * 2 - 1)
        return {label: head(features) for label, head in zip(self.labels, self.heads, strict=True)}

    def maps(self, images: Tensor) -> list[Tensor]:
        """What each convolution layer sees, (N, channels, h, w), at every place of length 1."""
        assert isinstance(self.trunk, nn.Sequential)
        found, x = [], images * 2 - 1
        for layer in self.trunk:
            x = layer(x)
            if isinstance(layer, nn.Sequential):
                found.append(F.normalize(x, dim=1))
        return found

    def distance(self, images: Tensor, others: Tensor) -> Tensor:
        """Perceptual distance of each pair, (N,) in [0, 2], 0 for equal images.

        Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", CVPR 2018, Eq. 1, with
        equal weights: squared distance of the maps, mean over places and layers.
        """
        pairs = zip(self.maps(images), self.maps(others), strict=True)
        layers = [(mine - theirs).square().sum(dim=1).mean(dim=(1, 2)) for mine, theirs in pairs]
        return torch.stack(layers).mean(dim=0)


class Embedder(nn.Module):
    """A small CNN that puts images of one person near one another; trained to tell `people` people apart."""

    def __init__(self, people: int, width: int, size: tuple[int, int]) -> None:
        super().__init__()
        trunk, features = RECOGNISERS["cnn"](3, width, size)
        self.body = nn.Sequential(trunk, nn.Linear(features, EMBEDDING))
        self.people = nn.Parameter(torch.randn(people, EMBEDDING))

    def embed(self, images: Tensor) -> Tensor:
        """Descriptions of length 1, (N, EMBEDDING), of images float (N, 3, H, W) in [0, 1]."""
        return F.normalize(self.body(images * 2 - 1).float(), dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, people)."""
        return SHARPNESS * self.embed(images) @ F.normalize(self.people, dim=1).T
