"""Linear readers: ridge regression in closed form and in float64, from all values of payload and answer at once.

Nothing in it can fail to learn, and no scale is too small for it: what differs between payloads by a thousandth of what
they have in common is read like all else. A network that a defence has blinded does worse than this.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dapter.attacks import granted
from dapter.attacks._inputs import answer_values
from dapter.types import Observed, View

PENALTIES = (1e-6, 1e-4, 1e-2, 1.0, 100.0)
"""Of squared weights, where each value deviates by 1; for each target the best on `val` counts."""

MOST = 4096
"""Values of a payload that are solved for: those of the features of most defences, and of an image of 36 pixels."""

CHUNK = 512


class Values:
    """Payloads and answers as rows of values, each of mean 0 and deviation 1 over the images that are learned from.

    Of a payload with more than MOST values the sums of MOST random groups count, each value with a random sign (the
    count sketch; for regression: Clarkson and Woodruff, STOC 2013).

    Args:
        train: what is observed of the images that are learned from.
        seed: of the groups and signs.
    """

    def __init__(self, train: Observed, seed: int) -> None:
        n, payload = len(granted(train.payloads)), granted(train.payloads)[0].size
        mean = torch.stack([chunk.sum(dim=0) for chunk in _tables(train)]).sum(dim=0) / n
        square = torch.stack([(chunk - mean).square().sum(dim=0) for chunk in _tables(train)]).sum(dim=0) / n
        self.mean, self.deviation = mean, square.sqrt().where(square > 0, 1.0)
        random = torch.Generator().manual_seed(seed)
        self.signs = torch.randint(2, (payload,), generator=random).double() * 2 - 1
        self.groups = torch.randint(MOST, (payload,), generator=random)

    def __call__(self, observed: Observed) -> Iterator[Tensor]:
        """Chunk after chunk, float64 (rows, values)."""
        payload = len(self.signs)
        for table in _tables(observed):
            scaled = (table - self.mean) / self.deviation
            if payload > MOST:
                sums = scaled.new_zeros(len(scaled), MOST)
                sums.index_add_(1, self.groups, scaled[:, :payload] * self.signs)
                scaled = torch.cat([sums, scaled[:, payload:]], dim=1)
            yield scaled


@dataclass(frozen=True)
class Linear:
    """A linear map of the values: times `weights` (values, targets), plus `mean` (targets,)."""

    values: Values
    weights: Tensor
    mean: Tensor

    def __call__(self, observed: Observed) -> Iterator[Tensor]:
        """What it reads, chunk after chunk, float64 (rows, targets)."""
        return (self.mean + chunk @ self.weights for chunk in self.values(observed))


def learn_linear(view: View, targets: np.ndarray, val_targets: np.ndarray, seed: int) -> Linear:
    """The ridge regression of targets on what is observed, for each target with the penalty that is best on `val`.

    Args:
        targets: of each image to learn from, (N, targets); NaN where they are unknown.
        val_targets: of each image to choose by.
        seed: of how many values are summed up in fewer.
    """
    values, mean = Values(view.train.observed(), seed), torch.from_numpy(np.nanmean(targets, axis=0, dtype=np.float64))
    gram = products = torch.zeros((), dtype=torch.float64)
    rows = len(view.draws) * len(targets)
    for known in view.draws:
        for chunk, wanted in zip(values(known.observed()), _chunks(targets), strict=True):
            apart = (wanted - mean).nan_to_num()  # what is unknown counts as the mean
            gram, products = gram + chunk.T @ chunk / rows, products + chunk.T @ apart / rows
    best, least = Linear(values, torch.zeros_like(products), mean), torch.full_like(mean, torch.inf)
    for penalty in PENALTIES:
        ridge = penalty * torch.eye(len(gram), dtype=gram.dtype)
        found = Linear(values, torch.cholesky_solve(products, torch.linalg.cholesky(gram + ridge)), mean)
        parts = [
            (read - wanted).square().nansum(dim=0)
            for read, wanted in zip(found(view.val.observed()), _chunks(val_targets), strict=True)
        ]
        error = torch.stack(parts).sum(dim=0)
        best = Linear(values, found.weights.where(error < least, best.weights), mean)
        least = least.minimum(error)
    return best


def _chunks(targets: np.ndarray) -> Iterator[Tensor]:
    return (chunk.double() for chunk in torch.split(torch.from_numpy(targets), CHUNK))


def _tables(observed: Observed) -> Iterator[Tensor]:
    """All values of payload and answer side by side, chunk after chunk, float64 (rows, values)."""
    payloads, answers = granted(observed.payloads), answer_values(granted(observed.answers))
    for start in range(0, len(payloads), CHUNK):
        rows = slice(start, start + CHUNK)
        flat = payloads[rows].reshape(len(payloads[rows]), -1)
        yield torch.from_numpy(np.concatenate([flat, answers[rows]], axis=1, dtype=np.float64))
