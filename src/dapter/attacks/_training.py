"""What all attackers that train a network share: one loop, one loss for secrets, one way to ask the trained net."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dapter.attacks._inputs import SMALL
from dapter.batches import Batch, batches, to_float
from dapter.data import UNKNOWN, Split
from dapter.loop import CURVE, Learner, Plan, fit
from dapter.processes import pick_device
from dapter.runs import Run, fingerprint

ANSWER = "answer of the service"
"""Beside the secrets' labels, where a batch carries the answer's values."""

ASK_BATCH = 512

Loss = Callable[[Batch], Tensor]


def train_net(
    net: nn.Module,
    loss: Loss,
    train: Sequence[Split],
    val: Split,
    plan: Plan,
    run: Run,
    seed: int,
    *,
    learning_rate: float,
    mirror: bool = True,
) -> None:
    """Train a network in place with AdamW (Loshchilov & Hutter, ICLR 2019); its curve is kept in the run's folder.

    Features are not mirrored: they would not be those of the mirrored image. Where each place has a meaning of its own
    (SMALL), they are not shifted either.

    Args:
        loss: of a batch, by the network; a differentiable scalar.
        train: the images to learn from; of a random defence one split for each of `View.draws`.
        val: selects among epochs.
    """
    payloads = train[0].images
    features = payloads.dtype != np.uint8
    plan = replace(plan, augment=plan.augment and not (features and max(payloads.shape[1:3]) <= SMALL))
    adam = torch.optim.AdamW(net.parameters(), learning_rate, weight_decay=0.01)
    learner = Learner({"net": net.to(pick_device())}, {"adam": adam})

    def update(batch: Batch) -> Mapping[str, float]:
        with learner.autocast():
            found = loss(batch)
        learner.descend(found, "adam")
        return {"loss": float(found.detach())}

    run_loop(learner, update, loss, train, val, plan, run, seed, mirror and not features)


def run_loop(
    learner: Learner,
    update: Callable[[Batch], Mapping[str, float]],
    loss: Loss,
    train: Sequence[Split],
    val: Split,
    plan: Plan,
    run: Run,
    seed: int,
    mirror: bool = True,
) -> None:
    """`loop.fit`, with the epoch chosen whose mean `loss` on `val` is the smallest; the curve is kept in the folder."""

    @torch.no_grad()
    def validate() -> Mapping[str, float]:
        total = 0.0
        for batch in batches(val, ASK_BATCH, learner.device):
            with learner.autocast():
                total += float(loss(batch)) * len(batch.images)
        return {"loss": total / len(val)}

    run.write_lines(CURVE, fit(learner, update, validate, train, plan, run, seed, mirror))


class SecretsLoss:
    """Cross-entropy of the secrets, each on its known labels and in units of its own entropy, so that all count alike.

    Args:
        secrets: labels of the training images, for each secret int64 (N,).
        classes: for each secret the number of its values.
    """

    def __init__(self, secrets: Mapping[str, np.ndarray], classes: Mapping[str, int]) -> None:
        self.units = {name: max(0.05, _entropy(secrets[name], count)) for name, count in classes.items()}

    def __call__(self, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
        """The mean over the secrets; images of unknown label are left out."""
        parts = []
        for name, unit in self.units.items():
            known = (labels[name] != UNKNOWN).sum().clamp(min=1)
            total = F.cross_entropy(logits[name].float(), labels[name], ignore_index=UNKNOWN, reduction="sum")
            parts.append(total / known / unit)
        return torch.stack(parts).mean()


def _entropy(labels: np.ndarray, classes: int) -> float:
    """Entropy of the known labels in nats."""
    rates = np.bincount(labels[labels != UNKNOWN], minlength=classes) / max(1, np.sum(labels != UNKNOWN))
    return float(-np.sum(rates * np.log(rates.clip(min=1e-12))))


@torch.no_grad()
def ask(net: nn.Module, forward: Callable[[Tensor, Tensor], Tensor], images: np.ndarray, answer: np.ndarray) -> Tensor:
    """Apply a trained network to images uint8 (N, H, W, 3) and answers float32 (N, values), in batches, in float32.

    Returns:
        What `forward` gives, on the CPU, one row an image.
    """
    device = pick_device()
    net.to(device).eval()
    found = []
    for start in range(0, len(images), ASK_BATCH):
        rows = slice(start, start + ASK_BATCH)
        batch = to_float(images[rows], device), torch.from_numpy(answer[rows]).to(device)
        found.append(forward(*batch).float().cpu())
    return torch.cat(found)


def ask_secrets(
    net: nn.Module, classes: Mapping[str, int], images: np.ndarray, answer: np.ndarray
) -> dict[str, np.ndarray]:
    """The scores of every secret, float32 (N, classes), of a network that gives them as a mapping; as for `ask`."""

    def side_by_side(images: Tensor, answer: Tensor) -> Tensor:
        logits = net(images, answer)
        return torch.cat([logits[name] for name in classes], dim=1)

    parts = torch.split(ask(net, side_by_side, images, answer), list(classes.values()), dim=1)
    return {name: scores.numpy() for name, scores in zip(classes, parts, strict=True)}


def digest(*arrays: np.ndarray) -> str:
    """SHA-256 over arrays, to know the same training set again."""
    parts = [[list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()] for array in arrays]
    return fingerprint(parts)


def blank(n: int) -> np.ndarray:
    """Images of one pixel, for the loop of a network that sees the answer only: uint8 (n, 1, 1, 3)."""
    return np.zeros((n, 1, 1, 3), np.uint8)
