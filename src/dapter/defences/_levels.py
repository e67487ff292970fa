"""The budgets that one converter can be set to, evenly on a logarithmic scale, and a painter that is set to one."""

import math

import torch
from torch import Tensor, nn

from dapter.errors import UsageError
from dapter.nets.painters import Painter


def check_budget(budget: float, reach: tuple[float, float] | None, most: float) -> None:
    """Whether a budget, and the range of budgets around it, can be kept to.

    Args:
        most: the hard budget in bits.

    Raises:
        UsageError: no.
    """
    if not 0 < budget <= most:
        raise UsageError(f"budget_bits is {budget}. Cure: above 0, at most {most:.1f}: the hard budget")
    low, high = reach or (budget / 2, budget)
    if not (0 < low < high <= most and low <= budget <= high):
        cure = f"Cure: (low, high) that rises between 0 and {most:.1f} bits and holds budget_bits"
        raise UsageError(f"budget_bits_range is {reach}, budget_bits {budget}. {cure}")


class Levels:
    """A range of budgets in bits, with a level at each end and about one for each doubling between them.

    Attributes:
        count: how many levels there are; one where the ends are equal.
    """

    def __init__(self, low: float, high: float) -> None:
        self._low, self._span = low, math.log(high / low)
        self.count = 1 + max(round(self._span / math.log(2)), int(high > low))

    def at(self, place: Tensor) -> Tensor:
        """The budgets at places of the scale, from 0 to 1."""
        return self._low * (self._span * place).exp()

    def place(self, budgets: Tensor) -> Tensor:
        """Where budgets lie on the scale, from 0 to 1, its ends beyond it too. Of one level there is no scale."""
        return ((budgets / self._low).log() / self._span).clamp(0, 1)

    def mix(self, budgets: Tensor) -> Tensor:
        """How much each level counts at budgets (N,): float32 (N, levels), the two next to each, by their distance."""
        if self.count == 1:
            return torch.ones(len(budgets), 1, device=budgets.device)
        levels = torch.arange(self.count, device=budgets.device)
        return (1 - (self.place(budgets)[:, None] * (self.count - 1) - levels).abs()).clamp(min=0)

    def overrun(self, rate: Tensor, budgets: Tensor) -> Tensor:
        """What the payloads of each level take of their budgets, (levels,): 1 is all of it, and where there are none.

        Args:
            rate: bits of each image (N,).
            budgets: of each image (N,).
        """
        mix = self.mix(budgets)
        allowed = (mix * budgets[:, None]).sum(dim=0)
        return torch.where(allowed > 0, (mix * rate[:, None]).sum(dim=0) / allowed, 1.0)


class Client(nn.Module):
    """A painter of images, at one budget unless `forward` is given another, a scalar tensor.

    Args:
        levels: None: the painter knows one budget only.
    """

    def __init__(self, painter: Painter, levels: Levels | None, budget: float) -> None:
        super().__init__()
        self.painter, self.levels, self.budget = painter, levels, budget

    def forward(self, images: Tensor, budget: Tensor | None = None) -> Tensor:
        condition = None
        if self.levels is not None:
            chosen = torch.full((), self.budget, device=images.device) if budget is None else budget
            condition = self.levels.place(chosen).expand(images.shape[0])
        return self.painter.paint(self.painter(images, condition).stamps.argmax(dim=2), images)
