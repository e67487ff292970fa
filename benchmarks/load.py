"""Load: a service with and without the gateway before it, by wrk (Debian's `wrk`), and the gateway's memory over time.

    python benchmarks/load.py

Run it on a quiet machine. A classifier (ResNet18, width 16, untrained: its speed is that of a trained one), a converter
(the fast network, hardly trained) as a signed release, `dapter serve` and `dapter gateway` as the processes that a user
starts, and wrk, all on this machine; every request is one JPEG file of a generated portrait, by the Open Inference
Protocol. Rounds with and without the gateway take turns until the gateway has had all requests; a figure is the median
of the rounds, with the smallest and largest round. Writes `results/load.jsonl`.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from dapter.data import Data, load_data
from dapter.defences.dapter import Dapter
from dapter.errors import CheckFailed, UsageError
from dapter.exporting import export
from dapter.imagefile import encode
from dapter.loop import Plan
from dapter.nets.classifiers import build_classifier
from dapter.runs import code_version, environment, write_atomic
from dapter.service.classifier import Classifier, Service
from dapter.service.load import save_classifier
from dapter.service.wire import Request, Tensor, encode_request
from dapter.train import train
from dapter.types import Measurement

ROOT = Path(__file__).parents[1]
SOURCE = "benchmarks/load.py"


@dataclass(frozen=True)
class Settings:
    """How much load."""

    requests: int = 100_000
    """Through the gateway, at least."""
    seconds: int = 30
    """Of a round."""
    connections: int = 8
    """Requests at the same time."""
    size: int = 64
    """Pixels on a side."""
    net: Literal["fast", "paper"] = "fast"
    """The converter's network, of width 16."""
    out: Path = ROOT / "results" / "load.jsonl"
    """The results file; its lines are replaced."""


def make_parts(folder: Path, settings: Settings) -> tuple[Path, Path, Path]:
    """A classifier's file, a release and its maker's public key."""
    sys.path.insert(0, str(ROOT / "tests"))  # what makes small signed releases
    from releases.make import keys, make_contents, make_manifest, make_release

    data: Data = load_data("faces", n=120, size=settings.size, target="Smiling")
    classifier = Classifier(build_classifier("resnet18", 2, 16), "Smiling", data.classes["Smiling"])
    save_classifier(folder / "model.safetensors", classifier)
    run = train(Dapter(net=settings.net, width=16), Service(classifier), data, Plan(epochs=1), root=folder)
    graph = (run.path / "exports" / export(run, "onnx").path).read_bytes()
    manifest = make_manifest()
    manifest["settings"] = run.manifest["settings"]
    manifest["image"]["trained"] = [settings.size, settings.size]
    for entry in manifest["exports"]:
        entry["opset"] = export(run, "onnx").opset
    private, public = keys(folder)
    release = make_release(folder / "release", private, manifest=manifest, contents=make_contents(manifest, graph))
    return folder / "model.safetensors", release, public


def write_body(folder: Path, settings: Settings) -> dict[str, str]:
    """The request, in a file; gives the environment that wrk's script reads."""
    photo = load_data("faces", n=30, size=settings.size, target="Smiling").splits["test"].images[0]
    files = np.empty(1, object)
    files[0] = encode(photo, "JPEG", 90)
    message = encode_request(Request((Tensor("encoded", files),)))
    (folder / "body").write_bytes(message.body)
    return {**os.environ, "LOAD_BODY": str(folder / "body"), "LOAD_LENGTH": str(message.header_length)}


