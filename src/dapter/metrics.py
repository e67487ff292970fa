"""Figures of merit: rates with 95 % intervals, and per-image measures of pictures. Pure functions.

Rates take integer labels of at least 0: leave images of unknown label out before. Image measures give one value
an image; `mean_interval` turns those into a mean with its interval.
"""

from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from dapter.errors import UsageError
from dapter.imagefile import encode
from dapter.types import GREY, check_images

Z = NormalDist().inv_cdf(0.975)
"""Standard deviations either side of the mean that hold 95 % of a normal distribution."""

WINDOW = 11
"""Side of SSIM's Gaussian window in pixels, sigma 1.5 (Wang et al. 2004)."""

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the scales of MS-SSIM, finest first (Wang et al. 2003)."""

PSNR_CEILING = 100.0
"""PSNR of two identical images in dB; the true value is infinite and would swallow every mean."""

WIRE = {"png": ("PNG", None), "webp_lossless": ("WEBP", None), "webp_q75": ("WEBP", 75), "jpeg_q75": ("JPEG", 75)}
"""The codecs of `wire_bytes`, each with its quality (None: lossless)."""

CHUNK = 2**21
"""Values of one batch that are measured at once; bounds the memory."""


class Estimate(NamedTuple):
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a rate (Wilson 1927): sound at 0 and 1 and for small `n`, always within [0, 1].

    Raises:
        UsageError: no trials, or more successes than trials.
    """
    if not 0 <= successes <= n or n == 0:
        raise UsageError(f"{successes} successes of {n} make no rate. Cure: count at least one trial")
    rate = successes / n
    centre = (rate + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(rate * (1 - rate) / n + Z**2 / (4 * n**2))
    return float(min(max(centre - half, 0.0), rate)), float(max(min(centre + half, 1.0), rate))


def mean_interval(values: np.ndarray) -> Estimate:
    """The mean of per-image values with its 95 % normal interval.

    Raises:
        UsageError: fewer than two values, so that their spread is unknown.
    """
    if len(values) < 2:
        raise UsageError(f"{len(values)} values have no interval. Cure: measure at least 2 images")
    mean = float(np.mean(values, dtype=np.float64))
    half = Z * float(np.std(values, ddof=1, dtype=np.float64)) / len(values) ** 0.5
    return Estimate(mean, mean - half, mean + half)


def accuracy(predicted: np.ndarray, truth: np.ndarray) -> Estimate:
    """Share of right predictions, with Wilson's interval. Both int (N,)."""
    _check_labels(predicted, truth)
    hits = int(np.sum(predicted == truth))
    return Estimate(hits / len(truth), *wilson(hits, len(truth)))


def agreement(answers: np.ndarray, others: np.ndarray) -> Estimate:
    """Share of images that get the same answer twice, with Wilson's interval. Both int (N,)."""
    return accuracy(answers, others)


def balanced_accuracy(predicted: np.ndarray, truth: np.ndarray) -> Estimate:
    """Mean over the classes that occur in `truth` of the share predicted rightly. Both int (N,).

    The interval joins the classes' Wilson intervals by the square-and-add rule (MOVER; Zou and Donner 2008), so
    it does not shrink to nothing when every prediction is right.
    """
    _check_labels(predicted, truth)
    classes, place = np.unique(truth, return_inverse=True)
    n = np.bincount(place)
    hits = np.bincount(place, weights=predicted == truth).astype(np.int64)
    rates = hits / n
    low, high = np.array([wilson(int(hit), int(total)) for hit, total in zip(hits, n, strict=True)]).T
    mean = float(rates.mean())
    below = float(np.sqrt(np.sum((rates - low) ** 2))) / len(classes)
    above = float(np.sqrt(np.sum((high - rates) ** 2))) / len(classes)
    return Estimate(mean, max(mean - below, 0.0), min(mean + above, 1.0))


def auc(scores: np.ndarray, truth: np.ndarray) -> Estimate:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties count half.

    Computed on ranks, so that no squashing to [0, 1] makes ties of large logits. The interval inverts the
    variance of Hanley and McNeil (1982) as Wilson's does for a rate (Newcombe 2006, method 5): it holds at 0 and 1.

    Args:
        scores: higher means class 1, (N,).
        truth: 0 or 1, (N,).

    Raises:
        UsageError: other labels, only one of the two classes, or scores that are not finite.
    """
    _check_labels(truth, truth)
    positives, negatives = scores[truth == 1], np.sort(scores[truth == 0])
    if len(positives) + len(negatives) != len(scores) or not len(positives) or not len(negatives):
        raise UsageError("AUC needs labels 0 and 1, and images of both. Cure: choose a label with two classes")
    if not np.isfinite(scores).all():
        raise UsageError("AUC needs finite scores. Cure: find out why the attack or service gave NaN or infinity")
    area = rank_area(positives, negatives)
    return Estimate(area, *_auc_interval(area, len(positives), len(negatives)))


def rank_area(positives: np.ndarray, negatives: np.ndarray) -> float:
    """The chance that a positive scores above a negative, ties count half; `negatives` are sorted, neither is empty."""
    below = np.searchsorted(negatives, positives, "left") + np.searchsorted(negatives, positives, "right")
    return float(np.mean(below / (2 * len(negatives))))


def _auc_interval(area: float, positives: int, negatives: int) -> tuple[float, float]:
    extra = (positives + negatives) / 2 - 1

    def excess(true: float) -> float:
        spread = 1 + extra * ((1 - true) / (2 - true) + true / (1 + true))
        return (area - true) ** 2 - Z**2 * true * (1 - true) * spread / (positives * negatives)

    def crossing(outside: float) -> float:
        inside = area
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if excess(middle) <= 0 else (inside, middle)
        return inside

    return crossing(0.0), crossing(1.0)


def calibration_error(logits: np.ndarray, truth: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error of softmax(logits), in [0, 1] (Guo et al. 2017: equal bins, closed to the right).

    torchmetrics' own puts confidences of exactly 1 into a bin of their own and takes logits that happen to lie in
    [0, 1] for probabilities, so it is not used here.

    Args:
        logits: (N, classes).
        truth: int (N,).
    """
    _check_labels(truth, truth)
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    confidence = powers.max(axis=1) / powers.sum(axis=1)
    right = logits.argmax(axis=1) == truth
    place = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    gaps = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(truth))


