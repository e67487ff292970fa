"""Train the converter again from the release's own training manifest, and compare how the two behave."""

from dataclasses import fields
from pathlib import Path

import numpy as np

from dapter import metrics
from dapter.data import Data
from dapter.defences import Defence, build_defence
from dapter.errors import DapterError
from dapter.loop import Plan
from dapter.recompute import load_released
from dapter.runs import code_version
from dapter.service.classifier import Service
from dapter.train import load_defence, train
from dapter.types import Payload
from dapter.verify import Release
from dapter.verify_report import Outcome

SAMPLE = 2000
"""Test images that both converters convert."""

MOST_APART = 0.03
"""By how much accuracies and distances from grey may differ: training on other machines ends elsewhere."""


def retrain(release: Release, data: Data, service: Service, *, root: Path = Path("runs")) -> list[Outcome]:
    """Train from the manifest, and say whether the same converter, or one that behaves alike, comes out.

    Args:
        release: verified.
        data: of the training.
        service: of the training.
        root: where the run folder goes.
    """
    what, manifest = "training again from the manifest", release.manifest
    record = manifest["training"]
    if data.digest != record["data"]["digest"] or service.digest != manifest["service"]["digest"]:
        return [Outcome(what, "could not check", reason="needs the data and the service of the training")]
    if record.get("start") is not None:
        return [Outcome(what, "could not check", reason=f"it began from another run, {record['start']}, not released")]
    try:
        known = {entry.name for entry in fields(Plan)}
        plan = Plan(**{name: value for name, value in record["plan"].items() if name in known})
        defence = build_defence(manifest["defence"], manifest["settings"])
        again = load_defence(train(defence, service, data, plan, seed=record["seed"], root=root))
        return _compare(what, load_released(release), again, data, service, record["code"])
    except (DapterError, TypeError) as error:
        return [Outcome(what, "could not check", reason=str(error)[:300])]


def _compare(what: str, theirs: Defence, ours: Defence, data: Data, service: Service, code: str) -> list[Outcome]:
    states = [defence.learner.nets.state_dict() for defence in (theirs, ours)]
    if all(np.array_equal(states[0][name].cpu(), value.cpu()) for name, value in states[1].items()):
        return [Outcome(what, "confirmed", found="the same weights to the last bit")]
    note = f"trained with {code}, here is {code_version()}"
    test = data.splits["test"].head(SAMPLE)
    payloads = [defence.protect(test.images).pixels for defence in (theirs, ours)]
    answers = [service.answer(Payload(pixels)).labels() for pixels in payloads]
    outcomes = []
    for target in service.targets:
        if target in test.labels:
            rates = [metrics.accuracy(labels[target], test.labels[target]).value for labels in answers]
            outcomes.append(_near(f"{what}: accuracy of the answer, {target}", rates[0], rates[1], note))
    eta = [float(metrics.eta(pixels).mean()) for pixels in payloads]
    return [*outcomes, _near(f"{what}: distance from grey", eta[0], eta[1], note)]


def _near(what: str, theirs: float, ours: float, note: str) -> Outcome:
    if abs(theirs - ours) <= MOST_APART:
        return Outcome(what, "confirmed", f"{theirs:.3f}", f"{ours:.3f}", note)
    return Outcome(what, "contradicted", f"{theirs:.3f}", f"{ours:.3f}", note)
