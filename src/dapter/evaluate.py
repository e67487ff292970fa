"""Measure a defence on the test split: what the answer lost, what the payload looks like, what it costs."""

from collections.abc import Callable
from functools import partial

import numpy as np

from dapter import cost, metrics
from dapter.data import Data, Split
from dapter.defences import Defence, name_of
from dapter.errors import UsageError
from dapter.features import delivered, pack, shown
from dapter.imagefile import encode, open_image
from dapter.metrics import Estimate
from dapter.processes import from_first, pick_device
from dapter.runs import Run, code_version, environment, write_npz
from dapter.scoring import SAMPLE
from dapter.service.classifier import Service
from dapter.train import load_defence
from dapter.types import Answer, Measurement, Payload

PICTURES = "pictures.npz"
SHOWN = 8
"""Test images that a run keeps as pictures."""

COST_SIZE = (224, 224)
"""Height and width in pixels at which a converter's cost is stated."""

COST_REPEATS = 20

NOISE_SEED = 0
"""Of the noise in the payloads that are measured, where a defence draws some."""

Report = Callable[..., Measurement]


def evaluate(run: Run, service: Service, data: Data, *, source: str = "") -> list[Measurement]:
    """Measure the defence of a finished run and keep the figures and some pictures in its folder.

    Figures that are already there are read, not measured again.

    Args:
        run: of `train`.
        service: the one it was trained against.
        data: `test` is measured.
        source: the command that asked for it, for the record.

    Raises:
        UsageError: another service or data set than the run's.
        RunError: not such a run, or not finished.
    """
    defence = load_defence(run)
    manifest = run.manifest
    if manifest["service"] != service.digest or manifest["data"]["digest"] != data.digest:
        raise UsageError(f"{run.path} was trained with another service or data set. Cure: give the same ones")
    return from_first(lambda: _read_or_measure(run, defence, service, data, source))


def _read_or_measure(run: Run, defence: Defence, service: Service, data: Data, source: str) -> list[Measurement]:
    found = run.read_results()
    if found:
        return found
    manifest = run.manifest
    measured = measure(
        defence, service, data, seed=manifest["seed"], preset=manifest["preset"], source=source, code=manifest["code"]
    )
    test = data.splits["test"].head(SHOWN)
    seen = shown(defence.protect(test.images, seed=NOISE_SEED), data.image_size)
    write_npz(run.path / PICTURES, original=test.images, payload=seen)
    run.write_results(measured)
    return measured


def measure(
    defence: Defence,
    service: Service,
    data: Data,
    *,
    seed: int | None = None,
    preset: str | None = None,
    source: str = "",
    code: str = "",
) -> list[Measurement]:
    """All figures of one defence on the test split, each with its n and interval.

    Args:
        defence: trained.
        seed, preset, source, code: for the record.
    """
    test = data.splits["test"]
    report = partial(
        Measurement,
        defence=name_of(defence),
        data=data.name,
        settings={**defence.conditions(), "image_size": list(data.image_size)},
        seed=seed,
        preset=preset,
        source=source,
        code=code or code_version(),
        data_digest=data.digest,
        environment=environment(),
    )
    defence.learner.nets.to(pick_device())
    service.to(pick_device())
    payload = defence.protect(test.images, seed=NOISE_SEED)
    before = service.answer(Payload(test.images))
    after = defence.tail(delivered(payload), service)
    found = [
        entry
        for target in service.targets
        for entry in _answers(partial(report, target=target), target, test, before, after)
    ]
    if not payload.is_features:
        found += _compressed(
            report, Payload(payload.pixels[:SAMPLE]), lambda payload: defence.tail(payload, service), after
        )
    joint = partial(report, target="+".join(service.targets))
    found += _pictures(joint, test.images[:SAMPLE], Payload(payload.values[:SAMPLE]))
    found += [joint(**entry) for entry in defence.figures(test, payload, after)]
    return found + _cost(joint, defence)