def _check_labels(predicted: np.ndarray, truth: np.ndarray) -> None:
    if predicted.shape != truth.shape or truth.ndim != 1 or len(truth) == 0:
        raise UsageError(f"labels {predicted.shape} and {truth.shape} do not match. Cure: give one of each an image")
    if truth.dtype.kind not in "iub" or truth.min() < 0:
        raise UsageError("labels must be whole numbers from 0. Cure: leave out images whose label is unknown (-1)")


def entropy_nats(images: np.ndarray) -> np.ndarray:
    """Image entropy as in DAPter: the sum over R, G, B of the entropy of the 256-bin histogram, in nats.

    A statistic of a picture, never a measure of privacy.

    Args:
        images: uint8 (N, H, W, 3).

    Returns:
        float64 (N,), from 0 to 3 ln 256.
    """
    check_images(images)
    pixels = images.shape[1] * images.shape[2]
    found = []
    for (part,) in _chunks(images):
        offset = 256 * np.arange(3 * len(part)).reshape(len(part), 1, 1, 3)
        counts = np.bincount((part + offset).ravel(), minlength=768 * len(part)).reshape(len(part), 768)
        found.append(3 * np.log(pixels) - np.sum(counts * np.log(np.maximum(counts, 1)), axis=1) / pixels)
    return _join(found).clip(min=0)


def entropy_bits(images: np.ndarray) -> np.ndarray:
    """`entropy_nats` in bits: float64 (N,), from 0 to 24."""
    bits: np.ndarray = entropy_nats(images) / np.log(2)
    return bits


def eta(images: np.ndarray) -> np.ndarray:
    """Distance of each image from grey: mean |I - 128| / 127.5, float64 (N,). Images are uint8 (N, H, W, 3).

    From 0 to 1 as long as no value is 0, which lies a half step further: black has 1.004.
    """
    check_images(images)
    found = [np.abs(part.astype(np.int16) - GREY).mean(axis=(1, 2, 3)) / 127.5 for (part,) in _chunks(images)]
    return _join(found)


