"""Does an exported file give what the converter gives? Bytes for float32, the service's answers for less."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dapter.errors import CheckFailed
from dapter.types import Answer

MOST_OFF = 0.001
"""The share of values that may be off by one in float32: sums are added up in another order."""

MOST_APART = 0.002
"""How far the accuracies of the answer may be apart in float16 and int8."""

PROBE_SIZES = ((1, 1), (7, 5), (33, 47), (64, 96), (224, 224))
"""Sizes that a format for every size is tried on: none, one and both sides multiples of the networks' strides."""


def probes(only: tuple[int, int] | None, trained: tuple[int, int]) -> list[np.ndarray]:
    """Generated images, each batch uint8 (4, H, W, 3): noise, a smooth gradient, black, white.

    Args:
        only: the one size; None: several.
        trained: the size of the training.
    """
    rng = np.random.default_rng(0)
    return [_probe(rng, *size) for size in ([only] if only else [trained, *PROBE_SIZES])]


def _probe(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    noise = rng.integers(0, 256, (height, width, 3))
    slope = (np.arange(height)[:, None] * 255 // height + np.arange(width) * 255 // width) // 2
    smooth = np.stack([slope, 255 - slope, slope[::-1]], axis=2)
    return np.stack([noise, smooth, np.zeros_like(noise), np.full_like(noise, 255)]).astype(np.uint8)


def compare_bytes(pairs: Sequence[tuple[np.ndarray, np.ndarray]], *, strict: bool) -> dict[str, Any]:
    """How far payloads are apart.

    Args:
        pairs: what the converter gives and what the file gives, uint8 of one shape.
        strict: whether they must agree, save for a few values off by one.

    Returns:
        `values` (how many were compared), `off` (the share that differs), `most_off` (the largest difference).

    Raises:
        CheckFailed: they are too far apart.
    """
    gaps = [np.abs(given.astype(np.int16) - expected) for expected, given in pairs]
    values = sum(gap.size for gap in gaps)
    off = sum(int(np.count_nonzero(gap)) for gap in gaps) / values
    most = max(int(gap.max()) for gap in gaps)
    if strict and (most > 1 or off > MOST_OFF):
        raise CheckFailed(
            f"the exported file differs from the converter in {off:.3%} of {values} values, by up to {most}; at most "
            f"{MOST_OFF:.1%} may, by 1. Cure: another version of the format's tools, or another format"
        )
    return {"values": values, "off": off, "most_off": most}


def compare_answers(
    expected: Answer, given: Answer, labels: Mapping[str, np.ndarray], precision: str
) -> list[dict[str, Any]]:
    """Accuracy of the answers to the converter's payloads and to the file's, on the same images.

    Args:
        expected: to the converter's payloads.
        given: to the file's.
        labels: the truth; of a target without labels the answers `expected` are taken for it.

    Returns:
        For each `target` its `accuracy`, `accuracy_before`, `changed` (the share of answers that differ), `n`.

    Raises:
        CheckFailed: they are too far apart.
    """
    found = []
    for target, predicted in given.labels().items():
        before = expected.labels()[target]
        truth = labels.get(target, before)
        accuracy, accuracy_before = (float((each == truth).mean()) for each in (predicted, before))
        if abs(accuracy - accuracy_before) > MOST_APART + 1e-9:
            raise CheckFailed(
                f"{target} is answered with an accuracy of {accuracy:.2%} in {precision}, of {accuracy_before:.2%} by "
                f"the converter itself (n = {len(truth)}, the same images); {100 * MOST_APART:.1f} points are allowed. "
                "Cure: float16 instead of int8, or float32"
            )
        changed = float((predicted != before).mean())
        known = {"accuracy": accuracy, "accuracy_before": accuracy_before, "changed": changed, "n": len(truth)}
        found.append({"target": target, **known})
    return found
