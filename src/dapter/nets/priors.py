"""A prior over stamps: the small published table that says what a payload of each answer is expected to show."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

FLOOR = 1e-3
"""Share of the uniform distribution in every prior: no stamp costs more than about log2(K / FLOOR) bits."""

FIRST_SHARE = 0.9
"""Share of the distribution that a prior starts from in what it expects at first; the rest is even."""


class Prior(nn.Module):
    """For each answer and each cell a distribution over the K stamps: a running average of what was painted.

    It is counted, not learned by gradients, and saved with the weights. For a range of budgets there are several
    levels, each with distributions and a price of its own; between two levels both are mixed.

    Attributes:
        table: the probabilities, float32 (levels x answers, cells, K), level by level.
        started: whether `start` was called.
        log_beta: the price of a bit, as its logarithm, (levels,), a scalar for one level; a state of training that is
            saved and resumed with the rest.

    Args:
        answers: how many the service can give; None: as many as the weights that are loaded have.
        cells: of the grid.
        alphabet: how many stamps.
        beta: the price that a bit has at first.
        levels: of the budget.
    """

    table: Tensor
    started: Tensor
    log_beta: Tensor

    def __init__(self, answers: int | None, cells: int, alphabet: int, beta: float, levels: int = 1) -> None:
        super().__init__()
        self.any_answers, self.levels = answers is None, levels
        self.register_buffer("table", torch.full((levels * (answers or 1), cells, alphabet), 1 / alphabet))
        self.register_buffer("started", torch.tensor(False))
        self.register_buffer("log_beta", torch.full(() if levels == 1 else (levels,), beta).log())

    def start(self, stamps: Tensor) -> None:
        """Expect of each answer stamps of these distributions, float32 (answers, cells, K)."""
        self.table.copy_(FIRST_SHARE * stamps.repeat(self.levels, 1, 1) + (1 - FIRST_SHARE) / self.table.shape[2])
        self.started.fill_(True)

    def expected(self, answer: Tensor, mix: Tensor) -> Tensor:
        """The distributions for each answer, int64 (N,), at the levels that `mix`, (N, levels), says: (N, cells, K)."""
        return torch.einsum("nl,lnck->nck", mix, self._tables()[:, answer])

    def forward(self, choice: Tensor, answer: Tensor, mix: Tensor) -> Tensor:
        """Bits that a choice of stamps costs given the answer: cross-entropy of `choice` with the prior, over cells.

        Args:
            choice: distributions, float32 (N, cells, K); one-hot for the code length of one choice.
            answer: int64 (N,).
            mix: how much each level counts, float32 (N, levels); rows sum to 1.

        Returns:
            float32 (N,), never negative.
        """
        return -(choice * self.expected(answer, mix).log2()).sum(dim=(1, 2))

    def beta(self, mix: Tensor) -> Tensor:
        """The price of a bit at mixed levels (N, levels): (N,)."""
        return (mix @ self.log_beta.view(-1)).exp()

    def price(self, row: Tensor) -> Tensor:
        """What each stamp of a payload of one cell costs at each level, in nats, float32 (levels, K).

        Args:
            row: the answer that counts for each stamp, int64 (K,).
        """
        bits = -self._tables()[:, row, 0, torch.arange(len(row), device=row.device)].log2()
        return self.log_beta.view(-1, 1).exp() * bits

    @torch.no_grad()
    def learn(self, choice: Tensor, answer: Tensor, mix: Tensor, rate: float) -> None:
        """Move each answer's distributions towards the mean of the choices (N, cells, K) that got it.

        Args:
            mix: how much each choice counts at each level, (N, levels).
            rate: how far, for an answer that gets its equal share of a level's images; less at a level with less than
                one image.
        """
        tables = self._tables()
        got = F.one_hot(answer, tables.shape[1]).to(choice.dtype)
        counts = torch.einsum("nl,na->la", mix, got)
        sums = torch.einsum("nl,na,nck->lack", mix, got, choice)
        shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
        weight = (rate * tables.shape[1] * shares).clamp(max=1)[:, :, None, None]
        tables += weight * (sums / counts.clamp(min=1e-9)[:, :, None, None] - tables)
        self.table.clamp_(min=FLOOR / self.table.shape[2])
        self.table /= self.table.sum(dim=2, keepdim=True)

    def probabilities(self, mix: Tensor) -> np.ndarray:
        """What is expected of each answer at mixed levels (levels,), float64 (answers, cells, K)."""
        table = torch.einsum("l,lack->ack", mix.cpu().double(), self._tables().cpu().double())
        found: np.ndarray = (table / table.sum(dim=2, keepdim=True)).numpy()
        return found

    def _tables(self) -> Tensor:
        """The table as (levels, answers, cells, K), sharing its memory."""
        return self.table.view(self.levels, -1, *self.table.shape[1:])

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        stored = state.get(f"{prefix}table")
        if self.any_answers and stored is not None:
            self.table = self.table.new_zeros((len(stored), *self.table.shape[1:]))
        super()._load_from_state_dict(state, prefix, *rest)
