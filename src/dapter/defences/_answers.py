"""Answers of a service with several targets, as one."""

import itertools
from collections.abc import Collection, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from dapter.batches import Batch
from dapter.errors import UsageError
from dapter.service.classifier import Service


def sizes_of(service: Service) -> dict[str, int]:
    """How many classes each target has."""
    return {name: len(classes) for name, classes in service.classes.items()}


def those_given(sizes: Mapping[str, int], given: Collection[str] | None) -> dict[str, int]:
    """The targets beyond whose answer bits are counted, each with its number of classes; None: all.

    Raises:
        UsageError: the service does not answer one of them.
    """
    if unknown := sorted(set(given or ()) - set(sizes)):
        raise UsageError(f"given names {', '.join(unknown)}. Cure: targets of the service: {', '.join(sizes)}")
    return {name: size for name, size in sizes.items() if given is None or name in given}


def labels_of(batch: Batch, service: Service) -> dict[str, Tensor]:
    """The labels of each target, int64 (N,).

    Raises:
        UsageError: those of a target are missing.
    """
    missing = sorted(set(service.targets) - set(batch.labels))
    if missing:
        raise UsageError(f"no labels of {', '.join(missing)}. Cure: labels='service' trains without any")
    return {name: batch.labels[name] for name in service.targets}


def accuracy(answer: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
    """Cross-entropy, batch mean, summed over the targets.

    Args:
        answer: logits (N, classes) of each target.
        wanted: labels (N,), or distributions (N, classes).
    """
    return torch.stack([F.cross_entropy(answer[name], values) for name, values in wanted.items()]).sum()


def joint(found: Mapping[str, Tensor], sizes: Mapping[str, int]) -> Tensor:
    """One number for the classes of all targets in `sizes`, int64 (N,); of logits or distributions the likeliest."""
    number = torch.zeros(1, dtype=torch.int64)
    for name, size in sizes.items():
        values = found[name]
        number = number.to(values.device) * size + (values.argmax(dim=1) if values.ndim == 2 else values)
    return number


def together(found: Mapping[str, Tensor], sizes: Mapping[str, int]) -> Tensor:
    """The probability of each joint answer, float32 (N, answers), numbered as by `joint`.

    Args:
        found: of each target labels (N,), or probabilities (N, classes).
        sizes: the targets, each with its number of classes.
    """
    product = torch.ones(1, 1)
    for name, size in sizes.items():
        values = found[name]
        each = values if values.ndim == 2 else F.one_hot(values, size)
        product = (product.to(values.device)[:, :, None] * each[:, None, :]).flatten(1)
    return product


def every(sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """Every joint answer, in the order of `joint`: of each target the class, int64 (answers,)."""
    answers = torch.tensor(list(itertools.product(*(range(size) for size in sizes.values()))))
    return dict(zip(sizes, answers.T, strict=True))


def one_hot(stamps: Tensor, alphabet: int) -> Tensor:
    """A choice of stamps, int64 (N, cells), as distributions, float32 (N, cells, K); so also of answers (N,)."""
    return F.one_hot(stamps, alphabet).float()
