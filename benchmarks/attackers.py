"""Attackers an hour: the audit's cells against a plain loop over the same attacks.

    python benchmarks/attackers.py

The audit converts payloads once, computes in bfloat16 where that is safe, and keeps a worker busy for each core. The
plain loop is what a script does that attacks a converter with one network after the other: for each it converts every
image again, and trains in float32, channels first, in one process with torch's usual threads; the networks, epochs,
batches and optimiser are the same. Both attack the same untrained converter of the paper's on generated portraits, in
turns; the ratio is the median of the turns. Replaces its own lines of `results/speed.jsonl` and leaves the others. Run
it on a quiet machine.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro
from lines import replace_lines
from torch import Tensor, nn
from torch.nn import functional as F

from dapter.attacks.recognition import Recognition
from dapter.batches import augment
from dapter.data import Data, load_data
from dapter.defences import Defence
from dapter.defences.dapter import Dapter
from dapter.loop import Plan
from dapter.nets.classifiers import build_classifier
from dapter.nets.recognisers import build_recogniser
from dapter.runs import code_version, environment, list_runs
from dapter.service.classifier import Classifier, Service
from dapter.spent import Spent, read_spent
from dapter.subjects import Subject
from dapter.tasks import Asked, CellTask
from dapter.types import Measurement
from dapter.workers import default_workers, run_tasks

RESULTS = Path(__file__).parents[1] / "results" / "speed.jsonl"
SOURCE = "benchmarks/attackers.py"
LABEL = "Eyeglasses"


@dataclass(frozen=True)
class Settings:
    """What to time."""

    n: int = 12_000
    """Portraits; the attackers learn from about three quarters of them."""
    size: int = 32
    """Pixels on a side."""
    families: tuple[str, ...] = ("cnn", "resnet18", "convnext")
    """The attackers' networks."""
    attackers: int = 2
    """Of each family, with different seeds."""
    epochs: int = 3
    rounds: int = 3
    """Turns of each loop."""
    workers: int | None = None
    """Of the audit. Default: one for each core."""
    out: Path = RESULTS
    """The results file."""


def attacks(settings: Settings) -> list[Recognition]:
    """A recogniser of each family, on the amplified residue."""
    plan = Plan(epochs=settings.epochs)
    return [Recognition(family, plan=plan) for family in settings.families]


def prepare(settings: Settings) -> tuple[Defence, Service, Data]:
    """Neither the converter nor the service is trained: that changes what attackers find, not how fast they are."""
    data = load_data("faces", n=settings.n, size=settings.size, target="Smiling", secrets=(LABEL,))
    torch.manual_seed(0)
    service = Service(Classifier(build_classifier("resnet18", 2, 16), "Smiling", data.classes["Smiling"]))
    return Dapter(width=16).setup(), service, data


def ours(settings: Settings, prepared: tuple[Defence, Service, Data]) -> tuple[float, float]:
    """Seconds from the start of the audit's workers to their end, and core-seconds of their attacks."""
    with tempfile.TemporaryDirectory() as folder:
        shared = Path(folder) / "shared"
        subject = Subject(*prepared).kept_in(shared / "0")
        chosen, seeds = tuple(attacks(settings)), tuple(range(settings.attackers))
        asked = Asked(subject, (subject,), chosen, seeds, Path(folder), "cpu")
        tasks = [CellTask(attack, 0, seed, "dapter") for seed in seeds for attack in chosen]
        start = time.perf_counter()
        run_tasks(tasks, asked, settings.workers or default_workers(), shared, "attacker")
        seconds = time.perf_counter() - start
        spent = Spent.total(read_spent(run) for run in list_runs(Path(folder) / "attacks"))
        assert spent is not None
        return seconds, spent.core_seconds


def plain(settings: Settings, prepared: tuple[Defence, Service, Data]) -> tuple[float, float]:
    """Seconds and core-seconds of a loop over the same attackers."""
    start, cores = time.perf_counter(), time.process_time()
    for attack in attacks(settings):
        for seed in range(settings.attackers):
            train_plainly(attack, seed, *prepared)
    return time.perf_counter() - start, time.process_time() - cores


