"""The verbs that train: a service, a converter, and the search for its λ or budget."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tyro.conf import OmitArgPrefixes

from dapter.errors import CheckFailed, UsageError
from dapter.options import ConverterOptions, DataOptions, RemoteOptions, ServiceOptions, TrainingOptions, check_counts


@dataclass(frozen=True)
class ServiceTrain:
    """Train a classifier for each target: a service to protect images from."""

    data: OmitArgPrefixes[DataOptions] = field(default_factory=DataOptions)
    training: OmitArgPrefixes[TrainingOptions] = field(default_factory=TrainingOptions)
    arch: Literal["lenet", "vgg11", "vgg16", "vgg19", "resnet18", "resnet50"] | None = None
    """The architecture, instead of the preset's."""
    width: int | None = None
    """Channels of its first stage, instead of the preset's."""
    stem: Literal["small", "large"] = "small"
    """small for images of about 32 to 64 px, large for about 224 px."""

    def run(self) -> Path:
        """Do it; gives the run folder."""
        check_counts(width=self.width)
        from dapter.presets import find_preset
        from dapter.service.training import train_service

        preset = find_preset(self.training.preset)
        run = train_service(
            self.data.load(),
            self.training.change(preset.service_plan),
            arch=self.arch or preset.arch,
            width=self.width or preset.width,
            stem=self.stem,
            seed=self.training.seed,
            root=self.training.out,
            preset=self.training.preset,
        )
        print(f"The service is in {run.path}")
        return run.path


@dataclass(frozen=True)
class Train:
    """Train a converter against a frozen service, or one behind a URL, measure it and write its report."""

    service: OmitArgPrefixes[ServiceOptions] = field(default_factory=ServiceOptions)
    data: OmitArgPrefixes[DataOptions] = field(default_factory=DataOptions)
    training: OmitArgPrefixes[TrainingOptions] = field(default_factory=TrainingOptions)
    converter: OmitArgPrefixes[ConverterOptions] = field(default_factory=ConverterOptions)
    remote: OmitArgPrefixes[RemoteOptions] = field(default_factory=RemoteOptions)
    secrets: tuple[str, ...] = ()
    """Labels to hide, for defences that are trained to hide some; dapter and budget make no use of them."""
    start: Path | None = None
    """A run folder whose weights are the warm start (transfer learning)."""

    def run(self) -> Path:
        """Do it; gives the run folder."""
        from dapter.presets import find_preset
        from dapter.runs import Run
        from dapter.train import train

        preset, data = find_preset(self.training.preset), self.data.load(self.secrets)
        remote = self.remote.connect(self.service, data, self.training.out)
        defence = self.converter.build(preset, warm=self.start is not None)
        if remote is not None and defence.needs_service_change:
            raise UsageError(
                f"{self.converter.defence} changes the service, and one behind a URL stays as it is. Cure: --service"
            )
        service = self.service.load() if remote is None else self._stand_in(remote, data)
        run = train(
            defence,
            service,
            data,
            self.training.change(preset.plan),
            seed=self.training.seed,
            root=self.training.out,
            start=None if self.start is None else Run.load(self.start),
            preset=self.training.preset,
        )
        _finish([run], service, data, run.path / "report.html", remote)
        return run.path

    def _stand_in(self, remote: Any, data: Any) -> Any:
        """A service that was learned from the answers of one behind a URL."""
        from dapter.presets import find_preset
        from dapter.service.training import load_trained_service
        from dapter.surrogate import WARNING, learn_surrogate

        preset = find_preset(self.training.preset)
        print(f"Note: {WARNING}.")
        run = learn_surrogate(
            remote,
            data,
            send_originals=self.remote.send_originals,
            plan=self.training.change(preset.service_plan),
            arch=preset.arch,
            width=preset.width,
            seed=self.training.seed,
            root=self.training.out,
            preset=self.training.preset,
        )
        print(f"{remote.cost}. What the service answered is in {remote.run.path}, its stand-in in {run.path}")
        return load_trained_service(run)


@dataclass(frozen=True)
class Tune:
    """Choose λ by the paper's strategy, the smallest budget, or draw the whole trade-off of either by a sweep."""

    service: OmitArgPrefixes[ServiceOptions]
    data: OmitArgPrefixes[DataOptions] = field(default_factory=DataOptions)
    training: OmitArgPrefixes[TrainingOptions] = field(default_factory=TrainingOptions)
    converter: OmitArgPrefixes[ConverterOptions] = field(default_factory=ConverterOptions)
    strategy: Literal["paper", "shrink", "sweep"] = "paper"
    """paper: move λ until both limits are met. shrink: halve the budget while enough answers are left. sweep: train a
    converter for each of --values."""
    max_entropy: float = 3.0
    """paper: image entropy in bits must fall below this."""
    max_accuracy_drop: float = 0.03
    """paper, shrink: the share of right answers lost must stay below this."""
    max_steps: int = 10
    """paper, shrink: how many λ or budgets to try at most."""
    values: tuple[float, ...] | None = None
    """sweep: of λ, by default 0.5 to 0.98; of budget's bits, by default 0.25 to 4."""
    storage: str | None = None
    """sweep: a database URL that several machines share. Default: an SQLite file in --out."""

    def run(self) -> None:
        """Do it.

        Raises:
            CheckFailed: the limits were not reached.
        """
        from dapter.presets import find_preset
        from dapter.tune import Limits, shrink, sweep, tune

        preset = find_preset(self.training.preset)
        service, data, defence = self.service.load(), self.data.load(), self.converter.build(preset)
        plan = self.training.change(preset.plan)
        common: dict[str, Any] = {"seed": self.training.seed, "root": self.training.out, "preset": self.training.preset}
        report = self.training.out / f"tune-{self.strategy}.html"
        if self.strategy == "sweep":
            runs = sweep(defence, service, data, plan, values=self.values, storage=self.storage, **common)
            _finish(runs, service, data, report)
            return
        common.update(max_steps=self.max_steps, fine_tune_epochs=preset.fine_tune_epochs)
        if self.strategy == "shrink":
            tuned = shrink(defence, service, data, plan, max_accuracy_drop=self.max_accuracy_drop, **common)
        else:
            limits = Limits(self.max_entropy, self.max_accuracy_drop)
            tuned = tune(defence, service, data, plan, limits=limits, **common)
        _finish([step.run for step in tuned.steps], service, data, report)
        print(f"{tuned.reason}; the converter is in {tuned.run.path}")
        if not tuned.reached:
            raise CheckFailed(tuned.reason)


def _finish(runs: Sequence[Any], service: Any, data: Any, page: Path, remote: Any = None) -> None:
    """Measure the runs, also on the service behind a URL if there is one, write their page and print the table."""
    from dapter.evaluate import evaluate
    from dapter.processes import is_first
    from dapter.report import table, write_report

    source = f"dapter {' '.join(sys.argv[1:])}"
    found = [entry for run in runs for entry in evaluate(run, service, data, source=source)]
    if not is_first():
        return
    if remote is not None:
        from dapter.surrogate import measure_remote
        from dapter.wording import describe

        print(f"On the service behind the URL ({remote.target}):")
        for run in runs:
            for entry in measure_remote(run, service, remote, data, send_originals=True, source=source):  # as learned
                print(f"  {describe(entry)}")
        print(f"{remote.cost}. And on its stand-in:")
    print(table(found))
    write_report(runs, page)
    for run in runs:
        print(f"The converter is in {run.path}")
    print(f"The report is {page}")
