"""The converter with a hard budget on real images: accuracy over bits beyond the answer.

    python benchmarks/budget.py --root DATA --data celeba --target Male --secrets Smiling Eyeglasses identity

trains budget converters, one for each budget, width and flip, against the service of `benchmarks/converter.py` (the
same run, trained once), or with `--conditioned` one for all budgets, and writes
`results/budget_<data>_<target>_<preset>.jsonl`, one measurement a line. `settings.study` names what was asked for, so
that other grids or stamps can be measured beside; lines of the same study are replaced. Interrupted work resumes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import tyro
from converter import RESULTS, Bench, load
from converter import Settings as ConverterSettings
from lines import replace_lines
from source import command

from dapter.data import Data
from dapter.defences import build_defence, with_settings
from dapter.evaluate import evaluate, measure
from dapter.loop import Plan
from dapter.train import load_defence
from dapter.types import Measurement


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    root: Path | None = None
    """The folder that holds the data set; none for generated ones."""
    data: str = "cifar10"
    target: str = "animal_vehicle"
    secrets: tuple[str, ...] = ()
    """Labels for which the bounds on every attack are computed."""
    size: int | None = None
    """Height and width of the images, for sets that are resized."""
    preset: Literal["tiny", "cpu", "paper"] = "cpu"
    budgets: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    """Bits beyond the answer."""
    conditioned: bool = False
    """Train one converter for the range of these budgets, and measure it at each."""
    seeds: tuple[int, ...] = (0,)
    grid: int = 1
    stamps: Literal["flat", "learned"] = "learned"
    alphabet: int = 16
    labels: Literal["data", "service"] = "data"
    widths: tuple[int, ...] = (16,)
    """Channels of the painter's first layer."""
    flips: tuple[float, ...] = (0.0,)
    """Probability with which a stamp is replaced at random."""
    epochs: int | None = None
    """Passes over the training split, instead of the preset's."""
    study: str = "budgets"
    """The name under which the lines are kept."""
    runs: Path = Path("runs")
    """Where run folders are kept."""


def lines(settings: Settings) -> Iterator[Measurement]:
    asked = ConverterSettings(settings.root, settings.data, settings.target, settings.preset, runs=settings.runs)
    bench, shown = Bench(asked, load(settings)), load(settings, settings.secrets)
    plan = replace(bench.preset.plan, epochs=settings.epochs or bench.preset.plan.epochs)
    source = command("benchmarks/budget.py", settings, ("data", "target", "study"))
    added = {"study": settings.study, "epochs": plan.epochs}
    for width, flip, seed in product(settings.widths, settings.flips, settings.seeds):
        given = {name: getattr(settings, name) for name in ("grid", "stamps", "alphabet", "labels")}
        for entry in measured(settings, {**given, "width": width, "flip": flip}, bench, shown, plan, seed):
            yield replace(entry, settings={**entry.settings, **added}, source=source, preset=settings.preset)


def measured(
    settings: Settings, asked: Mapping[str, Any], bench: Bench, shown: Data, plan: Plan, seed: int
) -> Iterator[Measurement]:
    """The figures of each budget."""
    if not settings.conditioned:
        for budget in settings.budgets:
            run = bench.train(build_defence("budget", {**asked, "budget_bits": budget}), plan, seed)
            yield from evaluate(run, bench.service, shown)
        return
    low, high = min(settings.budgets), max(settings.budgets)
    defence = build_defence("budget", {**asked, "budget_bits": low, "budget_bits_range": (low, high)})
    trained = load_defence(bench.train(defence, plan, seed))
    for budget in settings.budgets:
        yield from measure(with_settings(trained, budget_bits=budget), bench.service, shown, seed=seed)


def main() -> None:
    """Measure, and write the results file."""
    settings = tyro.cli(Settings, description=__doc__)
    path = RESULTS / f"budget_{settings.data}_{settings.target}_{settings.preset}.jsonl"
    # Latency is measured on a quiet machine by benchmarks/speed.py, not here beside other work.
    found = [entry for entry in lines(settings) if entry.measure != "latency_ms"]
    replace_lines(path, found, lambda entry: entry.settings["study"])
    print(f"{settings.study}: {len(found)} measurements in {path}")


if __name__ == "__main__":
    main()
