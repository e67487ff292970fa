"""What each export costs and keeps: size, latency and peak memory at 224 px on one core, accuracy of the answer.

    python benchmarks/export.py --run runs/dapter-... --service runs/service-... --data cifar10 --root data

Run it on a quiet Linux machine, with the extras `export` and `mobile`, and with LiteRT's environment where its figures
are wanted. Every file is exported and checked at the size of the training, where its accuracy is counted, on the
validation images; formats of fixed size are written again at 224 px for latency and memory (`benchmarks/one_export.py`,
a process each). The format `torch` is the converter itself. What cannot be made here is said, and left out. Writes
`results/export.jsonl`; lines of other runs stay.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import tyro
from lines import replace_lines
from tyro.conf import OmitArgPrefixes

from dapter import plugins
from dapter.cost import latency_ms, size_bytes
from dapter.data import Data
from dapter.errors import CheckFailed, DapterError
from dapter.export import FOLDER, Export, Exporter, Precision, fit
from dapter.export.litert import environment_folder, environment_python
from dapter.exporting import export, subject_of
from dapter.metrics import wilson
from dapter.options import DataOptions, ServiceOptions
from dapter.runs import Run, code_version, environment
from dapter.service.classifier import Service
from dapter.train import load_defence
from dapter.types import Measurement

RESULTS = Path(__file__).parents[1] / "results" / "export.jsonl"
SIZE = (224, 224)
"""Height and width in pixels at which time and memory are measured."""

TIMED = ("latency_ms", "peak_memory_bytes")
"""What is measured at that size; all else is of the training's size."""

WORKER = Path(__file__).with_name("one_export.py")


@dataclass(frozen=True)
class Settings:
    """What to export."""

    run: Path
    """A run folder of `dapter train`."""
    service: OmitArgPrefixes[ServiceOptions]
    data: OmitArgPrefixes[DataOptions] = field(default_factory=DataOptions)
    formats: tuple[str, ...] = tuple(plugins.names("export"))
    out: Path = RESULTS


def measure_file(exporter: Exporter, form: str, done: Export, run: Run, data: Data) -> dict[str, Any]:
    """Latency and memory at 224 px."""
    with tempfile.TemporaryDirectory() as folder:
        path = run.path / FOLDER / done.path
        if not exporter.any_size:
            path = Path(folder) / done.path
            few = fit(data.splits["train"].images[:8], SIZE)  # ranges that int8 is to be timed with, not judged by
            exporter.write(subject_of(load_defence(run), data), path, done.precision, SIZE, few)
        python = environment_python(environment_folder()) if form == "litert" else sys.executable
        dial = [] if done.dial is None else [str(done.dial.default)]
        command = [python, str(WORKER), form, str(path), *map(str, SIZE), *dial]
        shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(shown.splitlines()[-1])
    return found


def lines_of(
    report: partial[Measurement], form: str, precision: Precision, values: dict[str, Any]
) -> Iterator[Measurement]:
    """One line a figure; a figure is a number, or fields of a Measurement."""
    shared = {**report.keywords["settings"], "format": form, "precision": precision}
    for measure, value in values.items():
        fields = value if isinstance(value, dict) else {"value": float(value)}
        where: dict[str, Any] = {"image_size": list(SIZE)} if measure in TIMED else {}
        if measure == "target_accuracy":
            where = {"split": "val"}
        yield report(measure=measure, **fields, settings={**shared, **where})


def accuracy_of(answer: dict[str, Any], name: str) -> dict[str, Any]:
    """An accuracy of a parity record, with its interval."""
    low, high = wilson(round(answer[name] * answer["n"]), answer["n"])
    return {"target": answer["target"], "value": answer[name], "low": low, "high": high, "n": answer["n"]}


def rows(settings: Settings, run: Run, service: Service, data: Data) -> Iterator[Measurement]:
    """All lines: the converter itself, then every format and precision."""
    manifest = run.manifest
    report = partial(
        Measurement,
        defence=manifest["name"],
        data=data.name,
        target="+".join(service.targets),
        settings={**manifest["settings"], "image_size": list(data.image_size), "run": run.path.name},
        seed=manifest["seed"],
        preset=manifest["preset"],
        source="benchmarks/export.py",
        code=code_version(),
        data_digest=data.digest,
        environment=environment(),
    )
    client = load_defence(run).client()
    itself = {"export_bytes": size_bytes(client), "latency_ms": latency_ms(client, SIZE)}
    yield from lines_of(report, "torch", "float32", itself)
    for form in settings.formats:
        exporter: Exporter = plugins.find("export", form)()
        for precision in exporter.precisions:
            try:
                done = export(run, form, service, data, precision=precision)
            except DapterError as error:
                print(f"{form} {precision} is left out: {error}")
                if isinstance(error, CheckFailed):
                    refused = {"value": None, "flags": ("refused",)}
                    yield from lines_of(report, form, precision, {"target_accuracy": refused})
                continue
            found = measure_file(exporter, form, done, run, data)
            answers = [
                each for each in done.parity["answers"] if each["dial"] in (None, done.dial and done.dial.default)
            ]
            for answer in answers:
                yield from lines_of(
                    report, "torch", "float32", {"target_accuracy": accuracy_of(answer, "accuracy_before")}
                )
                yield from lines_of(report, form, precision, {"target_accuracy": accuracy_of(answer, "accuracy")})
            repeats = found.pop("repeats")
            found["latency_ms"] = {"value": found["latency_ms"], "n": repeats}
            found["peak_memory_bytes"] = found.pop("memory_bytes")
            found["values_off"] = {"value": done.parity["off"], "n": done.parity["values"]}
            yield from lines_of(report, form, precision, {"export_bytes": done.bytes, **found})


def main() -> None:
    """Export, measure and write the results file."""
    settings = tyro.cli(Settings, description=__doc__)
    run = Run.load(settings.run)
    measured = rows(settings, run, settings.service.load(), settings.data.load())
    found = {entry.to_json(): entry for entry in measured}.values()
    replace_lines(settings.out, found, lambda entry: entry.settings["run"])
    for entry in found:
        value = "refused" if entry.value is None else f"{entry.value:.5g}"
        print(f"{entry.settings['format']} {entry.settings['precision']} {entry.measure}: {value}")


if __name__ == "__main__":
    main()
