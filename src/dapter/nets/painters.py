"""Painters: networks that answer an image with a picture made of a few stamps of a fixed alphabet.

The grid has `grid` x `grid` cells; every cell gets one of K stamps, a patch of s x s pixels (s = 1: a flat colour).
The canvas of (grid s) x (grid s) pixels is enlarged to the image's size by repeating pixels, with whole-number
arithmetic, so that nothing but the choice of stamps depends on the image.
"""

import itertools
import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dapter.nets.converters import Film

SHARPNESS = 20.0
"""Of the choice of one stamp in training: a stamp e times as likely as another fits better by 1/20 nat."""


LOYAL = 100.0
"""In nats: above any price, so that no payload says another answer than the painter's own."""

UNLIKELY = 1e-3


class Scores(NamedTuple):
    """What a painter thinks of an image.

    Attributes:
        stamps: score of each stamp in each cell, float32 (N, cells, K).
        answers: of a payload of one stamp, what the painter itself would answer: logits, float32 (N, answers).
    """

    stamps: Tensor
    answers: Tensor | None = None


def flat_stamps(levels: int) -> Tensor:
    """All colours with that many evenly spaced 8-bit levels a channel: float (levels^3, 3, 1, 1) in [0, 1]."""
    steps = torch.linspace(0, 255, levels).round() / 255
    return torch.cartesian_prod(steps, steps, steps)[:, :, None, None]


class Painter(nn.Module):
    """Chooses a stamp for each cell, the one of the highest score, and paints them.

    Flips, as those of `dapter.stamps.flip`, come from torch's global generator here, so that a training resumes as it
    was; what leaves a device is drawn elsewhere.

    Args:
        grid: cells on a side.
        alphabet: how many stamps, K; for flat ones the cube of a number of levels.
        patch: pixels on a side of a learned stamp; None: flat colours, fixed.
        width: channels of the first convolution.
        conditioned: whether it takes a condition, such as a budget, which changes every block (FiLM), or, of one cell,
            the price of each stamp.
        flip: probability with which a cell's stamp is replaced by one drawn from the alphabet.
        given: for a payload of one cell, the attribute of `Nearest`; None: as the weights that are loaded say.
        levels: how many prices each stamp of a payload of one cell has.
    """

    def __init__(
        self,
        grid: int,
        alphabet: int,
        patch: int | None,
        width: int,
        conditioned: bool = False,
        flip: float = 0.0,
        given: Tensor | None = None,
        levels: int = 1,
    ) -> None:
        super().__init__()
        self.grid, self.size, self.flip = grid, alphabet, flip
        if patch is None:
            self.register_buffer("stamps", flat_stamps(round(alphabet ** (1 / 3))))
        else:
            self.stamps = nn.Parameter(torch.randn(alphabet, 3, 1, 1) + 0.3 * torch.randn(alphabet, 3, patch, patch))
        self.learned = patch is not None
        w = width
        shape = [(3, w, 1), (w, 2 * w, 2), (2 * w, 4 * w, 2), (4 * w, 4 * w, 1), (4 * w, 8 * w, 2)]
        self.features = nn.Sequential(*(_block(inside, outside, stride) for inside, outside, stride in shape))
        if grid == 1:
            self.nearest = Nearest(8 * w, given, alphabet, levels)
        else:
            self.near = nn.Conv2d(8 * w, alphabet, 1)
            self.far = nn.Sequential(nn.Linear(8 * w, 8 * w), nn.ReLU(), nn.Linear(8 * w, alphabet * grid**2))
        self.film = Film([outside for _, outside, _ in shape]) if conditioned and grid > 1 else None

    def forward(self, images: Tensor, condition: Tensor | None = None) -> Scores:
        """Score each cell's stamps: from the image there, and from all of it.

        Args:
            images: float (N, 3, H, W) in [0, 1].
            condition: (N,), for a conditioned painter only.
        """
        features = images * 2 - 1
        film = itertools.repeat(None) if self.film is None or condition is None else self.film(condition)
        for block, change in zip(self.features, film, strict=False):
            features = block(features)
            if change is not None:
                features = features * (1 + change[0]) + change[1]
        mean = features.mean(dim=(2, 3))
        if self.grid == 1:
            found: Scores = self.nearest(mean, condition)
            return found
        near = self.near(_pool(features, self.grid)).flatten(2)
        far = self.far(mean).view(len(images), self.size, -1)
        return Scores((near.float() + far.float()).transpose(1, 2))

    def drawn(self, logits: Tensor, like: Tensor) -> Tensor:
        """Stamps drawn from their scores, painted, (N, 3, H, W) in [0, 1]; gradients reach the scores.

        By straight-through Gumbel-softmax at temperature 1 (Jang et al., ICLR 2017; Maddison et al., ICLR 2017).
        """
        choice = F.gumbel_softmax(logits, tau=1.0, hard=True, dim=2)
        if self.flip:
            chosen = choice.argmax(dim=2)
            shown = self.flipped(chosen)
            choice = torch.where((shown == chosen)[:, :, None], choice, F.one_hot(shown, self.size).to(choice.dtype))
        return self._paint(choice, like)

    def flipped(self, indices: Tensor) -> Tensor:
        """Stamps, int64 (N, cells), each replaced with probability `flip` by one drawn evenly from the alphabet."""
        if not self.flip:
            return indices
        kept = torch.rand(indices.shape, device=indices.device) >= self.flip
        return torch.where(kept, indices, torch.randint_like(indices, self.size))

    def alphabet(self) -> Tensor:
        """The stamps, float32 (K, 3, s, s) in [0, 1]."""
        return torch.sigmoid(self.stamps.float()) if self.learned else self.stamps

    def paint(self, indices: Tensor, like: Tensor) -> Tensor:
        """The picture of chosen stamps, int64 (N, cells), in the size and on the device of the images `like`."""
        patches = self.alphabet().index_select(0, indices.to(like.device).flatten())
        cells = patches.view(-1, self.grid, self.grid, *patches.shape[1:])
        return _enlarge(cells.permute(0, 3, 1, 4, 2, 5), like)

    def _paint(self, choice: Tensor, like: Tensor) -> Tensor:
        """Stamps weighted by a choice (N, cells, K); sums of products, which autocast leaves in float32."""
        stamps = self.alphabet()
        grids = choice.transpose(1, 2).reshape(-1, self.size, self.grid, self.grid)
        cells = grids[:, :, None, :, None, :, None] * stamps[None, :, :, None, :, None, :]
        return _enlarge(cells.sum(dim=1), like)


