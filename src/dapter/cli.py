"""The command line: one dataclass a verb; its fields are the options, their docstrings the help.

Exit codes: 0 done, 1 checked and failed (or an image could not be converted), 2 wrong use.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, subcommand

from dapter.audit_cli import Attack, Audit
from dapter.errors import CheckFailed, DapterError, UsageError
from dapter.export_cli import Export
from dapter.gateway_cli import Gateway
from dapter.options import ConverterOptions, DataOptions, RemoteOptions, ServiceOptions, TrainingOptions
from dapter.release_cli import Release
from dapter.serving_cli import ExportTriton, Send, Serve
from dapter.study_cli import Study
from dapter.verify_cli import Verify

SHOWN = 20
"""Failures that a conversion shows; the rest is in a file."""


SEED = 2
"""Of the demo's converter. So short a training falls to grey from some seeds, of which docs/log.md tells."""


@dataclass(frozen=True)
class Demo:
    """Everything once on generated portraits: service, converter, audit, reports. Under ten minutes on 2 cores."""

    out: Path = Path("runs/demo")
    """Where the run folders and the report go."""

    def run(self) -> None:
        """Do it."""
        data = DataOptions(n=6000)
        training = TrainingOptions(preset="tiny", out=self.out)
        service = ServiceTrain(data, training).run()
        frozen = ServiceOptions((str(service),))
        run = Train(frozen, data, replace(training, seed=SEED), ConverterOptions()).run()
        Audit(
            (str(run),),
            service=frozen,
            data=data,
            secrets=("Eyeglasses",),
            attacks=("recognition", "reconstruction"),
            preset="tiny",
            out=self.out,
        ).run()


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
        _say(f"The service is in {run.path}")
        return run.path


@dataclass(frozen=True)
class ServiceShow:
    """Load a service, check it and say what it is: targets, classes, hash."""

    service: OmitArgPrefixes[ServiceOptions]

    def run(self) -> None:
        """Do it."""
        service = self.service.load()
        for target, classes in service.classes.items():
            _say(f"{target}: {', '.join(classes)}")
        _say(f"digest {service.digest}")


@dataclass(frozen=True)
class Service:
    """The frozen classifier that images are sent to."""

    action: OmitSubcommandPrefixes[
        Annotated[ServiceTrain, subcommand("train")]
        | Annotated[ServiceShow, subcommand("show")]
        | Annotated[ExportTriton, subcommand("export-triton")]
    ]

    def run(self) -> None:
        """Do it."""
        self.action.run()


