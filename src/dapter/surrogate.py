"""Protect images from a service that does not cooperate: train on a stand-in, measure on the service itself.

The stand-in is a knockoff: a classifier trained on the probabilities (or labels) that the service answers for images
drawn at random from a set (Orekondy, Schiele and Fritz, "Knockoff Nets: Stealing Functionality of Black-Box Models",
CVPR 2019, their strategy "random"). Here the images are the provider's own training images.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from dapter import metrics
from dapter.data import Data, Split
from dapter.errors import UsageError
from dapter.processes import from_first
from dapter.runs import Run, environment, fingerprint
from dapter.service.classifier import Service
from dapter.service.remote import Remote
from dapter.service.training import train_service
from dapter.train import load_defence
from dapter.types import Measurement, Payload

SHARE = 10
"""One in so many queries asks about an original of `val`, one about one of `test`, one about its payload."""

WARNING = (
    "the images of the data set are sent to the service as they are, to learn what it answers. "
    "They must be images that may go there: your own, public ones, never your users'"
)


@dataclass(frozen=True)
class Questions:
    """How many images of each split the limit allows to ask about.

    Attributes:
        test: originals of `test`; as many payloads are asked about afterwards.
    """

    train: int
    val: int
    test: int

    @classmethod
    def within(cls, data: Data, limit: int) -> "Questions":
        """Share a limit out.

        Raises:
            UsageError: the limit is too small.
        """
        val, test = (min(len(data.splits[part]), limit // SHARE) for part in ("val", "test"))
        train = min(len(data.splits["train"]), limit - val - 2 * test)
        if min(val, test) < 1:
            raise UsageError(f"a limit of {limit} queries is too small. Cure: at least {SHARE}; thousands to be useful")
        return cls(train, val, test)


def learn_surrogate(remote: Remote, data: Data, *, send_originals: bool, **training: Any) -> Run:
    """Ask the service about originals and train a stand-in on its answers; asks only what it does not know yet.

    Args:
        data: its images are asked about; its labels are not used.
        send_originals: must be true: WARNING.
        training: of `train_service`: plan, arch, width, seed, root, ...

    Returns:
        A finished run of `train_service`; `load_trained_service` reads the stand-in.

    Raises:
        UsageError: not allowed, or not within the limit; the payloads to be measured are reckoned in.
        ServiceError: the service gives no answer. What it answered is kept.
    """
    _check_allowed(send_originals)
    splits = from_first(lambda: _ask(remote, data))
    answers = [split.labels[remote.target].tolist() for split in splits.values()]
    answered = replace(
        data,
        targets=(remote.target,),
        secrets=(),
        classes={remote.target: tuple(remote.classes)},
        splits=splits,
        digest=fingerprint([data.digest, answers]),
    )
    return train_service(answered, **training)


def _check_allowed(send_originals: bool) -> None:
    if not send_originals:
        raise UsageError(f"{WARNING}. Cure: --send-originals says that they may")


def _ask(remote: Remote, data: Data) -> dict[str, Split]:
    asked = Questions.within(data, remote.limit)
    parts = {name: data.splits[name].head(n).images for name, n in vars(asked).items()}
    needed = sum(remote.unknown(images) for images in parts.values()) + asked.test
    if remote.used + needed > remote.limit:
        cure = f"Cure: --query-limit {remote.used + needed}"
        raise UsageError(f"{needed:,} queries are needed, {remote.cost} are used. {cure}")
    return {name: Split(images, {remote.target: remote.answer(images)}) for name, images in parts.items()}


def measure_remote(
    run: Run, surrogate: Service, remote: Remote, data: Data, *, send_originals: bool, source: str = ""
) -> list[Measurement]:
    """Measure a converter that was trained on a stand-in on the service itself, and add the figures to its run.

    `api_agreement`: the same answer to payload and original; `api_accuracy`, `api_accuracy_original`: right answers,
    where the labels are known; `surrogate_agreement`: the stand-in answers originals as the service does. On the first
    images of `test` that the limit allows.

    Args:
        send_originals: must be true: WARNING.

    Raises:
        UsageError: not allowed, or not within the limit.
        ServiceError: the service gives no answer.
    """
    _check_allowed(send_originals)
    old = run.read_results()
    others = [entry for entry in old if not entry.measure.startswith(("api_", "surrogate_"))]
    known = [entry for entry in old if entry not in others]
    test = data.splits["test"].head(Questions.within(data, remote.limit).test)
    if known and known[0].n == len(test):
        return known
    defence = load_defence(run)
    payload = defence.protect(test.images)
    originals, payloads = (remote.answer(images).argmax(axis=1) for images in (test.images, payload.pixels))
    imitated = surrogate.answer(Payload(test.images)).labels()[remote.target]
    estimates = {
        "api_agreement": metrics.agreement(payloads, originals),
        "surrogate_agreement": metrics.agreement(imitated, originals),
        **_accuracies(test.labels, remote.target, payloads, originals),
    }
    manifest = run.manifest
    report = partial(
        Measurement,
        defence=manifest["name"],
        data=data.name,
        target=remote.target,
        settings={**defence.conditions(), "image_size": list(data.image_size)},
        seed=manifest["seed"],
        preset=manifest["preset"],
        source=source,
        code=manifest["code"],
        data_digest=data.digest,
        environment=environment(),
        n=len(test),
    )
    found = [report(measure=name, value=value, low=low, high=high) for name, (value, low, high) in estimates.items()]
    run.write_results([*others, *found])
    return found


def _accuracies(
    labels: Mapping[str, np.ndarray], target: str, payloads: np.ndarray, originals: np.ndarray
) -> dict[str, metrics.Estimate]:
    if target not in labels:
        return {}
    truth = labels[target]
    return {
        "api_accuracy": metrics.accuracy(payloads, truth),
        "api_accuracy_original": metrics.accuracy(originals, truth),
    }