class Nearest(nn.Module):
    """Scores each stamp by how well what it says fits what the painter itself would answer.

    Entropy-constrained vector quantisation (Chou, Lookabaugh & Gray, IEEE TASSP 1989) of the painter's own answer: the
    highest score is that of the least cross-entropy with what a stamp says, plus its price, of all stamps to which the
    likeliest answer is the painter's own, if there is one. Nothing is learned through the scores: the painter's own
    answer learns from the labels, undisturbed by the choice of stamps. What stamps say and cost are kept as all weights
    are: as running averages.

    Attributes:
        says: logarithm of the probability of each joint answer to each stamp, float32 (K, answers).
        price: of each stamp in nats, float32 (levels, K): a row for each of evenly spaced conditions from 0 to 1.
        given: to which of the answers beyond which bits are counted each joint answer belongs, one-hot (answers, G).

    Args:
        features: how many there are of an image.
        given: as the attribute; None: as the weights that are loaded say.
        alphabet: how many stamps.
        levels: how many prices each stamp has.
    """

    says: Tensor
    price: Tensor
    given: Tensor

    def __init__(self, features: int, given: Tensor | None, alphabet: int, levels: int) -> None:
        super().__init__()
        self.any_answers = given is None
        self.register_buffer("given", torch.ones(1, 1) if given is None else given)
        answers = len(self.given)
        self.guess = nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, answers))
        self.register_buffer("price", torch.zeros(levels, alphabet))
        self.register_buffer("says", torch.full((alphabet, answers), 1 / answers).log())

    def forward(self, features: Tensor, condition: Tensor | None) -> Scores:
        """Score the stamps, and give the painter's own answer.

        Args:
            features: (N, features).
            condition: (N,), where there are several levels.
        """
        answers = self.guess(features).float()
        own = answers.detach().softmax(dim=1)
        price = self.price
        if condition is not None:
            places = torch.arange(len(price), device=price.device)
            mix = (1 - (condition[:, None] * (len(price) - 1) - places).abs()).clamp(min=0)
            price = product(mix, price)
        others = self.row() != torch.arange(self.given.shape[1], device=price.device)[:, None]
        disloyal = others.float().index_select(0, product(own, self.given).argmax(dim=1))
        fit = product(own, self.says.T) - price - LOYAL * disloyal
        return Scores(SHARPNESS * fit[:, None], answers)

    def hear(self, says: Tensor) -> None:
        """Keep what each stamp says now; no answer counts as less likely than `UNLIKELY`, so that prices can decide."""
        self.says.copy_(says.detach().clamp(min=math.log(UNLIKELY)))

    def row(self) -> Tensor:
        """The answer, of those given, that each stamp says most likely, int64 (K,)."""
        return product(self.says.exp(), self.given).argmax(dim=1)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        given = state.get(f"{prefix}given")
        if given is not None and self.any_answers:
            for name in ("says", "given"):
                setattr(self, name, torch.zeros_like(state[f"{prefix}{name}"], device=self.given.device))
            inside = state[f"{prefix}guess.2.weight"].shape[1]
            self.guess[2] = nn.Linear(inside, len(given)).to(self.given.device)
        elif given is not None and not torch.equal(given.to(self.given.device), self.given):
            rest[-1].append("bits are counted beyond other answers")
        super()._load_from_state_dict(state, prefix, *rest)


def product(left: Tensor, right: Tensor) -> Tensor:
    """A matrix (N, A) times one (A, K): sums of products, which autocast leaves in float32."""
    return (left[:, :, None] * right).sum(dim=1)


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