def l1(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mean absolute difference of each pair, on the scale [0, 1]: float64 (N,). Inputs as for `ssim`."""
    return _compare(lambda left, right: np.abs(left - right).mean(axis=(1, 2, 3), dtype=np.float64), images, others)


def mse(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mean squared difference of each pair, on the scale [0, 1]: float64 (N,). Inputs as for `ssim`."""
    return _compare(lambda left, right: ((left - right) ** 2).mean(axis=(1, 2, 3), dtype=np.float64), images, others)


def psnr(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each pair in dB, at most PSNR_CEILING: float64 (N,). Inputs as for `ssim`.

    The peak is 255 for uint8 and 1 for floats; 255 on images in [0, 1] would add 48 dB to every figure.
    """
    floor = 10 ** (-PSNR_CEILING / 10)
    decibels: np.ndarray = -10 * np.log10(mse(images, others).clip(min=floor))
    return decibels


def ssim(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Structural similarity of each pair (Wang et al. 2004): float64 (N,), 1 for identical images.

    Window of 11 pixels, sigma 1.5, mirrored at the border; the mean over R, G and B. In float32: right to about
    0.003 where images are flat (float64 is ten times slower).

    Args:
        images: uint8 (N, H, W, 3), or floats in [0, 1] of that shape; at least 11 pixels a side.
        others: the same.

    Raises:
        UsageError: shapes differ, images are smaller than the window, or floats are outside [0, 1].
    """
    from torchmetrics.functional.image import structural_similarity_index_measure as measure

    _scales(images)
    return _compare(lambda left, right: _with_torch(measure, left, right), images, others)


def ms_ssim(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Multi-scale structural similarity of each pair (Wang et al. 2003): float64 (N,) in [0, 1]. Inputs as for `ssim`.

    Five scales need 176 pixels. Smaller images get as many as fit (99: four, 44: three, 22: two, 11: one) with
    the first of the standard weights, made to sum to 1: compare only figures of one image size.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as measure

    weights = MS_SSIM_WEIGHTS[: _scales(images)]
    betas = tuple(weight / sum(weights) for weight in weights)
    settings = {"betas": betas, "normalize": "relu"}
    return _compare(lambda left, right: _with_torch(measure, left, right, **settings), images, others)


def _scales(images: np.ndarray) -> int:
    """How many scales of MS-SSIM an image has room for; torchmetrics asks for more than the window at four."""
    side = min(images.shape[1:3])
    if side < WINDOW:
        raise UsageError(f"SSIM needs images of {WINDOW} pixels a side, not {side}. Cure: use larger images, or L1")
    return sum(side >= smallest for smallest in (11, 22, 44, 99, 176))


def _with_torch(measure: Callable[..., Any], left: np.ndarray, right: np.ndarray, **settings: object) -> np.ndarray:
    import torch

    first, second = (torch.from_numpy(array).movedim(3, 1).contiguous() for array in (left, right))
    with torch.inference_mode():
        found = measure(first, second, data_range=1.0, reduction="none", **settings)
    return np.asarray(found.numpy(), dtype=np.float64).reshape(len(left))


def _compare(
    measure: Callable[[np.ndarray, np.ndarray], np.ndarray], images: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """Apply a measure of float32 pairs in [0, 1], chunk by chunk."""
    if images.shape != others.shape or images.ndim != 4:
        raise UsageError(f"images {images.shape} and {others.shape} cannot be compared. Cure: same count and size")
    found = [measure(_unit(left), _unit(right)) for left, right in _chunks(images, others)]
    return _join(found)


def _unit(images: np.ndarray) -> np.ndarray:
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    if images.dtype.kind != "f" or not (images.min() >= 0 and images.max() <= 1):
        raise UsageError(f"images must be uint8, or floats in [0, 1]; these are {images.dtype}. Cure: divide by 255")
    return images.astype(np.float32)


def _chunks(*batches: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    step = max(1, CHUNK // max(1, int(np.prod(batches[0].shape[1:]))))
    for start in range(0, len(batches[0]), step):
        yield tuple(batch[start : start + step] for batch in batches)


def _join(found: list[np.ndarray]) -> np.ndarray:
    joined: np.ndarray = np.concatenate([*found, np.empty(0)])
    return joined


def wire_bytes(images: np.ndarray) -> dict[str, np.ndarray]:
    """Encoded size of each image in bytes, for each codec of WIRE: float64 (N,). Images are uint8 (N, H, W, 3)."""
    check_images(images)
    return {
        name: np.array([len(encode(image, codec, quality)) for image in images], dtype=np.float64)
        for name, (codec, quality) in WIRE.items()
    }