@contextlib.contextmanager
def running(*words: str) -> Iterator[tuple[str, int]]:
    """A verb of dapter as a process; gives the URL at which it answers, and its number."""
    command = [sys.executable, "-u", "-m", "dapter", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if " at http" in line:
                yield line.split(" at ")[1].split()[0].rstrip(","), process.pid
                return
        raise CheckFailed(f"{' '.join(command)} did not start. Cure: start it by hand to see why")
    finally:
        process.terminate()
        process.communicate()


def press(url: str, settings: Settings, told: dict[str, str]) -> dict[str, float]:
    """One round of wrk."""
    script = str(Path(__file__).with_name("load.lua"))
    load = ["-t1", f"-c{settings.connections}", f"-d{settings.seconds}s", "--timeout", "30s", "-s", script]
    try:
        done = subprocess.run(
            ["wrk", *load, f"{url}/v2/models/model/infer"], env=told, capture_output=True, text=True, check=True
        )
    except FileNotFoundError as error:
        raise UsageError("there is no wrk. Cure: apt-get install wrk") from error
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    found: dict[str, float] = json.loads(line.removeprefix("RESULT "))
    return found


def memory(process: int) -> float:
    """MiB that a process holds."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def spread(values: list[float]) -> dict[str, float]:
    """The median, and the smallest and largest."""
    return {"value": statistics.median(values), "low": min(values), "high": max(values)}


def measure(settings: Settings, report: Any) -> Iterator[Measurement]:
    """Press both, in turns."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, release, public = make_parts(folder, settings)
        told = write_body(folder, settings)
        asked = ["--release", str(release), "--key", str(public), "--port", "0", "--upstream"]
        with (
            running("serve", str(model), "--port", "0", "--grpc-port", "None") as (service, _),
            running("gateway", *asked, service) as (gateway, process),
        ):
            for url in (service, gateway):
                press(url, settings, told)  # to warm up
            alone: list[dict[str, float]] = []
            through: list[dict[str, float]] = []
            held = [memory(process)]
            started = time.monotonic()
            while sum(each["requests"] for each in through) < settings.requests:
                alone.append(press(service, settings, told))
                through.append(press(gateway, settings, told))
                held.append(memory(process))
                print(f"{time.monotonic() - started:.0f} s: {through[-1]}, {held[-1]:.0f} MiB", flush=True)
    yield from figures(report, alone, through, held)


def figures(
    report: Any, alone: list[dict[str, float]], through: list[dict[str, float]], held: list[float]
) -> Iterator[Measurement]:
    """What the rounds came to."""
    requests = int(sum(each["requests"] for each in through))
    rates = [[each["requests"] / each["seconds"] for each in rounds] for rounds in (alone, through)]
    ratios = [ours / plain for plain, ours in zip(*rates, strict=True)]
    yield report(
        measure="requests_per_second_service", n=int(sum(each["requests"] for each in alone)), **spread(rates[0])
    )
    yield report(measure="requests_per_second_gateway", n=requests, **spread(rates[1]))
    yield report(measure="requests_ratio_gateway", n=len(ratios), **spread(ratios))
    for part in ("p50", "p90", "p99", "most"):
        for place, rounds in (("service", alone), ("gateway", through)):
            yield report(measure=f"latency_ms_{part}_{place}", n=len(rounds), **spread([each[part] for each in rounds]))
    for place, rounds in (("service", alone), ("gateway", through)):
        errors = sum(each["errors"] for each in rounds)
        yield report(measure=f"errors_{place}", value=errors, n=int(sum(each["requests"] for each in rounds)))
    yield report(measure="memory_mib_gateway", n=len(held), **spread(held))
    yield report(measure="memory_mib_gateway_growth", value=held[-1] - held[0], n=requests)


def main() -> None:
    """Measure and write the results file."""
    settings = tyro.cli(Settings, description=__doc__)
    described = {key: value for key, value in asdict(settings).items() if key != "out"}
    report = partial(
        Measurement,
        defence="dapter",
        data="faces",
        target="Smiling",
        settings={**described, "width": 16, "image_size": [settings.size] * 2},
        source=SOURCE,
        code=code_version(),
        environment=environment(),
    )
    found = list(measure(settings, report))
    write_atomic(settings.out, "".join(f"{entry.to_json()}\n" for entry in found))
    for entry in found:
        print(f"{entry.measure}: {entry.value:.4g}")


if __name__ == "__main__":
    main()
