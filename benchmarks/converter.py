"""The main job on real images: what DAPter's converter costs in accuracy, over λ, seeds, nets and strategies.

    python benchmarks/converter.py --root DATA --data cifar10 --target animal_vehicle

trains a service and converters at the scale of a preset and writes `results/dapter_<data>_<target>_<preset>.jsonl`,
one measurement a line; `settings.study` says what a line belongs to:

    seeds        λ = 0.9, three seeds
    sweep        five other λ, each fine-tuned from seed 0's converter of λ = 0.9
    fast         the fast network at λ = 0.9
    conditioned  one λ-conditioned converter, measured at every λ
    tune         the paper's strategy: every λ that it tried

Interrupted work resumes. Then `python benchmarks/tables.py` rewrites the tables in the README.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import tyro
from lines import replace_lines
from source import command

from dapter.data import Data, load_data
from dapter.defences import Defence, build_defence, with_settings
from dapter.evaluate import evaluate, measure
from dapter.loop import Plan
from dapter.presets import find_preset
from dapter.runs import Run
from dapter.service.training import load_trained_service, train_service
from dapter.train import load_defence, train
from dapter.tune import sweep, tune
from dapter.types import Measurement

LAMS = (0.0, 0.5, 0.8, 0.95, 0.98)
SEEDS = (0, 1, 2)
RESULTS = Path(__file__).parents[1] / "results"
Study = Literal["seeds", "sweep", "fast", "conditioned", "tune"]


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    root: Path | None = None
    """The folder that holds the data set; none for generated ones."""
    data: str = "cifar10"
    target: str = "class"
    preset: Literal["tiny", "cpu", "paper"] = "cpu"
    studies: tuple[Study, ...] = ("seeds", "sweep")
    runs: Path = Path("runs")
    """Where run folders are kept."""


def load(asked: Any, secrets: tuple[str, ...] = ()) -> Data:
    """The data set that settings name, with what else they say of it: root, n, size and cooccurrence."""
    named = {name: getattr(asked, name, None) for name in ("root", "n", "size", "cooccurrence")}
    given = {name: value for name, value in named.items() if value is not None}
    return load_data(asked.data, target=asked.target, secrets=secrets, **given)


def build_at_scale(name: str, settings: Mapping[str, Any], preset: str) -> Defence:
    """A defence, as wide as the preset's service where it has a width and the settings do not say it."""
    usual = build_defence(name, settings)
    if "width" in settings or not hasattr(usual, "width"):
        return usual
    return replace(usual, width=find_preset(preset).width)


class Bench:
    """One data set, one target, one service."""

    def __init__(self, settings: Settings, data: Data | None = None) -> None:
        self.settings = settings
        self.preset = find_preset(settings.preset)
        self.data = data or load(settings)
        self.common: dict[str, Any] = {"root": settings.runs, "preset": settings.preset}
        plan, preset = self.preset.service_plan, self.preset
        run = train_service(self.data, plan, arch=preset.arch, width=preset.width, **self.common)
        self.service = load_trained_service(run)
        self.paper = build_defence("dapter", {"width": self.preset.converter_width})

    def train(self, defence: Any, plan: Plan, seed: int = 0, start: Run | None = None, data: Data | None = None) -> Run:
        """Train one converter; `data` may name secrets too."""
        return train(defence, self.service, data or self.data, plan, seed=seed, start=start, **self.common)

    def lines(self, run: Run, study: str) -> Iterator[Measurement]:
        """The measurements of a run, for the results file."""
        manifest = run.manifest
        for entry in evaluate(run, self.service, self.data):
            yield self._line(entry, study, manifest["plan"]["epochs"], manifest["start"] is not None)

    def _line(self, entry: Measurement, study: str, epochs: int, warm: bool) -> Measurement:
        asked = replace(self.settings, studies=(study,))
        source = command("benchmarks/converter.py", asked, ("data", "target", "studies"))
        added = {"study": study, "epochs": epochs, "warm_start": warm}
        return replace(entry, settings={**entry.settings, **added}, source=source, preset=self.settings.preset)

    def seeds(self) -> Iterator[Measurement]:
        """λ = 0.9, three seeds."""
        for seed in SEEDS:
            yield from self.lines(self.train(self.paper, self.preset.plan, seed), "seeds")

    def sweep(self) -> Iterator[Measurement]:
        """Every λ, fine-tuned from λ = 0.9."""
        start = self.train(self.paper, self.preset.plan)
        plan = self.preset.fine_tune_plan
        for run in sweep(self.paper, self.service, self.data, plan, values=LAMS, start=start, **self.common):
            yield from self.lines(run, "sweep")

    def fast(self) -> Iterator[Measurement]:
        """The fast network."""
        yield from self.lines(self.train(build_defence("dapter", {"net": "fast"}), self.preset.plan), "fast")

    def conditioned(self) -> Iterator[Measurement]:
        """One converter for all λ."""
        defence = build_defence("dapter", {"width": self.preset.converter_width, "lam_range": (0.0, 0.98)})
        run = self.train(defence, self.preset.plan)
        trained = load_defence(run)
        for lam in sorted((*LAMS, self.paper.lam)):
            for entry in measure(with_settings(trained, lam=lam), self.service, self.data, seed=0):
                yield self._line(entry, "conditioned", self.preset.plan.epochs, warm=False)

    def tune(self) -> Iterator[Measurement]:
        """The paper's strategy."""
        tuned = tune(
            self.paper,
            self.service,
            self.data,
            self.preset.plan,
            fine_tune_epochs=self.preset.fine_tune_epochs,
            **self.common,
        )
        print(tuned.reason)
        for step in tuned.steps:
            yield from self.lines(step.run, "tune")


def main() -> None:
    """Measure, and write the results file after every study."""
    settings = tyro.cli(Settings, description=__doc__)
    bench = Bench(settings)
    path = RESULTS / f"dapter_{settings.data}_{settings.target}_{settings.preset}.jsonl"
    for study in settings.studies:
        # Latency is measured on a quiet machine by benchmarks/speed.py, not here beside other work.
        found = [entry for entry in getattr(bench, study)() if entry.measure != "latency_ms"]
        replace_lines(path, found, lambda entry: entry.settings["study"])
        print(f"{study}: {len(found)} measurements in {path}")


if __name__ == "__main__":
    main()