def warm_up(settings: Settings, prepared: tuple[Defence, Service, Data]) -> None:
    """Let torch import what it imports late, which workers do while they start."""
    defence, service, data = prepared
    few = replace(data, splits={name: split.head(64) for name, split in data.splits.items()})
    for attack in attacks(settings):
        train_plainly(attack, 0, defence, service, few)


def train_plainly(attack: Recognition, seed: int, defence: Defence, service: Service, data: Data) -> float:
    """Convert, train, try on val after every epoch, and give the accuracy on test, as a script would."""
    seen = {}
    for name, split in data.splits.items():
        payload = defence.protect(split.images)
        answer = torch.from_numpy(service.answer(payload).logits["Smiling"])
        seen[name] = to_float(payload.pixels), answer, torch.from_numpy(split.labels[LABEL])
    images, answers, labels = seen["train"]
    mean, std = images.mean(dim=(0, 2, 3), keepdim=True), images.std(dim=(0, 2, 3), keepdim=True).clamp(min=1 / 255)
    torch.manual_seed(seed)
    size = data.image_size
    net = build_recogniser(attack.family, 3, answers.shape[1], {LABEL: 2}, attack.width, size)
    adam = torch.optim.AdamW(net.parameters(), attack.learning_rate, weight_decay=0.01)
    for _ in range(attack.plan.epochs):
        net.train()
        for rows in torch.randperm(len(images)).split(attack.plan.batch_size):
            batch = (augment(images[rows], mirror=True) - mean) / std
            loss = F.cross_entropy(net(batch, answers[rows])[LABEL], labels[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
        accuracy(net, *seen["val"], mean, std)
    return accuracy(net, *seen["test"], mean, std)


@torch.no_grad()
def accuracy(net: nn.Module, images: Tensor, answers: Tensor, labels: Tensor, mean: Tensor, std: Tensor) -> float:
    """Share of right guesses."""
    net.eval()
    right = [
        (net((images[rows] - mean) / std, answers[rows])[LABEL].argmax(dim=1) == labels[rows]).sum()
        for rows in torch.arange(len(images)).split(512)
    ]
    return float(torch.stack(right).sum()) / len(images)


def to_float(pixels: np.ndarray) -> Tensor:
    """Float (N, 3, H, W) in [0, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def measure(settings: Settings) -> Iterator[Measurement]:
    """Attackers an hour and core-seconds an attacker of both, and the ratios, as the median of the turns."""
    prepared = prepare(settings)
    warm_up(settings, prepared)
    turns = [(ours(settings, prepared), plain(settings, prepared)) for _ in range(settings.rounds)]
    count = len(settings.families) * settings.attackers
    values: dict[str, Sequence[float]] = {
        "attackers_an_hour": [3600 * count / fast[0] for fast, _ in turns],
        "attackers_an_hour_plain": [3600 * count / slow[0] for _, slow in turns],
        "attackers_speedup": [slow[0] / fast[0] for fast, slow in turns],
        "attacker_core_seconds": [fast[1] / count for fast, _ in turns],
        "attacker_core_seconds_plain": [slow[1] / count for _, slow in turns],
        "attacker_core_seconds_saved": [slow[1] / fast[1] for fast, slow in turns],
    }
    about = {
        "families": " ".join(settings.families),
        "attackers": count,
        "epochs": settings.epochs,
        "images": settings.n,
        "image_size": settings.size,
        "workers": settings.workers or default_workers(),
    }
    for name, each in values.items():
        yield Measurement(
            defence="dapter",
            data="faces",
            target="Smiling",
            secret=LABEL,
            measure=name,
            value=statistics.median(each),
            low=min(each),
            high=max(each),
            n=len(each),
            settings=about,
            source=SOURCE,
            code=code_version(),
            environment=environment(),
        )


def main() -> None:
    """Time both, and write the results file."""
    settings = tyro.cli(Settings, description=__doc__)
    found = list(measure(settings))
    replace_lines(settings.out, found, lambda entry: entry.source)
    for entry in found:
        print(f"{entry.measure}: {entry.value:.4g} ({entry.low:.4g} to {entry.high:.4g})")


if __name__ == "__main__":
    main()
