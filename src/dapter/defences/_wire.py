"""What lossy codecs do to a picture of stamps, differentiably."""

import torch
import torch.nn.functional as F
from torch import Tensor

TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
"""RGB to luma and two chroma channels around 0 (JFIF 1.02; ITU-R BT.601)."""


def halve_chroma(images: Tensor) -> Tensor:
    """Store colour at half the size and restore it, as JPEG and WebP do (4:2:0): colours bleed over sharp edges.

    Quantisation changes pictures of few colours little and is left out.

    Args:
        images: float (N, 3, H, W) in [0, 1].

    Returns:
        The same shape and range, float32.
    """
    matrix = torch.tensor(TO_YCC, device=images.device)
    pixels = images.float().permute(0, 2, 3, 1)
    full = _mix(pixels, matrix).permute(0, 3, 1, 2)
    small = F.avg_pool2d(full[:, 1:], 2, ceil_mode=True)
    large = F.interpolate(small, images.shape[-2:], mode="bilinear", align_corners=False)
    restored = torch.cat([full[:, :1], large], dim=1).permute(0, 2, 3, 1)
    return _mix(restored, matrix.inverse()).permute(0, 3, 1, 2).clamp(0, 1)


def _mix(pixels: Tensor, matrix: Tensor) -> Tensor:
    """Channels (..., 3) times a matrix; sums of products, which autocast leaves in float32."""
    return (pixels[..., None, :] * matrix).sum(dim=-1)
