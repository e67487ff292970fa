"""The verb `dapter export`: a converter as a file that apps can run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import OmitArgPrefixes, Positional

from dapter.options import DataOptions, ServiceOptions, check_unused


@dataclass(frozen=True)
class Judge(ServiceOptions):
    """The frozen service of the training, that judges whether the answer stays the same."""

    service: tuple[str, ...] = ()
    """Its run folder or files, as for `dapter train`. float16 and int8 need it, and --data."""


@dataclass(frozen=True)
class Export:
    """Export a trained converter: ONNX, ExecuTorch or LiteRT. The file is kept if it gives what the converter gives."""

    run_folder: Positional[Path]
    """A run folder of `dapter train`."""
    target: Positional[str]
    """The format: onnx, executorch, litert."""
    service: OmitArgPrefixes[Judge] = field(default_factory=Judge)
    data: OmitArgPrefixes[DataOptions] = field(default_factory=DataOptions)
    precision: Literal["float32", "float16", "int8"] = "float32"
    """What is computed with inside; int8 is calibrated on training images."""
    image_size: tuple[int, int] | None = None
    """Height and width, for formats that fix them. Default: those of the training."""

    def run(self) -> None:
        """Do it."""
        from dapter.export import FOLDER
        from dapter.exporting import export

        judged = bool(self.service.service)
        if not judged:
            check_unused(self, ("service", "data"), "--service")
        done = export(
            self.run_folder,
            self.target,
            self.service.load() if judged else None,
            self.data.load() if judged else None,
            precision=self.precision,
            size=self.image_size,
        )
        found = done.parity
        off = f"{found['off']:.4%} of {found['values']:,} values"
        print(f"{off} differ from the converter's, by at most {found['most_off']}")
        for each in found.get("answers", ()):
            at = "" if each["dial"] is None else f" at {each['dial']}"
            print(
                f"{each['target']}{at}: accuracy {each['accuracy']:.2%}, before {each['accuracy_before']:.2%}, "
                f"n = {each['n']:,}"
            )
        print(f"The export is {self.run_folder / FOLDER / done.path} ({done.bytes:,} bytes)")
