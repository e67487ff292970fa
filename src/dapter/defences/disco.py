"""DISCO: for every image a network chooses which channels of the features stay on the device.

Singh, Chopra, Garza, Zhang, Vepakomma, Sharma, Raskar: "DISCO: Dynamic and Invariant Sensitive Channel Obfuscation for
deep neural networks", CVPR 2021. The client part learns for the answer alone; then, with the client part fixed, a
filter generating network learns which channels to prune, against a proxy adversary, while the service part learns to do
without them. Decided here, where the paper and its published code (splitlearning/InferenceBenchmark) differ or say
nothing:

- The code leaves out, from all images of a batch, every channel that one of them prunes, and no gradient reaches the
  filter. Here each image has its own mask of 0 and 1, with the sigmoid's gradient (straight-through; Bengio et al.,
  2013).
- The code trains everything at once, from the start; here there are the paper's two phases.
- In training each score gets noise of the scores' own deviation (as in noisy top-k gating; Shazeer et al., ICLR 2017),
  so that every channel is sent now and then: what one tells that never is, neither proxies nor service part learn, and
  the filter's gradient for it is blind.
- The service part goes on learning in the second phase, or it would never have seen pruned features.
- The proxy restorer is trained by L1, as the paper says; of the code one version takes L1, another L2.
- Several experts, a filter for each secret, prune by the mean of their scores: the share that is pruned stays R.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dapter.batches import Batch
from dapter.defences._adversarial import Adversarial
from dapter.defences._divided import Scaled, channels_after, cross_entropy, cut_resnet
from dapter.defences._restorers import Duo, Found, Hides, Restorer, check_hides, secret_loss, to_hide
from dapter.errors import UsageError
from dapter.service.classifier import Service

TEMPERATURE = 0.03
"""Of the sigmoid whose gradient the mask gets."""

SPREAD = 0.03
"""The deviation that the scores of an image are brought to; with one of 1, one or two of 64 channels got a gradient."""

SCORES = "scores"


class Decoupler(nn.Module):
    """The spatial decoupler: images (N, 3, H, W) to (N, side², H, W), each channel from one part of the image only.

    Of side² equal parts each is resized to the whole size and goes through a convolution with side² filters, whose
    outputs are averaged to one channel. That average is the output of the averaged filter, which is what is computed.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.filters = nn.Conv2d(3, side**2, 3, padding=1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """The channels; an image that cannot be divided evenly gets its last rows and columns repeated."""
        n, colours, height, width = images.shape
        side = self.side
        even = F.pad(images, (0, -width % side, 0, -height % side), mode="replicate")
        rows, columns = even.shape[2] // side, even.shape[3] // side
        parts = even.reshape(n, colours, side, rows, side, columns).permute(0, 2, 4, 1, 3, 5)
        large = F.interpolate(
            parts.reshape(-1, colours, rows, columns), (height, width), mode="bilinear", align_corners=False
        )
        found = F.conv2d(large, self.filters.weight.mean(dim=0, keepdim=True), padding=1)
        return found.reshape(n, side**2, height, width)


class Filters(nn.Module):
    """Filter generating networks: features (N, C, h, w) to their scores of the channels, (N, filters, C).

    Args:
        nets: the rest of a network, with a head of C scores each.
    """

    def __init__(self, nets: Iterable[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, features: Tensor) -> Tensor:
        """The scores; the channels with the lowest are pruned."""
        return torch.stack([net(features)[SCORES] for net in self.nets], dim=1)


def prune(features: Tensor, scores: Tensor, pruning: Tensor) -> Tensor:
    """Features with the channels set to 0 that have the lowest scores: of each image the share `pruning`.

    Args:
        features: (N, C, h, w).
        scores: (N, C); they get the gradient of a sigmoid around the lowest score that is kept, once their deviation
            in each image is SPREAD: so most channels get a share of it, however far scores spread.
        pruning: R, a scalar in [0, 1]; rounded to whole channels.
    """
    channels = scores.shape[1]
    pruned = (pruning * channels).round().long()
    order = scores.argsort(dim=1)
    kept = (order.argsort(dim=1) >= pruned).to(scores.dtype)
    level = SPREAD * F.layer_norm(scores.float(), (channels,))
    threshold = level.gather(1, order)[:, pruned.clamp(max=channels - 1)]
    soft = torch.sigmoid((level - threshold[:, None]) / TEMPERATURE)
    mask = kept + (soft - soft.detach())
    return features * mask[:, :, None, None]


class Pruned(nn.Module):
    """The client part, its features pruned as much as chosen, unless `forward` is given another share."""

    def __init__(self, client: nn.Module, filters: nn.Module, pruning: float) -> None:
        super().__init__()
        self.client, self.filters, self.pruning = client, filters, pruning

    @property
    def whole(self) -> nn.Module:
        """The client part with all its channels."""
        return self.client

    def forward(self, images: Tensor, pruning: Tensor | None = None) -> Tensor:
        """What is sent."""
        features = self.client(images)
        chosen = images.new_tensor(self.pruning) if pruning is None else pruning
        return prune(features, self.filters(features).mean(dim=1), chosen)


class _Proxies(nn.Module):
    """A proxy adversary for each filter."""

    def __init__(self, duos: list[Duo]) -> None:
        super().__init__()
        self.duos = nn.ModuleList(duos)

    def forward(self, views: Tensor) -> list[Found]:
        """What they find, each in its own view of what is sent: views are (filters, N, C, h, w)."""
        return [duo(view) for duo, view in zip(self.duos, views, strict=True)]


@dataclass(eq=False)
class Disco(Adversarial):
    """A ResNet18 cut in two, whose features are pruned channel by channel before they are sent.

    Attributes:
        pruning: R, the share of the channels that is pruned. Another one may be chosen in use; the service part has
            learned with this one.
        pruning_range: (low, high), what may be chosen.
        decoupler: d: the first convolution becomes the spatial decoupler with d² parts; d² must be the width. 0: none.
        hides: the task's `secrets`, the `image`, or `both`.
        experts: a filter for each secret, and one for the image, on the one client part; otherwise one for all.
        weight: of the proxy adversaries' losses against the answer's.
        pretrain: the share of the training in which client and service part learn to answer, before there is a filter.
    """

    pruning: float = 0.9
    pruning_range: tuple[float, float] = (0.0, 1.0)
    decoupler: int = 0
    hides: Hides = "both"
    experts: bool = False
    weight: float = 1.0
    pretrain: float = 0.5

    def __post_init__(self) -> None:
        check_hides(self.hides)
        low, high = self.pruning_range = (self.pruning_range[0], self.pruning_range[1])
        if not 0 <= low <= self.pruning <= high <= 1:
            raise UsageError(f"pruning {self.pruning} must be in its range {low} to {high}, and that in [0, 1]")
        if not 0 < self.pretrain < 1:
            raise UsageError(f"pretrain is {self.pretrain}. Cure: a share of the training, above 0 and below 1")
        if self.decoupler and self.decoupler**2 != self.width:
            raise UsageError(f"a decoupler of {self.decoupler} needs width {self.decoupler**2}. Cure: that width, or 0")

    @property
    def phases(self) -> tuple[float, ...]:
        """The second begins with the filter."""
        return (self.pretrain,)

    def adjustable(self) -> frozenset[str]:
        """The pruning ratio R."""
        return frozenset({"pruning"})

    def client(self) -> nn.Module:
        """The client part with its filter."""
        nets = self.learner.nets
        return Pruned(nets["client"], nets["filters"], self.pruning)

    def _build(self, service: Service | None) -> Mapping[str, nn.Module]:
        nets = super()._build(service)
        if self.decoupler:
            scaled = nets["client"]
            assert isinstance(scaled, Scaled)
            assert isinstance(scaled.net, nn.Sequential)
            scaled.net[0] = Decoupler(self.decoupler)
        scores = {SCORES: channels_after(self.width, self.blocks)}
        return {**nets, "filters": Filters(cut_resnet(self.width, self.blocks, scores)[1] for _ in self._groups)}

    @property
    def _groups(self) -> list[tuple[dict[str, int], bool]]:
        """What each filter hides: secrets, and whether the image."""
        secrets, image = to_hide(self.hides, self.wanted)
        if not self.experts:
            return [(secrets, image)]
        return [({name: count}, False) for name, count in secrets.items()] + ([({}, True)] if image else [])

    def _adversary(self) -> nn.Module:
        channels = channels_after(self.width, self.blocks)
        return _Proxies(
            [
                Duo(
                    cut_resnet(self.width, self.blocks, secrets)[1] if secrets else None,
                    Restorer(channels, self.width, self.wanted.image_size) if image else None,
                )
                for secrets, image in self._groups
            ]
        )

    def _mistaken(self, found: list[Found], batch: Batch) -> Tensor:
        """Cross-entropy of the secrets and L1 of the image, summed."""
        losses = [secret_loss(guesses, batch) for guesses, _ in found]
        losses += [F.l1_loss(restored, batch.images) for _, restored in found if restored is not None]
        return torch.stack(losses).sum()

    def _privacy(self, found: list[Found], batch: Batch) -> Tensor:
        return -self.weight * self._mistaken(found, batch)

    def _forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Each filter's view of what is sent, (filters, N, C, h, w), and the cross-entropy of the answer.

        The views are equal, but through each the gradient reaches its own filter only; the client part gets none.
        """
        nets, pruning = self.learner.nets, batch.images.new_tensor(self.pruning)
        with self.learner.autocast():
            with torch.no_grad():
                features = nets["client"].eval()(batch.images)
            scores = self.learner.net("filters")(features)
            if self.learner.nets.training:
                scores = scores + scores.detach().std(dim=2, keepdim=True) * torch.randn_like(scores)
            logits = self.learner.net("server")(prune(features, scores.mean(dim=1), pruning))
            views = [prune(features, _only(scores, place), pruning) for place in range(scores.shape[1])]
        return torch.stack(views), cross_entropy(logits, batch.labels)

    def update(self, batch: Batch, service: Service) -> dict[str, float]:
        """A step of the first phase, or of the second: the proxies, then filter and service part."""
        if batch.progress < self.pretrain:
            _, loss = super()._forward(batch)
            self.learner.descend(loss, "both")
            return {"loss": float(loss.detach())}
        return super().update(batch, service)


def _only(scores: Tensor, place: int) -> Tensor:
    """The mean of all filters' scores (N, filters, C), with a gradient for one filter."""
    mixed = scores.detach().clone()
    mixed[:, place] = scores[:, place]
    return mixed.mean(dim=1)
