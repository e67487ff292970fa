"""Painters: networks that answer an image with a picture made of a few stamps of a fixed alphabet.

The grid has `grid` x `grid` cells; every cell gets one of K stamps, a patch of s x s pixels (s = 1: a flat colour).
The canvas of (grid s) x (grid s) pixels is enlarged to the image's size by repeating pixels, with whole-number
arithmetic, so that nothing but the choice of stamps depends on the image.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dapter.errors import UsageError


class Painted(NamedTuple):
    """What a painter gives.

    Attributes:
        pixels: float (N, 3, H, W) in [0, 1].
        logits: of the stamps of each cell, float32 (N, cells, K).
    """

    pixels: Tensor
    logits: Tensor


def flat_stamps(levels: int) -> Tensor:
    """All colours with that many evenly spaced 8-bit levels a channel: float (levels^3, 3, 1, 1) in [0, 1]."""
    steps = torch.linspace(0, 255, levels).round() / 255
    return torch.cartesian_prod(steps, steps, steps)[:, :, None, None]


class Painter(nn.Module):
    """Chooses a stamp for each cell and paints them.

    In training the choice is drawn by straight-through Gumbel-softmax at temperature 1 (Jang et al., ICLR 2017;
    Maddison et al., ICLR 2017) from torch's global generator; in use it is the most likely one: deterministic.

    Args:
        grid: cells on a side.
        alphabet: how many stamps, K; for flat ones the cube of a number of levels.
        patch: pixels on a side of a learned stamp; None: flat colours, fixed.
        width: channels of the first convolution.
    """

    def __init__(self, grid: int, alphabet: int, patch: int | None, width: int) -> None:
        super().__init__()
        self.grid, self.size = grid, alphabet
        if patch is None:
            self.register_buffer("stamps", flat_stamps(round(alphabet ** (1 / 3))))
        else:
            self.stamps = nn.Parameter(torch.randn(alphabet, 3, 1, 1) + 0.3 * torch.randn(alphabet, 3, patch, patch))
        self.learned = patch is not None
        w = width
        shape = [(3, w, 1), (w, 2 * w, 2), (2 * w, 4 * w, 2), (4 * w, 4 * w, 1), (4 * w, 8 * w, 2)]
        self.features = nn.Sequential(*(_block(inside, outside, stride) for inside, outside, stride in shape))
        self.near = nn.Conv2d(8 * w, alphabet, 1)
        self.far = nn.Sequential(nn.Linear(8 * w, 8 * w), nn.ReLU(), nn.Linear(8 * w, alphabet * grid**2))

    def forward(self, images: Tensor) -> Painted:
        """Paint.

        Args:
            images: float (N, 3, H, W) in [0, 1].
        """
        logits = self.logits(images)
        if self.training:
            return Painted(self._paint(F.gumbel_softmax(logits, tau=1.0, hard=True, dim=2), images), logits)
        return Painted(self.paint(logits.argmax(dim=2), images), logits)

    def logits(self, images: Tensor) -> Tensor:
        """Scores of each cell's stamps, float32 (N, cells, K): from the image there, and from all of it."""
        features = self.features(images * 2 - 1)
        near = self.near(_pool(features, self.grid)).flatten(2)
        far = self.far(features.mean(dim=(2, 3))).view(len(images), self.size, -1)
        scores: Tensor = (near.float() + far.float()).transpose(1, 2)
        return scores

    def alphabet(self) -> Tensor:
        """The stamps, float32 (K, 3, s, s) in [0, 1]."""
        return torch.sigmoid(self.stamps.float()) if self.learned else self.stamps

    def paint(self, indices: Tensor, like: Tensor) -> Tensor:
        """The picture of chosen stamps, int64 (N, cells), in the size and on the device of the images `like`."""
        patches = self.alphabet().index_select(0, indices.to(like.device).flatten())
        cells = patches.view(-1, self.grid, self.grid, *patches.shape[1:])
        return _enlarge(cells.permute(0, 3, 1, 4, 2, 5), like)

    @torch.no_grad()
    def read(self, pictures: Tensor) -> Tensor:
        """The stamps that a picture shows, int64 (N, cells): the nearest ones, where it was compressed.

        Args:
            pictures: float (N, 3, H, W) in [0, 1]; a side no shorter than the canvas.

        Raises:
            UsageError: pictures too small to show every pixel of every stamp.
        """
        stamps = (self.alphabet() * 255).round() / 255
        side = self.grid * stamps.shape[-1]
        if min(pictures.shape[-2:]) < side:
            raise UsageError(f"stamps cannot be read from pictures below {side} pixels a side. Cure: larger images")
        rows, columns = (_middles(side, length, pictures.device) for length in pictures.shape[-2:])
        canvas = pictures.index_select(2, rows).index_select(3, columns)
        cells = canvas.view(-1, 3, self.grid, stamps.shape[-1], self.grid, stamps.shape[-1])
        seen = cells.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # (N, cells, 3 s s)
        return torch.cdist(seen, stamps.flatten(1)[None], p=1).argmin(dim=2)

    def _paint(self, choice: Tensor, like: Tensor) -> Tensor:
        """Stamps weighted by a choice (N, cells, K); sums of products, which autocast leaves in float32."""
        stamps = self.alphabet()
        grids = choice.transpose(1, 2).reshape(-1, self.size, self.grid, self.grid)
        cells = grids[:, :, None, :, None, :, None] * stamps[None, :, :, None, :, None, :]
        return _enlarge(cells.sum(dim=1), like)


def _enlarge(cells: Tensor, like: Tensor) -> Tensor:
    """Stamps in their places, (N, 3, rows, s, columns, s), as pictures of the size of the images `like`."""
    canvas = cells.flatten(4).flatten(2, 3)
    side = canvas.shape[-1]
    rows, columns = (torch.arange(length, device=like.device) * side // length for length in like.shape[-2:])
    return canvas.index_select(2, rows).index_select(3, columns)


def _block(inside: int, outside: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU(inplace=True))


def _pool(features: Tensor, grid: int) -> Tensor:
    """Mean over each cell of a grid, of features (N, C, h, w) of any size; only products, so that it exports well."""
    rows, columns = (_shares(grid, length, features) for length in features.shape[-2:])
    return rows @ features @ columns.T


def _shares(grid: int, length: int, like: Tensor) -> Tensor:
    """How much of each cell each of `length` places makes up: (grid, length), rows sum to 1."""
    place = torch.arange(length, device=like.device, dtype=like.dtype) * grid
    cell = torch.arange(grid, device=like.device, dtype=like.dtype)[:, None] * length
    overlap = torch.minimum(place + grid, cell + length) - torch.maximum(place, cell)
    return overlap.clamp(min=0) / length


def _middles(side: int, length: int, device: torch.device) -> Tensor:
    """For each of `side` canvas pixels one place, near the middle, where `length` pixels show it."""
    pixel = torch.arange(side, device=device)
    first = (pixel * length + side - 1) // side
    return torch.maximum(first, (2 * pixel + 1) * length // (2 * side))
