"""A prior over stamps: the small published table that says what a payload of each answer is expected to show."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

FLOOR = 1e-3
"""Share of the uniform distribution in every prior: no stamp costs more than about log2(K / FLOOR) bits."""

FIRST_SHARE = 0.9
"""The probability that a prior gives at first to the stamps that it starts from."""


class Prior(nn.Module):
    """For each answer and each cell a distribution over the K stamps: a running average of what was painted.

    It is counted, not learned by gradients, and saved with the weights.

    Attributes:
        table: the probabilities, float32 (answers, cells, K).
        started: whether `start` was called.
        log_beta: the price of a bit, as its logarithm; a state of training that is saved and resumed with the rest.

    Args:
        answers: how many the service can give; None: as many as the weights that are loaded have.
        cells: of the grid.
        alphabet: how many stamps.
        beta: the price that a bit has at first.
    """

    table: Tensor
    started: Tensor
    log_beta: Tensor

    def __init__(self, answers: int | None, cells: int, alphabet: int, beta: float) -> None:
        super().__init__()
        self.any_answers = answers is None
        self.register_buffer("table", torch.full((answers or 1, cells, alphabet), 1 / alphabet))
        self.register_buffer("started", torch.tensor(False))
        self.register_buffer("log_beta", torch.tensor(beta).log())

    def start(self, stamps: Tensor) -> None:
        """Expect of each answer these stamps, int64 (answers, cells)."""
        others = (1 - FIRST_SHARE) / (self.table.shape[2] - 1)
        self.table.fill_(others).scatter_(2, stamps[:, :, None], FIRST_SHARE)
        self.started.fill_(True)

    def forward(self, choice: Tensor, answer: Tensor) -> Tensor:
        """Bits that a choice of stamps costs given the answer: cross-entropy of `choice` with the prior, over cells.

        Args:
            choice: distributions, float32 (N, cells, K); one-hot for the code length of one choice.
            answer: int64 (N,).

        Returns:
            float32 (N,), never negative.
        """
        return -(choice * self.table[answer].log2()).sum(dim=(1, 2))

    @torch.no_grad()
    def learn(self, choice: Tensor, answer: Tensor, rate: float) -> None:
        """Move each answer's distributions towards the mean of the choices (N, cells, K) that got it.

        Args:
            rate: how far, for an answer that gets its equal share of the images.
        """
        for each in set(answer.tolist()):
            rows = choice[answer == each]
            weight = min(1.0, rate * len(rows) / len(choice) * len(self.table))
            self.table[each] += weight * (rows.mean(dim=0) - self.table[each])
        self.table.clamp_(min=FLOOR / self.table.shape[2])
        self.table /= self.table.sum(dim=2, keepdim=True)

    def probabilities(self) -> np.ndarray:
        """The table as numbers, float64 (answers, cells, K)."""
        table = self.table.cpu().double()
        found: np.ndarray = (table / table.sum(dim=2, keepdim=True)).numpy()
        return found

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        stored = state.get(f"{prefix}table")
        if self.any_answers and stored is not None:
            self.table = self.table.new_zeros((len(stored), *self.table.shape[1:]))
        super()._load_from_state_dict(state, prefix, *rest)
