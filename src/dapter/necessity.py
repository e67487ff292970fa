"""The necessity check: could the user's device have answered by itself, with a network of the converter's size?"""

from pathlib import Path

from dapter import metrics
from dapter.data import Data
from dapter.defences import Defence, name_of
from dapter.nets.classifiers import build_classifier
from dapter.presets import find_preset
from dapter.runs import Run, code_version, environment
from dapter.service.classifier import Service
from dapter.service.training import load_trained_service, train_service
from dapter.types import Measurement, Payload

ARCH = "resnet18"
WIDEST = 128


def measure_necessity(
    defence: Defence, service: Service, data: Data, root: Path, preset: str, source: str = ""
) -> list[Measurement]:
    """Train a classifier with as many parameters as the client part, and report its accuracy on `test`.

    A line a target, measure `necessity_accuracy`, with the service's own accuracy on originals as its ceiling; the
    flag `service_not_needed` where the interval reaches that. A run folder under `root` keeps the classifier.
    """
    width, run = same_size(defence), train_alone(defence, data, root, preset)
    test = Payload(data.splits["test"].images)
    alone, cloud = load_trained_service(run).answer(test).labels(), service.answer(test).labels()
    found = []
    for target in data.targets:
        truth = data.splits["test"].labels[target]
        value, low, high = metrics.accuracy(alone[target], truth)
        ceiling = metrics.accuracy(cloud[target], truth).value
        found.append(
            Measurement(
                defence=name_of(defence),
                settings={
                    **defence.conditions(),
                    "image_size": list(data.image_size),
                    "classifier": {"arch": ARCH, "width": width},
                },
                data=data.name,
                target=target,
                measure="necessity_accuracy",
                value=value,
                low=low,
                high=high,
                n=len(truth),
                ceiling=ceiling,
                flags=("service_not_needed",) if high >= ceiling else (),
                preset=preset,
                source=source,
                code=code_version(),
                data_digest=data.digest,
                environment=environment(),
            )
        )
    return found


def train_alone(defence: Defence, data: Data, root: Path, preset: str) -> Run:
    """The run folder of that classifier, trained on the data's targets."""
    plan = find_preset(preset).service_plan
    return train_service(data, plan, arch=ARCH, width=same_size(defence), root=root, preset=preset)


def same_size(defence: Defence) -> int:
    """The width of the largest classifier that has no more parameters than the client part; at least 1."""
    budget = sum(value.numel() for value in defence.client().parameters())
    width = 1
    while width < WIDEST and _parameters(width + 1) <= budget:
        width += 1
    return width


def _parameters(width: int) -> int:
    return sum(value.numel() for value in build_classifier(ARCH, 2, width).parameters())
