"""Build a release from a run: collect, write to a temporary folder, sign, verify, and only then give it its name."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path
from typing import Any

from dapter.defences.budget import Budget
from dapter.errors import RunError, UsageError
from dapter.export import FOLDER, Export, read_exports
from dapter.plugins import find
from dapter.release.bom import make_bom
from dapter.release.card import make_card
from dapter.release.folder import to_json, write_files
from dapter.runs import RESULTS, Run
from dapter.service.classifier import Service
from dapter.subjects import key_of, record_of
from dapter.train import WEIGHTS, load_defence
from dapter.types import Measurement
from dapter.verify import Findings
from dapter.verify.claims import claims_of
from dapter.verify.limits import STAMPS
from dapter.verify.manifest import FORMAT
from dapter.verify.schema import faults, load

OWN_LICENCE = "Apache-2.0"
WELL_FORMED = {
    "version": "three numbers, as in 1.0.0",
    "name": "at most 64 letters, digits, and . _ + - after the first",
    "licence": "an SPDX expression, as Apache-2.0",
}
"""What the terms of a release look like."""

RUNNER = ("convert.py", "requirements.txt")


@dataclass(frozen=True)
class Terms:
    """What a provider decides about a release.

    Attributes:
        version: three numbers.
        name: by default the data and the targets.
        licence: SPDX expression of the converter's licence.
        licence_file: its text; None: that of dapter, which must then be the licence.

    Raises:
        UsageError: one that no release may have.
    """

    version: str = "1.0.0"
    name: str | None = None
    licence: str = OWN_LICENCE
    licence_file: Path | None = None

    def __post_init__(self) -> None:
        schema = load("release-1")["properties"]
        for field, form in WELL_FORMED.items():
            value = getattr(self, field)
            if value is not None and faults(value, schema[field]):
                raise UsageError(f"{value!r} cannot be the {field} of a release. Cure: {form}")

    def text(self) -> bytes:
        """The licence's text.

        Raises:
            UsageError: there is none.
        """
        if self.licence_file is not None:
            try:
                return self.licence_file.read_bytes()
            except OSError as error:
                raise UsageError(f"{self.licence_file} cannot be read ({error}). Cure: name a text file") from error
        found = distribution("dapter").read_text("licenses/LICENSE")
        if self.licence != OWN_LICENCE or not found:
            raise UsageError(f"the text of the licence {self.licence} is missing. Cure: --licence-file")
        return found.encode()


def build_release(
    run: Run,
    destination: Path,
    *,
    service: Service,
    sign: Callable[[Path], object],
    check: Callable[[Path], Findings],
    audits: Sequence[Path] = (),
    terms: Terms = Terms(),
) -> Path:
    """Make a release of a trained, measured and exported converter.

    Built twice from the same run it has the same bytes, but for the signature.

    Args:
        run: of `train`, measured by `evaluate`, with its exports.
        destination: a new folder.
        service: the one that it was trained against, for the names of its classes.
        sign: writes `model.sig` into a folder.
        check: what our own verification says of it, with the public key.
        audits: folders of audits, or files of results; the lines about these weights are taken.
        terms: what the provider decides.

    Raises:
        UsageError: the destination exists, the defence changes the service or was trained against another one, or an
            audit says nothing of this converter.
        RunError: the run is not finished, measured or exported.
        CheckFailed: what was built does not pass verification; nothing is left of it.
    """
    if destination.exists():
        raise UsageError(f"{destination} exists and is not overwritten. Cure: name a new folder")
    found = run.manifest
    if found.get("kind") != "defence":
        raise RunError(f"{run.path} holds a {found.get('kind')}, not a defence. Cure: a run folder of `dapter train`")
    if find("defences", found["name"]).needs_service_change:
        raise UsageError(
            "only converters for a service that stays as it is are released. Cure: another defence; `dapter serve` "
            "offers this one's service part"
        )
    if found["service"] != service.digest:
        raise UsageError(f"{run.path} was trained against another service. Cure: give the same one")
    exports, results = _exports(run), collect_results(run, service, audits)
    manifest = _manifest(found, service, exports, results, terms)
    contents = _contents(run, manifest, exports, results, terms)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".release-", dir=destination.parent) as workplace:
        draft = Path(workplace) / manifest["name"]
        draft.mkdir()
        write_files(draft, manifest, contents)
        sign(draft)
        check(draft).require()
        draft.rename(destination)
    return destination


def collect_results(run: Run, service: Service, audits: Sequence[Path]) -> list[Measurement]:
    """The lines about the converter of a run: its evaluation's, then what the audits of these weights add to them.

    Of the command that measured a line only program and verb are kept: the rest holds paths of the provider's machine.

    Raises:
        RunError: it was not measured.
        UsageError: an audit says nothing of it.
        DataError: a line cannot be read.
    """
    own = run.read_results()
    if not own:
        raise RunError(f"{run.path} was not measured. Cure: repeat the `dapter train` that made it")
    lines, known = list(own), {_about(line) for line in own}
    audited = key_of(record_of(load_defence(run), service, run.manifest["seed"]))
    for path in audits:
        file = path / RESULTS if path.is_dir() else path
        if not file.is_file():
            raise UsageError(f"{path} holds no results. Cure: a folder of `dapter audit`, or a results file")
        matching = [
            line
            for line in map(Measurement.from_json, file.read_text().splitlines())
            if line.settings.get("subject") == audited and line.data_digest == own[0].data_digest
        ]
        if not matching:
            raise UsageError(
                f"{path} says nothing of the converter in {run.path}, with these weights and this version of dapter. "
                "Cure: audit this run"
            )
        lines += [line for line in matching if line.attack or _about(line) not in known]
    public = [replace(line, source=_program(line.source)) for line in lines]
    return list({line.to_json(): line for line in public}.values())


def _program(command: str) -> str:
    """`dapter train` of `dapter train --out /home/me/runs`; of another program the name of its file."""
    program, *rest = [word for word in command.split() if word != "python"] or [""]
    verb = rest[0] if program == "dapter" and rest and rest[0].isalpha() else ""
    return f"{Path(program).name} {verb}".strip()


def _about(line: Measurement) -> tuple[str, str, str | None]:
    return line.measure, line.target, line.secret


def _exports(run: Run) -> list[Export]:
    exports = read_exports(run.path / FOLDER)
    if not any((export.format, export.precision) == ("onnx", "float32") for export in exports):
        raise RunError(f"{run.path} has no float32 ONNX export. Cure: `dapter export {run.path} onnx`")
    return exports


def _manifest(
    found: dict[str, Any], service: Service, exports: list[Export], results: list[Measurement], terms: Terms
) -> dict[str, Any]:
    """All of release.json but its table of files."""
    main = next(export for export in exports if (export.format, export.precision) == ("onnx", "float32"))
    budget = next((line.value for line in results if line.measure == "budget_bits"), None)
    return {
        "format": FORMAT,
        "name": terms.name or f"{found['data']['name']}-{'+'.join(service.targets)}-{found['name']}",
        "version": terms.version,
        "licence": terms.licence,
        "targets": {target: list(names) for target, names in service.classes.items()},
        "defence": found["name"],
        "settings": found["settings"],
        "service": {"digest": service.digest, "targets": list(service.targets)},
        "image": {
            "channels": "RGB",
            "dtype": "uint8",
            "layout": "NHWC",
            "sizes": main.sizes,
            "trained": results[0].settings["image_size"],
        },
        "dial": None
        if main.dial is None
        else {name: getattr(main.dial, name) for name in ("name", "low", "high", "default")},
        "budget_bits": budget,
        "exports": [
            {
                "path": f"exports/{export.path}",
                "format": export.format,
                "precision": export.precision,
                "opset": export.opset,
                "sizes": export.sizes,
                "parity": dict(export.parity),
            }
            for export in exports
        ],
        "training": {name: value for name, value in found.items() if name not in ("kind", "settings", "service")},
    }


def _contents(
    run: Run, manifest: dict[str, Any], exports: list[Export], results: list[Measurement], terms: Terms
) -> dict[str, bytes]:
    """Every file but release.json and the signature."""
    claims = claims_of(results)
    weights = (run.path / WEIGHTS).read_bytes()
    runner = files("dapter") / "release" / "runner"
    defence, (height, width) = load_defence(run), manifest["image"]["trained"]
    stamps = {STAMPS: defence.published().to_json((height, width)).encode()} if isinstance(defence, Budget) else {}
    return {
        **stamps,
        "claims.json": to_json(claims),
        "results.jsonl": "".join(line.to_json() + "\n" for line in results).encode(),
        WEIGHTS: weights,
        **{f"exports/{export.path}": (run.path / FOLDER / export.path).read_bytes() for export in exports},
        "MODEL_CARD.md": make_card(manifest, claims, results).encode(),
        "bom.cdx.json": make_bom(manifest, claims, weights),
        "LICENSE": terms.text(),
        **{f"runner/{name}": (runner / name).read_bytes() for name in RUNNER},
    }
