"""What the defences share that cut one network in two: the client part sends features, the service part answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dapter.batches import Batch, to_float
from dapter.defences import Defence, Task
from dapter.errors import UsageError
from dapter.nets.classifiers import build_classifier
from dapter.service.classifier import Service
from dapter.types import Answer, Payload

STEM = 3
"""Layers of a residual network before its first block: convolution, normalisation, ReLU."""

BLOCKS = 8
"""Residual blocks of a ResNet18."""

ASK_BATCH = 256


class Heads(nn.Module):
    """The rest of a network: features (N, C, h, w) to logits (N, classes), one head for each label."""

    def __init__(self, body: nn.Module, channels: int, labels: Mapping[str, int]) -> None:
        super().__init__()
        self.body = body
        self.names = tuple(labels)
        self.heads = nn.ModuleList(nn.Linear(channels, count) for count in labels.values())

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """For each label, logits float32 (N, classes)."""
        found = F.adaptive_avg_pool2d(self.body(features), 1).flatten(1)
        return {name: head(found).float() for name, head in zip(self.names, self.heads, strict=True)}


class Scaled(nn.Module):
    """A network whose input is an image, float (N, 3, H, W) in [0, 1]: scales it to [-1, 1]."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """What the network gives."""
        found: Tensor = self.net(images * 2 - 1)
        return found


def cut_resnet(width: int, blocks: int, labels: Mapping[str, int]) -> tuple[nn.Module, Heads]:
    """A ResNet18 (He et al., CVPR 2016) in two parts.

    Args:
        width: channels of its first stage.
        blocks: of its eight residual blocks, how many are in the client part; 0: its first convolution only; 8: all,
            and the mean over all places, from which two dense layers answer.
        labels: what the service part answers, each with the number of its values.

    Raises:
        UsageError: it has no such block.
    """
    if not 0 <= blocks <= BLOCKS:
        raise UsageError(f"the cut is after {blocks} blocks of ResNet18. Cure: 0 to {BLOCKS}")
    features = build_classifier("resnet18", 2, width).features
    assert isinstance(features, nn.Sequential)
    layers = list(features)
    client, rest = (nn.Sequential(*part) for part in (layers[: STEM + blocks], layers[STEM + blocks :]))
    if blocks == BLOCKS:
        client.append(nn.AdaptiveAvgPool2d(1))
        rest = nn.Sequential(_dense(8 * width, 16 * width), _dense(16 * width, 8 * width))
    return Scaled(client), Heads(rest, 8 * width, labels)


def _dense(inside: int, outside: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inside, outside, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU())


def channels_after(width: int, blocks: int) -> int:
    """Channels of the features of such a client part, which have places: pictures, of which some may be left out.

    Raises:
        UsageError: they have none.
    """
    if blocks == BLOCKS:
        raise UsageError(f"after {BLOCKS} blocks no place is left in the features. Cure: blocks 0 to {BLOCKS - 1}")
    return width * int(2 ** max(0, (blocks - 1) // 2))


def shape_of(client: nn.Module, size: tuple[int, int]) -> tuple[int, int, int]:
    """(C, h, w) of the features that a client part makes of an image of that height and width."""
    with torch.no_grad():
        _, channels, height, width = client.eval()(torch.zeros(1, 3, *size)).shape
    return channels, height, width


def cross_entropy(logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
    """Mean over the images whose label is known (not -1), and over the labels that are answered.

    A mean, so that hiding many secrets weighs as much against one answer as hiding one.
    """
    sums = [F.cross_entropy(found, labels[name], ignore_index=-1, reduction="sum") for name, found in logits.items()]
    known = [(labels[name] >= 0).sum().clamp(min=1) for name in logits]
    return (torch.stack(sums) / torch.stack(known)).mean()


@dataclass(eq=False)
class Divided(Defence):
    """Base of the defences that change the service. Its networks are named `client` and `server`, whatever else."""

    needs_service_change: ClassVar[bool] = True
    sends: ClassVar[Literal["image", "features"]] = "features"

    @property
    def wanted(self) -> Task:
        """What it is set up for.

        Raises:
            UsageError: it was not said.
        """
        if self.task is None:
            raise UsageError("this defence changes the service, and must know its targets. Cure: give `setup` a Task")
        return self.task

    def client(self) -> nn.Module:
        """The client part, to features (N, C, h, w)."""
        return self.learner.nets["client"]

    def server(self) -> nn.Module:
        """The service part: features (N, C, h, w) to logits of every target."""
        return self.learner.nets["server"]

    def tail(self, payload: Payload, service: Service) -> Answer:
        """What the changed service answers; the service that was there before is not asked."""
        return self.answer(payload)

    @torch.no_grad()
    def answer(self, payload: Payload) -> Answer:
        """What the service part answers."""
        server = self.server().eval()
        parts: dict[str, list[np.ndarray]] = {name: [] for name in self.wanted.targets}
        for start in range(0, len(payload.values), ASK_BATCH):
            logits = server(to_float(payload.values[start : start + ASK_BATCH], self.learner.device))
            for name, found in parts.items():
                found.append(logits[name].cpu().numpy())
        empty = {name: np.zeros((0, count), np.float32) for name, count in self.wanted.targets.items()}
        return Answer({name: np.concatenate([empty[name], *found]) for name, found in parts.items()})


@dataclass(eq=False)
class Joint(Divided):
    """Base of those whose two parts are trained together by Adam, for the answer alone unless they say more.

    Attributes:
        width: channels of the first stage of their ResNet18.
        learning_rate: of Adam.
    """

    width: int = 16
    learning_rate: float = 2e-3

    def _optimizers(self, nets: Mapping[str, nn.Module]) -> Mapping[str, torch.optim.Optimizer]:
        return {"both": torch.optim.Adam(nn.ModuleDict(nets).parameters(), lr=self.learning_rate)}

    def _send(self, images: Tensor) -> Tensor:
        """What is sent in training for images, float (N, 3, H, W) in [0, 1]."""
        found: Tensor = self.learner.net("client")(images)
        return found

    def _forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What is sent, and the cross-entropy of the answer to it."""
        with self.learner.autocast():
            sent = self._send(batch.images)
            logits = self.learner.net("server")(sent)
        return sent, cross_entropy(logits, batch.labels)

    def losses(self, batch: Batch, service: Service) -> dict[str, Tensor]:
        """`loss`: cross-entropy of the answer."""
        return {"loss": self._forward(batch)[1]}

    def update(self, batch: Batch, service: Service) -> dict[str, float]:
        """One step of Adam."""
        losses = self.losses(batch, service)
        self.learner.descend(losses["loss"], "both")
        return {name: float(value.detach()) for name, value in losses.items()}


@dataclass(eq=False)
class Cut(Joint):
    """Base of those that cut a ResNet18 in two.

    Attributes:
        blocks: of its eight residual blocks, how many are in the client part.
    """

    blocks: int = 6

    def _build(self, service: Service | None) -> Mapping[str, nn.Module]:
        client, server = cut_resnet(self.width, self.blocks, self.wanted.targets)
        return {"client": client, "server": server}
