"""The command line: one dataclass a verb; its fields are the options, their docstrings the help.

Exit codes: 0 done, 1 checked and failed (or an image not converted, a file not written), 2 wrong use.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, subcommand

from dapter.audit_cli import Attack, Audit
from dapter.errors import CheckFailed, DapterError, UsageError
from dapter.export_cli import Export
from dapter.gateway_cli import Gateway
from dapter.options import ConverterOptions, DataOptions, ServiceOptions, TrainingOptions, check_counts
from dapter.release_cli import Release
from dapter.serving_cli import Door, ExportTriton, Send, Serve
from dapter.study_cli import Study
from dapter.training_cli import ServiceTrain, Train, Tune
from dapter.verify_cli import Verify

SHOWN = 20
"""Failures that a conversion shows; the rest is in a file."""


@dataclass(frozen=True)
class Demo:
    """Everything once on generated portraits: service, converter, audit, reports. Under ten minutes on 2 cores."""

    out: Path = Path("runs/demo")
    """Where the run folders and the report go."""

    def run(self) -> None:
        """Do it."""
        data = DataOptions(n=6000, size=32)
        training = TrainingOptions(preset="tiny", epochs=10, out=self.out)
        service = ServiceTrain(data, training).run()
        frozen = ServiceOptions((str(service),))
        run = Train(frozen, data, training, ConverterOptions()).run()
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
class ServiceShow:
    """Load a service, check it and say what it is: targets, classes, hash."""

    service: OmitArgPrefixes[ServiceOptions]

    def run(self) -> None:
        """Do it."""
        service = self.service.load()
        for target, classes in service.classes.items():
            print(f"{target}: {', '.join(classes)}")
        print(f"digest {service.digest}")


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
        check_counts(workers=self.workers)
        from dapter.convert import convert_files
        from dapter.parquet import convert_parquet
        from dapter.train import load_defence

        if self.keep and self.column is None:
            raise UsageError("--keep without --column. Cure: name the column of the images as well")
        defence = load_defence(self.run_folder)
        if defence.sends == "features":
            raise UsageError(
                f"the defence in {self.run_folder} sends features of a network, which no image file holds. Cure: one "
                "that sends images; or in Python `protect`, and `dapter.features.pack`"
            )
        protect = defence.protect
        how: dict[str, Any] = {"workers": self.workers or os.cpu_count() or 1, "engine": self.engine}
        if self.column is None:
            done = convert_files(protect, self.source, self.destination, **how)
        else:
            done = convert_parquet(protect, self.source, self.destination, column=self.column, keep=self.keep, **how)
        for path, reason in done.failed[:SHOWN]:
            print(f"not converted: {path}: {reason}")
        print(f"{len(done.written)} written, {len(done.kept)} kept, {len(done.failed)} failed, in {self.destination}")
        if self.destination.is_dir() and (listed := done.write_failures(self.destination)):
            print(f"What failed, and why, is in {listed}")
        if done.failed:
            raise CheckFailed(f"{len(done.failed)} images could not be converted. Cure: see why, mend or remove them")


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

        print(f"The report is {write_report([Run.load(path) for path in self.run_folders], self.out)}")


@dataclass(frozen=True)
class List:
    """List the run folders, finished and not."""

    root: Positional[Path] = Path("runs")
    """Where to look."""

    def run(self) -> None:
        """Do it."""
        from dapter.listing import list_lines

        for line in list_lines(self.root):
            print(line)


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
    | Annotated[Door, subcommand("door")]
    | Annotated[Study, subcommand("study")]
    | Annotated[List, subcommand("list")]
)


@contextlib.contextmanager
def _processes() -> Iterator[None]:
    """Join the other processes when started by `python -m torch.distributed.run`."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    from dapter.processes import distributed

    with distributed():
        yield


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
    except OSError as error:
        print(f"dapter: {error}. Cure: check the path, its rights, and the space on its disk", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("dapter: stopped; the same command resumes", file=sys.stderr)
        return 130
    return 0
