"""Build the signed releases of this repository from runs that are trained, measured and audited.

    python benchmarks/release.py RUN... --service SERVICE --data cifar10 --target animal_vehicle --root DATA \
        --audits results/audit_cifar10_animal_vehicle_cpu.jsonl --key signing.key --licence-file LICENSE

exports each converter to ONNX in every precision that passes its parity check, builds
`releases/<data>-<target>-<defence>` and puts the public key beside it. The private key stays where it is. `make verify`
checks what is there.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from dapter.data import load_data
from dapter.errors import CheckFailed
from dapter.exporting import export
from dapter.release.build import OWN_LICENCE, Terms, build_release
from dapter.release.folder import sign_with_key
from dapter.runs import Run
from dapter.service.training import load_trained_service
from dapter.verify import inspect_release

RELEASES = Path(__file__).parents[1] / "releases"
PUBLIC = "signing.pub"


@dataclass(frozen=True)
class Settings:
    """What to release."""

    run_folders: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders of `dapter train`."""
    service: Path
    """The run folder of the service that they were trained against."""
    root: Path
    """The folder that holds the data set."""
    key: Path
    """The private key; the public one lies beside it and ends in .pub."""
    data: str = "cifar10"
    target: str = "animal_vehicle"
    audits: tuple[Path, ...] = ()
    version: str = "1.0.0"
    licence: str = OWN_LICENCE
    licence_file: Path | None = None
    """The text of the licence; the terms of the training data may ask for another than dapter's own."""
    out: Path = RELEASES


def main() -> None:
    """Export, build, verify."""
    settings = tyro.cli(Settings, description=__doc__)
    public = settings.key.with_suffix(".pub")
    service = load_trained_service(settings.service)
    data = load_data(settings.data, target=settings.target, root=settings.root)
    for run in map(Run.load, settings.run_folders):
        for precision in ("float32", "float16", "int8"):
            try:
                export(run, "onnx", service, data, precision=precision)
            except CheckFailed as error:
                if precision == "float32":
                    raise
                print(f"left out: {precision}: {error}")
        name = f"{settings.data}-{settings.target}-{run.manifest['name']}"
        built = build_release(
            run,
            settings.out / name,
            service=service,
            sign=lambda folder: sign_with_key(folder, settings.key),
            check=lambda folder: inspect_release(folder, public),
            audits=settings.audits,
            terms=Terms(settings.version, name, settings.licence, settings.licence_file),
        )
        size = sum(path.stat().st_size for path in built.rglob("*") if path.is_file())
        print(f"{built}: {size:,} bytes, verified")
    (settings.out / PUBLIC).write_bytes(public.read_bytes())


if __name__ == "__main__":
    main()
