"""What an audit says of a converter beside its attacks: accuracy left, attention, ideal guesses, bounds, necessity."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dapter import metrics, saliency
from dapter.attacks import Attack, name_of
from dapter.audit_lines import IMAGE
from dapter.audit_lines import Subject as Audited
from dapter.audit_report import pictures_name
from dapter.cells import open_cell
from dapter.errors import MissingExtra, UsageError
from dapter.evaluate import PICTURES, SHOWN, with_interval
from dapter.features import shown as to_look_at
from dapter.figures import overlay
from dapter.ideal import ideal_accuracy, times_vanilla
from dapter.metrics import Estimate, mean_interval, wilson
from dapter.necessity import measure_necessity
from dapter.runs import Run, code_version, environment, write_npz
from dapter.scoring import SAMPLE
from dapter.subjects import Subject, Tool
from dapter.types import Measurement, Payload

ATTENTION = 256
"""Test images whose attention is compared."""

Report = partial[Measurement]


def report(subject: Subject, settings: Mapping[str, Any], **fields: Any) -> Measurement:
    """A line about a subject.

    Args:
        settings: beside those of the defence.
        fields: of the Measurement, where they are not the subject's.
    """
    data = subject.data
    own = {
        "defence": subject.record["defence"],
        "data": data.name,
        "target": "+".join(data.targets),
        "seed": subject.seed,
        "code": code_version(),
        "data_digest": data.digest,
        "environment": environment(),
    }
    beside = {"image_size": list(data.image_size), "subject": subject.key, **subject.seen_as, **settings}
    return Measurement(settings={**subject.conditions, **beside}, **{**own, **fields})


def analyse(
    subject: Subject, found: Sequence[Measurement], root: Path, preset: str, source: str
) -> Iterator[Measurement]:
    """Every figure of a subject that is of no attack.

    Args:
        subject: under audit.
        found: its lines of attacks.
        root: of the run folders; classifiers of the necessity check are kept below it.
        preset, source: for the record.
    """
    line = partial(report, subject, {}, preset=preset, source=source)
    yield from _answers(line, subject)
    yield from _payloads(line, subject)
    yield from _ideal(line, subject, found)
    yield from _attention(line, subject)
    defence, service, data = subject.defence, subject.service, subject.data
    if subject.trained and service is not None and not isinstance(defence, Tool):
        for needed in measure_necessity(defence, service, data, root / "attacks", preset, source):
            yield replace(needed, seed=subject.seed, settings={**needed.settings, "subject": subject.key})


def _answers(line: Report, subject: Subject) -> Iterator[Measurement]:
    """What is left of the answer: for each classifier of the service a row of the matrix (DAPter, Table 4)."""
    test, after = subject.data.splits["test"], subject.observe("test").answers
    if subject.service is None or after is None:
        return
    usual = subject.ask(test.images)
    rates = {"": saliency.importance(after, usual, test), "_original": saliency.importance(usual, usual, test)}
    for suffix, each in rates.items():
        for rate in each:
            if (rate.measure, suffix) != ("agreement", "_original"):
                yield line(
                    target=rate.target,
                    measure=f"{rate.measure}{suffix}",
                    value=rate.value,
                    low=rate.low,
                    high=rate.high,
                    n=rate.n,
                )
    for target, truth in test.labels.items():
        if target in usual.logits:
            right = [(answer.labels()[target] == truth).astype(np.float64) for answer in (usual, after)]
            yield with_interval(
                partial(line, target=target), "target_accuracy_lost", mean_interval(right[0] - right[1]), len(truth)
            )


def _payloads(line: Report, subject: Subject) -> Iterator[Measurement]:
    """The payload as a picture, which says nothing of what it tells; and what only this defence can say of itself."""
    test, seen = subject.data.splits["test"], subject.observe("test")
    assert seen.payloads is not None
    assert seen.answers is not None  # of a subject without a service it says nothing
    payload = Payload(seen.payloads)
    pictures = {"entropy_bits_original": test.images[:SAMPLE]}
    if not payload.is_features:
        pictures["entropy_bits"] = payload.pixels[:SAMPLE]
    for measure, images in pictures.items():
        yield with_interval(line, measure, mean_interval(metrics.entropy_bits(images)), len(images))
    if not isinstance(subject.defence, Tool) and subject.service is not None:
        for fields in subject.defence.figures(test, payload, seen.answers):
            yield line(**fields)


def _ideal(line: Report, subject: Subject, found: Sequence[Measurement]) -> Iterator[Measurement]:
    """`Acc_ideal` of each secret label, and times `Acc_vanilla`: the ceiling of its accuracy, for each attack seed."""
    data = subject.data
    ceilings = {
        (each.secret, each.settings["attack"]["seed"]): (each.ceiling, each.n)
        for each in found
        if each.measure == "secret_accuracy" and each.ceiling is not None and each.n
    }
    for secret in data.readable if data.targets else ():
        ideal, n = ideal_accuracy(data.splits["train"], data.splits["test"], data.targets, secret)
        yield with_interval(partial(line, secret=secret), "secret_accuracy_ideal", ideal, n)
        for (name, seed), (ceiling, count) in ceilings.items():
            if name == secret and ceiling is not None and count:
                vanilla = Estimate(ceiling, *wilson(round(ceiling * count), count))
                product = times_vanilla(ideal, vanilla)
                made = with_interval(partial(line, secret=secret), "secret_accuracy_ideal_vanilla", product, n)
                yield replace(made, settings={**made.settings, "attack": {"seed": seed}})


def _attention(line: Report, subject: Subject) -> Iterator[Measurement]:
    """How far each classifier still looks at the same places; nothing where that cannot be seen."""
    images, payloads = subject.data.splits["test"].images[:ATTENTION], subject.observe("test").payloads
    if subject.service is None or payloads is None or not _looks(subject):
        return
    for target, classifier in subject.service.classifiers.items():
        try:
            same = saliency.attention_consistency(classifier, images, payloads[:ATTENTION])
        except (MissingExtra, UsageError):  # no captum, or no convolution
            continue
        yield with_interval(partial(line, target=target), "attention_consistency", same, len(images))


def _looks(subject: Subject) -> bool:
    """Whether the unchanged service looks at the payloads."""
    payloads = subject.observe("test").payloads
    changed = not isinstance(subject.defence, Tool) and subject.defence.needs_service_change
    return payloads is not None and payloads.dtype == np.uint8 and not changed


def keep_pictures(
    subject: Subject, found: Sequence[Measurement], attacks: Sequence[Attack], root: Path, run: Run
) -> None:
    """Keep pictures of a subject in the audit's folder, with the images that the worst attack restored, if one did.

    Args:
        found: the subject's lines.
        attacks: of the audit.
        root: of the run folders.
        run: of the audit.
    """
    test, seen = subject.data.splits["test"].images[:SHOWN], subject.observe("test").payloads
    assert seen is not None
    shown = {"original": test, "payload": to_look_at(Payload(seen[:SHOWN]), subject.data.image_size)}
    worst = Audited(tuple(found)).worst(IMAGE)
    if worst is not None:
        settings = worst.settings["attack"]
        for attack in attacks:
            if (name_of(attack), {**attack.settings(), "seed": settings["seed"]}) == (worst.attack, settings):
                with np.load(open_cell(attack, subject, settings["seed"], root).path / PICTURES) as pictures:
                    shown["restored"] = pictures["restored"]
    write_npz(run.path / pictures_name(subject.key), **shown, **_attention_pictures(subject, test))


def _attention_pictures(subject: Subject, images: np.ndarray) -> dict[str, np.ndarray]:
    """Where the first classifier looks, before and after, both drawn over the originals; none if that is not seen."""
    payloads = subject.observe("test").payloads
    if subject.service is None or payloads is None or not _looks(subject):
        return {}
    target, classifier = next(iter(subject.service.classifiers.items()))
    answered = subject.ask(images).labels()[target]
    try:
        return {
            f"attention_{name}": overlay(images, saliency.attention(classifier, seen, answered))
            for name, seen in (("before", images), ("after", payloads[: len(images)]))
        }
    except (MissingExtra, UsageError):  # no captum, or no convolution
        return {}
