"""What every format exports: the client part with 8-bit images at both ends, its normalisation folded away."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class Graph(nn.Module):
    """A client part from `image` to `payload`, both uint8 (N, H, W, 3), without anything that only training needs.

    Args:
        client: float (N, 3, H, W) in [0, 1] to the same; with a dial, a scalar tensor is its second argument.
        dtype: what it computes with.
    """

    def __init__(self, client: nn.Module, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.client = _fold(copy.deepcopy(client).cpu().eval())
        self.dtype = dtype
        for part in self.client.modules():
            if isinstance(part, (nn.Conv2d, nn.Linear)):  # whatever else has values, such as colours, keeps them
                part.to(dtype)

    def forward(self, image: Tensor, dial: Tensor | None = None) -> Tensor:
        """Convert; rounds half to even, as `Defence.protect` does."""
        images = image.permute(0, 3, 1, 2).to(self.dtype) / 255
        floats = self.client(images) if dial is None else self.client(images, dial)
        payload: Tensor = (floats.float() * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        return payload


def _fold(module: nn.Module) -> nn.Module:
    """Put each batch normalisation into the convolution right before it, in place."""
    for part in module.modules():
        if not isinstance(part, nn.Sequential):
            continue
        for i in range(len(part) - 1):
            convolution, normalisation = part[i], part[i + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d):
                part[i], part[i + 1] = fuse_conv_bn_eval(convolution, normalisation), nn.Identity()
    return module
