"""A gradient through any client part, also one that has none of its own, such as a choice or a quantiser.

Backward pass differentiable approximation (Athalye, Carlini & Wagner, "Obfuscated gradients give a false sense of
security", ICML 2018): the client part is computed as it is; where it gives no gradient, that of a network that imitates
it takes its place, so that no defender is safe by hiding the gradient.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dapter.attacks import granted
from dapter.attacks._inputs import SAMPLE
from dapter.attacks._training import train_net
from dapter.batches import Batch, to_float
from dapter.data import Split
from dapter.loop import Plan
from dapter.nets.decoders import Unet
from dapter.processes import pick_device
from dapter.runs import Run
from dapter.types import View

Client = Callable[[Tensor], Tensor]
"""Float (N, 3, H, W) in [0, 1] to the same, or to features (N, C, h, w)."""

NOISE = 0.1
"""Deviation of the noise with which an imitation is trained."""

PROBES = 4


def has_gradient(client: Client, images: np.ndarray) -> bool:
    """Whether the client part's output moves with its input, by its own gradient, at some images uint8 (N, H, W, 3)."""
    probes = to_float(images[:PROBES], pick_device()).requires_grad_()
    converted = client(probes)
    if not converted.requires_grad:
        return False
    (gradient,) = torch.autograd.grad(converted.square().sum(), probes, allow_unused=True)
    return gradient is not None and bool(gradient.any())


def imitate(client: Client, known: View, scale: Tensor, width: int, plan: Plan, run: Run, seed: int) -> Client:
    """A U-Net trained to convert as the client part does; differentiable, frozen, in evaluation mode.

    It learns on the way that a search takes, not only at its end: on originals faded towards their mean, with noise.
    Features are the mean over the part of the picture that each stands for, in units of `scale`.

    Args:
        known: originals to train on and to choose by, with their payloads.
        scale: of payloads, (1, C, h, w), or one for each channel (1, C, 1, 1): the unit of distances.
        width: of the U-Net.
        run: a folder for it alone.
    """
    train, val = (Split(granted(part.originals), {}) for part in (known.train, known.val))
    size, channels = granted(known.train.payloads).shape[1:3], scale.shape[1]
    net = Unet(3, channels, width)
    mean = mean_image(train.images)

    def convert(images: Tensor) -> Tensor:
        converted: Tensor = net(images * 2 - 1).float()
        if known.train.is_features:
            return F.adaptive_avg_pool2d(converted, size) * scale
        return torch.sigmoid(converted)

    def loss(batch: Batch) -> Tensor:
        share = torch.rand_like(batch.images[:, :1, :1, :1])
        images = (mean + share * (batch.images - mean) + NOISE * torch.randn_like(batch.images)).clamp(0, 1)
        with torch.no_grad():
            wanted = client(images)
        distance: Tensor = (convert(images) - wanted) / scale
        return distance.square().mean()

    train_net(net, loss, [train], val, plan, run, seed, learning_rate=2e-3)
    net.requires_grad_(False)
    return convert


def with_gradient_of(client: Client, imitation: Client) -> Client:
    """The client part's values with the imitation's gradient."""

    def convert(images: Tensor) -> Tensor:
        imitated = imitation(images)
        converted: Tensor = client(images).detach() + imitated - imitated.detach()
        return converted

    return convert


def mean_image(images: np.ndarray) -> Tensor:
    """The mean of images uint8 (N, H, W, 3), float (3, H, W) in [0, 1]."""
    return to_float(images[:SAMPLE], pick_device()).mean(dim=0)