@dataclass(frozen=True)
class Train:
    """Train a converter against a frozen service, or one behind a URL, measure it and write its report."""

    service: OmitArgPrefixes[ServiceOptions] = field(default_factory=ServiceOptions)
    data: OmitArgPrefixes[DataOptions] = field(default_factory=DataOptions)
    training: OmitArgPrefixes[TrainingOptions] = field(default_factory=TrainingOptions)
    converter: OmitArgPrefixes[ConverterOptions] = field(default_factory=ConverterOptions)
    remote: OmitArgPrefixes[RemoteOptions] = field(default_factory=RemoteOptions)
    lam_range: tuple[float, float] | None = None
    """Train one converter for every λ in this range; --lam is what it is measured at."""
    start: Path | None = None
    """A run folder whose weights are the warm start (transfer learning)."""

    def run(self) -> Path:
        """Do it; gives the run folder."""
        from dapter.presets import find_preset
        from dapter.runs import Run
        from dapter.train import train

        preset, data = find_preset(self.training.preset), self.data.load()
        remote = self.remote.connect(self.service, data, self.training.out)
        service = self.service.load() if remote is None else self._stand_in(remote, data)
        run = train(
            self.converter.build(preset, self.lam_range, warm=self.start is not None),
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
        _say(f"Note: {WARNING}.")
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
        _say(f"{remote.cost}. What the service answered is in {remote.run.path}, its stand-in in {run.path}")
        return load_trained_service(run)


@dataclass(frozen=True)
class Tune:
    """Choose λ: by the paper's strategy, or by a sweep that draws the whole trade-off."""

    service: OmitArgPrefixes[ServiceOptions]
    data: OmitArgPrefixes[DataOptions] = field(default_factory=DataOptions)
    training: OmitArgPrefixes[TrainingOptions] = field(default_factory=TrainingOptions)
    converter: OmitArgPrefixes[ConverterOptions] = field(default_factory=ConverterOptions)
    strategy: Literal["paper", "sweep"] = "paper"
    """paper: move λ until both limits are met. sweep: train a converter for each of --lams."""
    max_entropy: float = 3.0
    """paper: image entropy in bits must fall below this."""
    max_accuracy_drop: float = 0.03
    """paper: the share of right answers lost must stay below this."""
    max_steps: int = 10
    """paper: how many λ to try at most."""
    lams: tuple[float, ...] = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
    """sweep: the values of λ."""
    storage: str | None = None
    """sweep: a database URL that several machines share. Default: an SQLite file in --out."""

    def run(self) -> None:
        """Do it.

        Raises:
            CheckFailed: the paper's strategy did not reach its limits.
        """
        from dapter.presets import find_preset
        from dapter.tune import Limits, sweep, tune

        preset = find_preset(self.training.preset)
        service, data, defence = self.service.load(), self.data.load(), self.converter.build(preset)
        plan = self.training.change(preset.plan)
        common: dict[str, Any] = {"seed": self.training.seed, "root": self.training.out, "preset": self.training.preset}
        report = self.training.out / f"tune-{self.strategy}.html"
        if self.strategy == "sweep":
            runs = sweep(defence, service, data, plan, lams=self.lams, storage=self.storage, **common)
            _finish(runs, service, data, report)
            return
        limits = Limits(self.max_entropy, self.max_accuracy_drop)
        tuned = tune(
            defence,
            service,
            data,
            plan,
            limits=limits,
            max_steps=self.max_steps,
            fine_tune_epochs=preset.fine_tune_epochs,
            **common,
        )
        _finish([step.run for step in tuned.steps], service, data, report)
        _say(f"{tuned.reason}; the converter is in {tuned.run.path}")
        if not tuned.reached:
            raise CheckFailed(tuned.reason)


@dataclass(frozen=True)
class Convert:
    """Convert an image, a folder of images, or Parquet files, with a trained converter. Originals stay as they are."""

    run_folder: Positional[Path]
    """A run folder of `dapter train`."""
    source: Positional[Path]
    """An image file, a folder, or with --column a Parquet file or a folder of them."""
    destination: Positional[Path]
    """Where the PNG or Parquet files go; nothing is overwritten."""
    workers: int | None = None
    """Processes for a folder. Default: one for each core."""
    engine: Literal["pool", "ray"] = "pool"
    """Processes of this machine, or Ray Data, on this machine or the cluster that RAY_ADDRESS names."""
    column: str | None = None
    """The column of Parquet files that holds the images."""
    keep: tuple[str, ...] = ()
    """Other columns of Parquet files that come along: numbers and short texts."""

    def run(self) -> None:
        """Do it.

        Raises:
            CheckFailed: an image could not be converted; nothing was written for it.
        """
        from dapter.convert import FAILURES, convert_files
        from dapter.parquet import convert_parquet
        from dapter.train import load_defence

        if self.keep and self.column is None:
            raise UsageError("--keep without --column. Cure: name the column of the images as well")
        protect = load_defence(self.run_folder).protect
        how: dict[str, Any] = {"workers": self.workers or os.cpu_count() or 1, "engine": self.engine}
        if self.column is None:
            done = convert_files(protect, self.source, self.destination, **how)
        else:
            done = convert_parquet(protect, self.source, self.destination, column=self.column, keep=self.keep, **how)
        if self.destination.is_dir():
            done.write_failures(self.destination)
        for path, reason in done.failed[:SHOWN]:
            _say(f"not converted: {path}: {reason}")
        if len(done.failed) > SHOWN:
            _say(f"and {len(done.failed) - SHOWN} more, in {self.destination / FAILURES}")
        _say(f"{len(done.written)} written, {len(done.kept)} kept, {len(done.failed)} failed, in {self.destination}")
        if done.failed:
            raise CheckFailed(f"{len(done.failed)} images could not be converted")


@dataclass(frozen=True)
class Report:
    """Write one HTML page about one or more measured runs, or about one audit."""

    run_folders: Positional[tuple[Path, ...]]
    """Run folders of `dapter train`, or one of `dapter audit`."""
    out: Path = Path("report.html")
    """The page."""

    def run(self) -> None:
        """Do it."""
        from dapter.report import write_report
        from dapter.runs import Run

        _say(f"The report is {write_report([Run.load(path) for path in self.run_folders], self.out)}")


@dataclass(frozen=True)
class List:
    """List the run folders, finished and not."""

    root: Positional[Path] = Path("runs")
    """Where to look."""

    def run(self) -> None:
        """Do it."""
        from dapter.listing import list_lines

        for line in list_lines(self.root):
            _say(line)


Verb = (
    Annotated[Demo, subcommand("demo")]
    | Annotated[Service, subcommand("service")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Tune, subcommand("tune")]
    | Annotated[Convert, subcommand("convert")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Attack, subcommand("attack")]
    | Annotated[Audit, subcommand("audit")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Release, subcommand("release")]
    | Annotated[Verify, subcommand("verify")]
    | Annotated[Serve, subcommand("serve")]
    | Annotated[Send, subcommand("send")]
    | Annotated[Gateway, subcommand("gateway")]
    | Annotated[Study, subcommand("study")]
    | Annotated[List, subcommand("list")]
)


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
        from dapter.tables import describe

        _say(f"On the service behind the URL ({remote.target}):")
        for run in runs:
            for entry in measure_remote(run, service, remote, data, source=source):
                _say(f"  {describe(entry)}")
        _say(f"{remote.cost}. And on its stand-in:")
    _say(table(found))
    write_report(runs, page)
    for run in runs:
        _say(f"The converter is in {run.path}")
    _say(f"The report is {page}")


@contextlib.contextmanager
def _processes() -> Iterator[None]:
    """Join the other processes when started by `python -m torch.distributed.run`."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    from dapter.processes import distributed

    with distributed():
        yield


def _say(text: str) -> None:
    print(text)


def main(args: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    try:
        verb = tyro.cli(Verb, prog="dapter", description="Protect images from the service they are sent to.", args=args)
        with _processes():
            verb.run()
    except UsageError as error:
        print(f"dapter: {error}", file=sys.stderr)
        return 2
    except DapterError as error:
        print(f"dapter: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("dapter: stopped; the same command resumes", file=sys.stderr)
        return 130
    return 0