def with_interval(report: Report, measure: str, estimate: Estimate, n: int) -> Measurement:
    """A rate, or a mean, with its interval."""
    value, low, high = estimate
    return report(measure=measure, value=value, low=low, high=high, n=n)


def _answers(report: Report, target: str, test: Split, before: Answer, after: Answer) -> list[Measurement]:
    """Accuracy, AUC and calibration with and without the defence, and how often the answer stays the same."""
    n = len(test)
    labels = after.labels()[target], before.labels()[target]
    found = [with_interval(report, "agreement", metrics.agreement(*labels), n)]
    if target not in test.labels:
        return found
    truth = test.labels[target]
    for suffix, answer in (("", after), ("_original", before)):
        logits = answer.logits[target]
        predicted = logits.argmax(axis=1)
        found.append(with_interval(report, f"target_accuracy{suffix}", metrics.accuracy(predicted, truth), n))
        found.append(
            with_interval(report, f"target_balanced_accuracy{suffix}", metrics.balanced_accuracy(predicted, truth), n)
        )
        if logits.shape[1] == 2 and len(np.unique(truth)) == 2:
            found.append(
                with_interval(report, f"target_auc{suffix}", metrics.auc(logits[:, 1] - logits[:, 0], truth), n)
            )
        error = metrics.calibration_error(logits, truth)
        found.append(report(measure=f"calibration_error{suffix}", value=error, n=n))
    return found


def _compressed(report: Report, payload: Payload, ask: Callable[[Payload], Answer], after: Answer) -> list[Measurement]:
    """How often the answer stays the same when a lossy codec carries the payload."""
    found = []
    for name, (codec, quality) in metrics.WIRE.items():
        if quality is None:
            continue
        arrived = np.stack([open_image(encode(image, codec, quality)) for image in payload.pixels])
        for target, labels in ask(Payload(arrived)).labels().items():
            same = metrics.agreement(labels, after.labels()[target][: len(labels)])
            found.append(with_interval(partial(report, target=target), f"agreement_{name}", same, len(labels)))
    return found


def _pictures(report: Report, originals: np.ndarray, payload: Payload) -> list[Measurement]:
    """Statistics of the payload as a picture, and its bytes on the wire. None of them measures privacy."""
    if payload.is_features:
        sizes = np.array([len(pack(each)) for each in payload.values], np.float64)
        values = {"payload_bytes_features": sizes, **_statistics(originals, "_original")}
    else:
        values = {**_statistics(payload.pixels, ""), **_statistics(originals, "_original")}
        large = min(originals.shape[1:3]) >= metrics.WINDOW  # SSIM has no value for smaller images
        for name in ("ssim", "ms_ssim", "psnr", "l1") if large else ("psnr", "l1"):
            values[f"payload_{name}"] = getattr(metrics, name)(originals, payload.pixels)
    return [with_interval(report, name, metrics.mean_interval(each), len(each)) for name, each in values.items()]


def _statistics(images: np.ndarray, suffix: str) -> dict[str, np.ndarray]:
    """For each measure of a picture by itself, the value of each image."""
    sizes = {f"payload_bytes_{codec}{suffix}": each for codec, each in metrics.wire_bytes(images).items()}
    return {
        f"entropy_bits{suffix}": metrics.entropy_bits(images),
        f"entropy_nats{suffix}": metrics.entropy_nats(images),
        f"eta{suffix}": metrics.eta(images),
        **sizes,
    }


def _cost(report: Report, defence: Defence) -> list[Measurement]:
    """What the client part costs a device, at 224 px on one thread."""
    client = defence.client().cpu()
    return [
        report(measure="client_bytes", value=float(cost.size_bytes(client))),
        report(measure="multiply_adds", value=float(cost.multiply_adds(client, COST_SIZE))),
        report(measure="latency_ms", value=cost.latency_ms(client, COST_SIZE, COST_REPEATS), n=COST_REPEATS),
    ]
