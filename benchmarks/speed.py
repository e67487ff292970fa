"""How fast training is against a plain float32 loop, and how near the converters are to the processor's limit.

    python benchmarks/speed.py

Run it on a quiet machine. Both loops train the same converter against the same frozen ResNet18 on the same batches,
in turns, so that whatever else happens on the machine meets both; the ratio is the median of the turns. The limit of
a converter's latency is its multiply-adds over the best rate of a float32 matrix product on one thread; an algorithm
that multiplies less, such as Winograd's for wide convolutions, can go below it. Replaces its own lines of
`results/speed.jsonl`.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import tyro
from lines import replace_lines
from torch.nn import functional as F

from dapter.batches import Batch
from dapter.cost import measure_cost
from dapter.defences import round_to_levels
from dapter.defences.dapter import Dapter
from dapter.nets.classifiers import build_classifier
from dapter.runs import code_version, environment
from dapter.service.classifier import Classifier, Service
from dapter.types import GREY, Measurement

RESULTS = Path(__file__).parents[1] / "results" / "speed.jsonl"
SOURCE = "benchmarks/speed.py"
CLASSES = [str(i) for i in range(10)]


@dataclass(frozen=True)
class Settings:
    """What to time."""

    rounds: int = 7
    """Turns of each loop."""
    steps: int = 5
    """Steps a turn."""
    batch_size: int = 128
    size: int = 32
    """Pixels on a side."""
    service_widths: tuple[int, ...] = (16, 64)
    """Of the frozen ResNet18: the presets `cpu` and `paper`."""


def step_functions(settings: Settings, width: int) -> dict[str, Callable[[], object]]:
    """One training step as we do it, and as a plain loop does it."""
    torch.manual_seed(0)
    service = Service(Classifier(build_classifier("resnet18", 10, width), "class", CLASSES))
    images = torch.rand(settings.batch_size, 3, settings.size, settings.size)
    labels = torch.randint(0, 10, (settings.batch_size,))
    ours, plain = Dapter(width=16).setup(), Dapter(width=16).setup()
    ours.learner.bfloat16 = True
    ours.learner.nets.to(memory_format=torch.channels_last)
    ours.learner.nets.train()
    plain.learner.nets.train()
    batch = Batch(images.contiguous(memory_format=torch.channels_last), {"class": labels})

    def plain_step() -> None:
        payload = round_to_levels(plain.learner.nets["converter"](images))
        eta = (payload - GREY / 255).abs().mean() * 255 / 127.5
        loss = 0.9 * eta + 0.1 * F.cross_entropy(service.logits(payload)["class"], labels)
        plain.learner.optimizers["converter"].zero_grad()
        loss.backward()
        plain.learner.optimizers["converter"].step()

    return {"ours": lambda: ours.update(batch, service), "plain": plain_step}


def throughput(settings: Settings, width: int, report: partial[Measurement]) -> Iterator[Measurement]:
    """Images a second of both loops, and their ratio."""
    steps = step_functions(settings, width)
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(settings.rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(settings.steps):
                step()
            if turn:  # the first turn warms up
                rates[name].append(settings.batch_size * settings.steps / (time.perf_counter() - start))
    ratios = [fast / slow for fast, slow in zip(rates["ours"], rates["plain"], strict=True)]
    values = {
        "training_images_per_second": rates["ours"],
        "training_images_per_second_plain": rates["plain"],
        "training_speedup": ratios,
    }
    for measure, turns in values.items():
        nets = {"service": "resnet18", "service_width": width, "converter_width": 16, "image_size": settings.size}
        middle = statistics.median(turns)
        yield report(measure=measure, value=middle, low=min(turns), high=max(turns), n=len(turns), settings=nets)


def latency(report: partial[Measurement]) -> Iterator[Measurement]:
    """Cost of the converters at 224 px on one thread."""
    for net, width in (("paper", 16), ("paper", 32), ("fast", 16)):
        found = measure_cost(Dapter(net=net, width=width).setup().client(), (224, 224))
        settings = {"net": net, "width": width, "image_size": 224}
        values = {
            "client_bytes": found.size_bytes,
            "multiply_adds": found.multiply_adds,
            "latency_ms": found.latency_ms,
            "latency_limit_ms": found.limit_ms,
            "latency_over_limit": found.latency_ms / found.limit_ms,
        }
        for measure, value in values.items():
            yield report(measure=measure, value=float(value), settings=settings)


def main() -> None:
    """Time everything and write the results file."""
    settings = tyro.cli(Settings, description=__doc__)
    report = partial(
        Measurement,
        defence="dapter",
        data="random",
        target="class",
        source=SOURCE,
        code=code_version(),
        environment=environment(),
    )
    found = [*latency(report)]
    for width in settings.service_widths:
        found += throughput(settings, width, report)
    replace_lines(RESULTS, found, lambda entry: entry.source)
    for entry in found:
        print(f"{entry.measure} {dict(entry.settings)}: {entry.value:.4g}")


if __name__ == "__main__":
    main()
