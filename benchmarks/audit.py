"""The audit on real images: what attackers learn from the payloads of DAPter's converter at λ = 0.9.

    python benchmarks/audit.py --root DATA --data cifar10 --target animal_vehicle --secrets class

trains the service and the converter as `benchmarks/converter.py` does (or finds them), attacks the converter and
writes `results/audit_<data>_<target>_<preset>.jsonl`, one measurement a line. `--attacks all` is the whole suite of the
preset; the default is one strong attack of each kind, for a first answer within half an hour on two cores.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro
from converter import RESULTS, Bench
from converter import Settings as BenchSettings

from dapter.attacks import Attack
from dapter.attacks.recognition import Recognition
from dapter.attacks.reconstruction import Reconstruction
from dapter.audit import audit
from dapter.data import load_data
from dapter.runs import write_atomic
from dapter.tables import leak_table


@dataclass(frozen=True)
class Settings:
    """What to audit."""

    root: Path
    """The folder that holds the data set."""
    data: str = "cifar10"
    target: str = "animal_vehicle"
    secrets: tuple[str, ...] = ("class",)
    preset: Literal["tiny", "cpu", "paper"] = "cpu"
    attacks: tuple[str, ...] = ()
    """Names of attacks, or all; by default one strong attack of each kind."""
    epochs: int = 4
    """Of the default attacks."""
    seeds: int = 1
    runs: Path = Path("runs")
    """Where run folders are kept."""


def first_attacks(epochs: int) -> list[Attack]:
    """A recogniser and a decoder, both on the amplified residue."""
    recognition, reconstruction = Recognition(family="cnn"), Reconstruction()
    return [
        replace(recognition, plan=replace(recognition.plan, epochs=epochs)),
        replace(reconstruction, plan=replace(reconstruction.plan, epochs=epochs)),
    ]


def main() -> None:
    """Audit, and write the results file."""
    settings = tyro.cli(Settings, description=__doc__)
    bench = Bench(BenchSettings(settings.root, settings.data, settings.target, settings.preset, (), settings.runs))
    run = bench.train(bench.paper, bench.preset.plan)
    source = f"benchmarks/audit.py --data {settings.data} --target {settings.target}"
    found = audit(
        [run],
        bench.service,
        load_data(settings.data, target=settings.target, secrets=settings.secrets, root=settings.root),
        attacks=settings.attacks or first_attacks(settings.epochs),
        seeds=settings.seeds,
        root=settings.runs,
        preset=settings.preset,
        source=source,
    )
    path = RESULTS / f"audit_{settings.data}_{settings.target}_{settings.preset}.jsonl"
    write_atomic(path, "".join(entry.to_json() + "\n" for entry in found))
    print(leak_table(found))
    print(path)


if __name__ == "__main__":
    main()
