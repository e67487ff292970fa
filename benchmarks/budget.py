"""The converter with a hard budget on real images: accuracy over bits beyond the answer.

    python benchmarks/budget.py --root DATA --data celeba --target Male --secrets Smiling Eyeglasses identity

trains budget converters, one for each budget, width and flip, against the service of `benchmarks/converter.py` (the
same run, trained once), or with `--conditioned` one for all budgets, and writes
`results/budget_<data>_<target>_<preset>.jsonl`, one measurement a line. `settings.study` names what was asked for, so
that other grids or stamps can be measured beside; lines of the same study are replaced. Interrupted work resumes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro
from converter import RESULTS, Bench, load
from converter import Settings as ConverterSettings
from lines import replace_lines
from painters import Painters, paint
from source import command

from dapter.evaluate import evaluate, measure
from dapter.runs import Run
from dapter.types import Measurement


@dataclass(frozen=True)
class Settings(Painters):
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
    study: str = "budgets"
    """The name under which the lines are kept."""
    runs: Path = Path("runs")
    """Where run folders are kept."""


def lines(settings: Settings) -> Iterator[Measurement]:
    """The figures of each converter."""
    asked = ConverterSettings(settings.root, settings.data, settings.target, settings.preset, runs=settings.runs)
    bench, shown = Bench(asked, load(settings)), load(settings, settings.secrets)
    source = command("benchmarks/budget.py", settings, ("data", "target", "study"))
    added = {"study": settings.study, "epochs": settings.epochs or bench.preset.plan.epochs}
    for converter, seed in paint(bench, settings):
        if isinstance(converter, Run):
            found = evaluate(converter, bench.service, shown)
        else:
            found = measure(converter, bench.service, shown, seed=seed)
        for entry in found:
            yield replace(entry, settings={**entry.settings, **added}, source=source, preset=settings.preset)


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
