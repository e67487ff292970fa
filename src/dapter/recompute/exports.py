"""Run every export and compare it with the weights, and so with one another; the published stamps as well."""

from collections.abc import Callable, Iterator, Mapping
from math import sqrt
from typing import Any

import numpy as np

from dapter.data import UNKNOWN, Data, Split
from dapter.defences import Defence, with_settings
from dapter.defences.budget import Budget
from dapter.errors import ConversionError, DapterError
from dapter.export import fit
from dapter.export._parity import MOST_APART, MOST_OFF
from dapter.recompute.sandbox import convert_apart
from dapter.service.classifier import Service
from dapter.stamps import Stamps
from dapter.types import Payload
from dapter.verify import Release
from dapter.verify.limits import STAMPS
from dapter.verify_report import Outcome

SAMPLE = 1000
"""Test images that every export converts."""


def runner_of(release: Release) -> Callable[[np.ndarray], np.ndarray]:
    """What the float32 ONNX export gives, at the release's dial, run apart."""
    dial = release.manifest["dial"]
    value = None if dial is None else dial["default"]
    return lambda images: convert_apart("onnx", "converter.onnx", release.export(), images, value)


def compare_exports(release: Release, defence: Defence, data: Data, service: Service | None) -> Iterator[Outcome]:
    """How each export compares with the weights on test images.

    Args:
        defence: with the weights of the release.
        service: judges float16 and int8.
    """
    test = data.splits["test"].head(SAMPLE)
    dial, published = release.manifest["dial"], release.stamps()
    for entry in release.manifest["exports"]:
        what = f"{entry['path']} gives what the weights give"
        fixed = None if entry["sizes"] == "any" else tuple(entry["sizes"][0])
        split = test if fixed in (None, data.image_size) else Split(fit(test.images, fixed), test.labels)
        try:
            for value in _settings(dial):
                given = convert_apart(
                    entry["format"], entry["path"].rsplit("/")[-1], release.read(entry["path"]), split.images, value
                )
                at = what if value is None else f"{what} at {dial['name']} = {value:g}"
                yield _compare(at, entry, _expected(defence, split.images, dial, value), given, split, service)
                if published is not None:
                    yield _painted(entry["path"], published[0], given)
        except ConversionError as error:
            wrong = entry["format"] == "onnx" and "is not installed" not in str(error)
            yield Outcome(what, "contradicted" if wrong else "could not check", reason=f"it did not run: {error}")


def compare_stamps(release: Release, defence: Defence) -> Iterator[Outcome]:
    """How the published stamps, if there are any, compare with those of the weights."""
    published = release.stamps()
    if published is None:
        return
    what, (given, _) = f"{STAMPS} holds the stamps of the weights", published
    own = defence.published() if isinstance(defence, Budget) else None
    if own is None or (own.grid, own.alphabet.shape) != (given.grid, given.alphabet.shape):
        yield Outcome(what, "contradicted", reason="the weights paint none, or on another grid, or as many others")
        return
    most = int(np.abs(own.alphabet.astype(np.int16) - given.alphabet).max())
    yield Outcome(what, "confirmed" if most <= 1 else "contradicted", "by 1 at most", f"values differ by up to {most}")


def _settings(dial: Mapping[str, Any] | None) -> list[float | None]:
    return [None] if dial is None else list(dict.fromkeys(dial[end] for end in ("low", "default", "high")))


def _expected(defence: Defence, images: np.ndarray, dial: Mapping[str, Any] | None, value: float | None) -> np.ndarray:
    chosen = defence if dial is None else with_settings(defence, **{dial["name"]: value})
    pixels: np.ndarray = chosen.protect(images).pixels
    return pixels


def _compare(
    what: str, entry: Mapping[str, Any], expected: np.ndarray, given: np.ndarray, split: Split, service: Service | None
) -> Outcome:
    if given.shape != expected.shape or given.dtype != np.uint8:
        return Outcome(what, "contradicted", reason=f"it gives {given.dtype} {given.shape} for {expected.shape}")
    gaps = np.abs(given.astype(np.int16) - expected)
    off, most = float(np.mean(gaps > 0)), int(gaps.max())
    found = f"{off:.3%} of {gaps.size:,} values differ, by up to {most}"
    if entry["precision"] == "float32":
        same = most <= 1 and off <= MOST_OFF
        return Outcome(what, "confirmed" if same else "contradicted", f"{MOST_OFF:.1%} by 1 at most", found)
    if service is None:
        return Outcome(what, "could not check", found=found, reason=f"{entry['precision']} is judged by the service")
    return _judge(what, expected, given, split, service)


def _painted(path: str, stamps: Stamps, given: np.ndarray) -> Outcome:
    """Whether payloads are made of the published stamps: what is off by one carries more bits than are claimed."""
    what = f"{path} gives nothing but the stamps of {STAMPS}"
    try:
        stamps.read(given)
    except DapterError as error:
        return Outcome(what, "contradicted", reason=str(error))
    return Outcome(what, "confirmed", found=f"all of {len(given):,} payloads")


def _judge(what: str, expected: np.ndarray, given: np.ndarray, split: Split, service: Service) -> Outcome:
    """Compare accuracies of the answer on the same images; the noise of a paired difference is allowed for."""
    claimed = f"accuracy of the answer within {MOST_APART:.1%}"
    worst = Outcome(what, "confirmed", claimed, "no labels to judge by")
    before, after = (service.answer(Payload(pixels)).labels() for pixels in (expected, given))
    for target in service.targets:
        truth = split.labels.get(target, before[target])
        known = truth != UNKNOWN
        n = int(known.sum())
        if n == 0:
            continue
        right = [float(np.mean(labels[target][known] == truth[known])) for labels in (before, after)]
        changed = float(np.mean(before[target][known] != after[target][known]))
        apart, noise = abs(right[1] - right[0]), 3 * sqrt(changed / n)
        found = f"{target}: {right[0]:.2%} -> {right[1]:.2%}, {changed:.2%} of {n} answers change"
        if apart - noise > MOST_APART:
            return Outcome(what, "contradicted", claimed, found)
        if apart > MOST_APART:
            worst = Outcome(what, "could not check", claimed, found, "too few images to tell")
        elif worst.verdict == "confirmed":
            worst = Outcome(what, "confirmed", claimed, found)
    return worst
