"""The figures of a payload made of stamps: its bits, and what they bound whatever the attack (proofs: dapter.bits).

Each figure is a dictionary of fields of a Measurement.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dapter import bits
from dapter.metrics import Estimate, mean_interval

Figures = Iterator[dict[str, Any]]


def all_figures(
    stamps: np.ndarray,
    given: np.ndarray,
    prior: np.ndarray,
    images: np.ndarray,
    secrets: Mapping[str, np.ndarray],
    flip: float,
    budget: float,
) -> list[dict[str, Any]]:
    """Bits, images and every secret; bits beyond the answer that exceed the `budget` are flagged.

    Args:
        images: uint8 (N, H, W, 3).
        secrets: values of each, int (N,), -1 where unknown.
        stamps, given, prior, flip: as for `bit_figures`.
    """
    found = [*bit_figures(stamps, given, prior, flip), *image_figures(stamps, given, images)]
    for entry in found:
        if entry["measure"] == "bits_beyond_answer" and entry["value"] > budget:
            entry["flags"] = ("over_budget",)
    for name, values in secrets.items():
        found += [{**entry, "secret": name} for entry in secret_figures(stamps, given, prior, values, flip)]
    return found


def bit_figures(stamps: np.ndarray, given: np.ndarray, prior: np.ndarray, flip: float = 0.0) -> Figures:
    """Bits of payloads.

    Args:
        stamps: int (N, cells), as they were sent.
        given: the service's answer to each, int (N,), a row of the prior.
        prior: of what is painted, before any flip, float (answers, cells, K).
        flip: probability of a flip.

    Returns:
        `budget_bits`: the most that any payload carries (guaranteed). `bits_beyond_answer`, `bits_total`: mean code
        lengths, less the noise of flips (estimated: the bound is a theorem, the mean one of a sample).
        `secret_gain_bound`: the most that they add to the accuracy of any guess, over what the answer gives.
        `distinct_payloads`: how many occur. With flips also `capacity_bits`, the most that a payload tells on average,
        and m payloads of one person m times as much, and `epsilon` (both guaranteed).
    """
    n, (cells, alphabet) = len(stamps), prior.shape[1:]
    beyond = _beyond(stamps, given, prior, flip)
    yield {"measure": "budget_bits", "value": bits.budget_bits(cells, alphabet), "grade": "guaranteed"}
    if flip:
        yield {"measure": "capacity_bits", "value": bits.capacity_bits(cells, alphabet, flip), "grade": "guaranteed"}
        yield {"measure": "epsilon", "value": bits.epsilon(cells, alphabet, flip), "grade": "guaranteed"}
    yield {"measure": "bits_beyond_answer", **_fields(beyond), "n": n, "grade": "estimated"}
    lengths = bits.code_lengths(stamps, bits.flipped_prior(prior, flip))
    total = mean_interval(lengths - bits.noise_bits(cells, alphabet, flip))
    yield {"measure": "bits_total", **_fields(total), "n": n, "grade": "estimated"}
    gain = Estimate(*(bits.most_gain(max(0.0, value)) for value in beyond))
    yield {"measure": "secret_gain_bound", **_fields(gain), "n": n, "grade": "estimated"}
    yield {"measure": "distinct_payloads", "value": float(bits.groups(stamps).max() + 1), "n": n}


def secret_figures(
    stamps: np.ndarray, given: np.ndarray, prior: np.ndarray, secret: np.ndarray, flip: float = 0.0
) -> Figures:
    """The most that any attack finds out of a secret, int (N,), -1 where unknown; the rest as for `bit_figures`.

    Returns:
        `secret_accuracy_bound`: on these images, exactly (guaranteed). `secret_accuracy_fano`: on others like them,
        by Fano's inequality from the upper end of the bits beyond the answer (estimated). `floor` of both: the best
        that the answer alone allows on these images. Nothing if the secret has no two known values.
    """
    known = secret >= 0
    labels, stamps, given = secret[known], stamps[known], given[known]
    if len(np.unique(labels)) < 2:
        return
    common = {"floor": bits.best_accuracy(labels, given), "ceiling": 1.0, "n": len(labels)}
    on_these = bits.best_accuracy(labels, bits.groups(stamps))
    yield {"measure": "secret_accuracy_bound", "value": on_these, "grade": "guaranteed", **common}
    left = bits.entropy_left(labels, given) - _beyond(stamps, given, prior, flip).high
    fano = bits.fano_accuracy(left, int(labels.max()) + 1)
    yield {"measure": "secret_accuracy_fano", "value": fano, "grade": "estimated", **common}


def image_figures(stamps: np.ndarray, given: np.ndarray, images: np.ndarray) -> Figures:
    """The least mean squared error of any restoration of these images, uint8 (N, H, W, 3), on the scale [0, 1].

    Returns:
        `restored_mse_bound` (guaranteed); its `floor` is the least error that the answer alone allows, its `ceiling`
        the original's, 0.
    """
    least, floor = (bits.best_mse(images, known) for known in (bits.groups(stamps), given))
    found = {"measure": "restored_mse_bound", "value": least, "floor": floor, "ceiling": 0.0}
    yield {**found, "n": len(images), "grade": "guaranteed"}


def _beyond(stamps: np.ndarray, given: np.ndarray, prior: np.ndarray, flip: float) -> Estimate:
    """Bits beyond the answer, on average; never above the capacity, which is guaranteed."""
    answers, cells, alphabet = prior.shape
    lengths = bits.code_lengths(stamps, bits.flipped_prior(prior, flip), given)
    if not flip:
        return mean_interval(lengths)
    most = bits.capacity_bits(cells, alphabet, flip)
    found = mean_interval(lengths - bits.noise_bits(cells, alphabet, flip) + math.log2(answers))
    return Estimate(*(min(most, value) for value in found))


def _fields(estimate: Estimate) -> Mapping[str, float]:
    return estimate._asdict()
